//! Asking for what the hub no longer holds, or never held.
//!
//! In: requests of subscriptions that are being caught up, and of shards that a crowd has come back to. Out: pages, and
//! what came before memory begins. Invariant: the hub never waits; an answer comes back as a command like any other.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::shard::{Command, Key};
use crate::domain::message::ResetReason;
use crate::domain::past::{Backfill, Page, Start, Survey, Wanted};
use crate::domain::position::Position;
use crate::domain::snapshot::Snapshot;

/// Where a hub finds the past of one epoch, and what event ids mean in it.
pub trait History: Send + Sync + 'static {
    /// Answers with a page through the request's reply. Never waits.
    fn read(&self, request: Request);

    /// Answers with everything between two snapshots, as far back as there is room for it. Never waits.
    fn backfill(&self, request: BackfillRequest);

    /// The position an event id stands for, or why it means nothing here.
    fn position(&self, id: &str) -> Result<Position, ResetReason>;

    /// The event id that stands for a position.
    fn id(&self, position: &Position) -> Box<str>;
}

pub struct Request {
    pub question: Question,
    pub reply: Reply,
}

/// Asked twice, it has the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub wanted: Wanted,
    pub start: Start,
    /// Where the hub takes over: a snapshot at which one of its own runs ends.
    pub upto: Arc<Snapshot>,
    /// Whether the answer is to say what follows in all, and of that only the newest change of each row.
    pub survey: Option<Compact>,
}

/// Whether only the newest change of each row is to stay.
pub type Compact = bool;

/// The way back to the subscriber.
pub struct Reply {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) key: Key,
    pub(super) ticket: u64,
}

impl Reply {
    pub async fn page(self, page: Result<(Page, Option<Survey>), ResetReason>) {
        let Self { commands, key, ticket } = self;
        let _ = commands.send(Command::Page { key, ticket, page }).await;
    }
}

pub struct BackfillRequest {
    pub from: Arc<Snapshot>,
    /// Where memory begins.
    pub upto: Arc<Snapshot>,
    /// So much weight of events, the newest of them.
    pub room: usize,
    pub reply: BackfillReply,
}

/// The way back to the shard.
pub struct BackfillReply {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) number: u64,
}

impl BackfillReply {
    pub async fn backfill(self, backfill: Result<Backfill, ResetReason>) {
        let Self { commands, number } = self;
        let _ = commands.send(Command::Backfill { number, backfill }).await;
    }
}

//! Asking for what the hub no longer holds, or never held.
//!
//! In: requests of subscriptions that are being caught up. Out: pages. Invariant: the hub never waits; a page comes
//! back as a command like any other.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::shard::{Command, Key};
use crate::domain::message::ResetReason;
use crate::domain::past::{Page, Start, Survey, Wanted};
use crate::domain::position::Position;
use crate::domain::snapshot::Snapshot;

/// Where a hub finds the past.
pub trait History: Send + Sync + 'static {
    /// Answers with a page through the request's reply. Never waits.
    fn read(&self, request: Request);

    /// The event id that stands for a position. `None` before the database was reached.
    fn id(&self, position: &Position) -> Option<Box<str>>;
}

pub struct Request {
    pub wanted: Wanted,
    pub start: Start,
    /// Where the hub takes over: a snapshot at which one of its own runs ends.
    pub upto: Arc<Snapshot>,
    /// Whether the answer is to say what follows in all, and of that only the newest change of each row.
    pub survey: Option<Compact>,
    pub reply: Reply,
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

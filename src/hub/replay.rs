//! A subscription that is being caught up from the log, on its way to live.
//!
//! In: events that the hub no longer holds. Out: the same frames that live events become. Invariant: the answer
//! `ok` comes before the first replayed event, and the subscription goes live behind the last one.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::shard::{Command, Key};
use crate::domain::channel::Pattern;
use crate::domain::event::Event;
use crate::domain::message::{Reference, ResetReason, ServerMessage};
use crate::domain::position::Position;
use crate::domain::snapshot::Snapshot;
use crate::protocol::Wire;

/// Where a hub finds what it no longer holds.
pub trait History: Send + Sync + 'static {
    /// Sends what lies between the position and a snapshot at which one of the hub's own runs ends. Never waits.
    fn catch_up(&self, request: CatchUp);
}

pub struct CatchUp {
    pub pattern: Pattern,
    pub user: Option<Arc<str>>,
    pub position: Position,
    /// Where the hub takes over.
    pub upto: Arc<Snapshot>,
    pub replay: Replay,
}

/// The way back to the subscriber.
pub struct Replay {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) key: Key,
    pub(super) ticket: u64,
    pub(super) wire: &'static dyn Wire,
    pub(super) pattern: Pattern,
    /// The `ok` that is still owed.
    pub(super) owed: Option<Owed>,
}

/// What the answer to a subscribe says, whatever comes of it.
pub(super) struct Owed {
    pub reference: Option<Reference>,
    pub after: Box<str>,
}

impl Replay {
    /// Says how many events follow.
    pub async fn begin(&mut self, replayed: u64) {
        if let Some(owed) = self.owed.take() {
            self.answer(owed, true, replayed).await;
        }
    }

    /// `false` once nobody wants them any more. Returns when the socket has taken them.
    pub async fn send(&self, events: &[Event]) -> bool {
        let frames =
            events.iter().flat_map(|event| frames(event, &self.pattern, self.wire)).collect();
        let (written, done) = oneshot::channel();
        let (key, ticket) = (self.key, self.ticket);
        let _ = self.commands.send(Command::Replay { key, ticket, frames, written }).await;
        done.await.is_ok()
    }

    /// Everything visible in this snapshot was sent.
    pub async fn finish(self, upto: Arc<Snapshot>) {
        let (key, ticket) = (self.key, self.ticket);
        let _ = self.commands.send(Command::GoLive { key, ticket, seen: Some(upto) }).await;
    }

    /// What lies between the position and now can't be had.
    pub async fn refuse(mut self, reason: ResetReason) {
        let (key, ticket) = (self.key, self.ticket);
        if let Some(owed) = self.owed.take() {
            self.answer(owed, false, 0).await;
        }
        let reset = ServerMessage::Reset { pattern: self.pattern.clone(), reason };
        let frame = self.wire.message(&reset);
        let _ = self.commands.send(Command::Send { key, frame }).await;
        let _ = self.commands.send(Command::GoLive { key, ticket, seen: None }).await;
    }

    async fn answer(&self, owed: Owed, recovered: bool, replayed: u64) {
        let message = ServerMessage::Subscribed {
            reference: owed.reference,
            pattern: self.pattern.clone(),
            position: Some(owed.after),
            recovered,
            replayed,
        };
        let frame = self.wire.message(&message);
        let _ = self.commands.send(Command::Send { key: self.key, frame }).await;
    }
}

/// One frame for each of the event's channels that the pattern covers.
pub(super) fn frames(
    event: &Event,
    pattern: &Pattern,
    wire: &dyn Wire,
) -> impl Iterator<Item = Bytes> {
    let channels = event.channels.iter().filter(|channel| pattern.covers(channel));
    channels.map(|channel| wire.change(event, channel))
}

//! The hub: every subscription of this node, and the way of an event to the sockets of its subscribers.
//!
//! In: batches from `ingest`, commands of sessions. Out: bytes to each [`Sink`]. Invariant: what a session
//! asked before a batch came is in force when the batch is delivered, because both pass one queue.

mod fanout;
mod outbox;
mod past;
mod ring;
mod shard;
mod subscriber;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

pub use past::{History, Request};
pub use shard::{After, HubOptions, Past};
pub use subscriber::Subscriber;

use crate::access::Rights;
use crate::domain::event::{Batch, Event};
use crate::domain::message::{ResetReason, SystemEvent};
use crate::domain::rights::Whose;
use crate::domain::template::Template;
use crate::lifecycle::Pulse;
use crate::protocol::Wire;
use crate::telemetry::metrics::Observer;
use crate::telemetry::notice::Notice;
use crate::telemetry::vitals::Vitals;
use shard::{Command, Shard};

/// Where the hub writes: a socket that never makes the writer wait.
pub trait Sink: Send + Sync + 'static {
    /// Writes as much as the socket takes now; [`io::ErrorKind::WouldBlock`] when it takes nothing.
    fn try_write(&self, frames: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Resolves when the socket may take more.
    fn writable(&self) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>>;

    /// Says that nothing more will be written.
    fn finish(&self);

    /// Ends the connection in both directions at once.
    fn abort(&self);
}

/// The handle to the hub; clones share it.
#[derive(Clone)]
pub struct Hub {
    commands: mpsc::Sender<Command>,
    observer: Observer,
    pulse: Pulse,
}

impl Hub {
    /// Starts the hub on the current runtime; it ends when the last handle is gone.
    pub fn start(options: HubOptions, history: Arc<dyn History>, observer: Observer) -> Self {
        let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
        let pulse = Pulse::default();
        let shard =
            Shard::new(options, history, observer.clone(), commands.downgrade(), pulse.clone());
        tokio::spawn(shard.run(queue));
        Self { commands, observer, pulse }
    }

    /// Takes a socket in; it leaves when the handle is dropped.
    pub async fn join(&self, sink: Arc<dyn Sink>, wire: &'static dyn Wire) -> Option<Subscriber> {
        let (reply, key) = oneshot::channel();
        self.commands.send(Command::Join { sink, wire, reply }).await.ok()?;
        Some(Subscriber::new(self.commands.clone(), key.await.ok()?))
    }

    /// Delivers a batch of the log and moves the position to its end.
    pub async fn publish(&self, batch: Batch) {
        let _ = self.commands.send(Command::Publish(Arc::new(batch))).await;
    }

    /// Delivers events that are in no log.
    pub async fn publish_unlogged(&self, events: Vec<Event>) {
        let _ = self.commands.send(Command::PublishUnlogged(events)).await;
    }

    /// Begins with this past, which nobody is sent unless they ask for it. With a reason, nothing that follows
    /// continues what came before, and every subscription is told so.
    pub async fn begin(&self, past: Vec<Batch>, reason: Option<ResetReason>) {
        let _ = self.commands.send(Command::Begin { past, reason }).await;
    }

    /// Tells those who may get events of these templates that some of them, which no log holds, may be missing.
    pub async fn reset_unlogged(&self, templates: Vec<Template>) {
        if !templates.is_empty() {
            let _ = self.commands.send(Command::ResetUnlogged(templates)).await;
        }
    }

    /// Holds back what those concerned would get, and has them judged again.
    pub async fn change_rights(&self, rights: &Rights, whose: Whose) {
        let change = rights.change(whose.clone()).await;
        let _ = self.commands.send(Command::Suspend(whose)).await;
        change.announce();
        self.observer.note(&Notice::RightsChanged);
    }

    /// Tells every session.
    pub async fn announce(&self, event: SystemEvent) {
        let _ = self.commands.send(Command::Announce(event)).await;
    }

    /// How it is. A hub that hangs does not answer.
    pub async fn vitals(&self) -> Option<Vitals> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Ask { reply }).await.ok()?;
        answer.await.ok()
    }

    /// Beats with every command that was dealt with.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Tells every session that the service stops, and closes each once its queue is written.
    pub async fn drain(&self) {
        let (done, finished) = oneshot::channel();
        let _ = self.commands.send(Command::Drain { done }).await;
        let _ = finished.await;
    }
}

#[cfg(test)]
mod tests;

/// Commands waiting for the shard. Full, it makes sessions and ingest wait, which is how load is pushed back to
/// clients and to the log.
const COMMAND_QUEUE: usize = 4096;

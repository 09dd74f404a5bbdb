//! The hub: every subscription of this node, and the way of an event to the sockets of its subscribers.
//!
//! In: batches from `ingest`, commands of sessions. Out: bytes to each [`Sink`]. Invariant: what a session
//! asked before a batch came is in force when the batch is delivered, because both pass one queue: each socket
//! belongs to one shard, and every shard gets every batch, in the same order.

mod burst;
mod fanout;
mod outbox;
mod past;
mod ring;
mod shard;
mod subscriber;
mod thread;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};

pub use past::{BackfillRequest, History, Question, Reply, Request};
pub use shard::{HubOptions, Past};
pub use subscriber::Subscriber;

use crate::access::Rights;
use crate::domain::event::{Batch, Event};
use crate::domain::message::{ResetReason, SystemEvent};
use crate::domain::rights::Whose;
use crate::domain::template::Template;
use crate::lifecycle::{Pulse, indispensable};
use crate::protocol::Wire;
use crate::telemetry::metrics::Observer;
use crate::telemetry::notice::Notice;
use crate::telemetry::vitals::Vitals;
use shard::{Command, Shard, Share};

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
    shards: Arc<[Place]>,
    /// Where the next socket goes, by turns.
    next: Arc<AtomicUsize>,
    observer: Observer,
}

/// A shard, as the rest of the daemon knows it.
struct Place {
    commands: mpsc::Sender<Command>,
    /// Beats with every command that was dealt with.
    pulse: Pulse,
}

impl Hub {
    /// Starts the hub; it ends when the last handle is gone. A single shard lives on the current runtime, several
    /// each have a thread of their own.
    pub fn start(options: HubOptions, observer: Observer) -> Self {
        let count = options.shards.max(1);
        let place = |number| {
            let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
            let pulse = Pulse::default();
            let share = Share { number, count };
            let weak = commands.downgrade();
            let shard = Shard::new(options, share, observer.clone(), weak, pulse.clone());
            let shard = indispensable("hub", shard.run(queue));
            if count == 1 {
                tokio::spawn(shard);
            } else {
                thread::run(number, shard);
            }
            Place { commands, pulse }
        };
        let shards = (0..count).map(place).collect();
        Self { shards, next: Arc::default(), observer }
    }

    /// Takes a socket in; it leaves when the handle is dropped.
    pub async fn join(&self, sink: Arc<dyn Sink>, wire: &'static dyn Wire) -> Option<Subscriber> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let shard = &self.shards[turn % self.shards.len()];
        let (reply, key) = oneshot::channel();
        shard.commands.send(Command::Join { sink, wire, reply }).await.ok()?;
        Some(Subscriber::new(shard.commands.clone(), key.await.ok()?))
    }

    /// Delivers a batch of the log and moves the position to its end.
    pub async fn publish(&self, batch: Batch) {
        let batch = Arc::new(batch);
        self.tell(|| Command::Publish(Arc::clone(&batch))).await;
    }

    /// Delivers events that are in no log.
    pub async fn publish_unlogged(&self, events: Vec<Event>) {
        let events: Arc<[Event]> = events.into();
        self.tell(|| Command::PublishUnlogged(Arc::clone(&events))).await;
    }

    /// Begins with this past, which nobody is sent unless they ask for it. With a reason, nothing that follows
    /// continues what came before, and every subscription is told so. From then on ids are those of this history.
    pub async fn begin(
        &self,
        past: Vec<Batch>,
        history: Arc<dyn History>,
        reason: Option<ResetReason>,
    ) {
        let past: Arc<[Batch]> = past.into();
        let begin =
            || Command::Begin { past: Arc::clone(&past), history: Arc::clone(&history), reason };
        self.tell(begin).await;
    }

    /// What follows continues what came before, and ids are those of this history.
    pub async fn go_on(&self, history: Arc<dyn History>) {
        self.tell(|| Command::Continue(Arc::clone(&history))).await;
    }

    /// Tells those who may get events of these templates that some of them, which no log holds, may be missing.
    pub async fn reset_unlogged(&self, templates: Vec<Template>) {
        if !templates.is_empty() {
            let templates: Arc<[Template]> = templates.into();
            self.tell(|| Command::ResetUnlogged(Arc::clone(&templates))).await;
        }
    }

    /// Holds back what those concerned would get, and has them judged again.
    pub async fn change_rights(&self, rights: &Rights, whose: Whose) {
        let change = rights.change(whose.clone()).await;
        self.tell(|| Command::Suspend(whose.clone())).await;
        change.announce();
        self.observer.note(&Notice::RightsChanged);
    }

    /// What may wait for each socket that joins from now on.
    pub async fn set_queue_bytes(&self, most: usize) {
        self.tell(|| Command::SetQueueBytes(most)).await;
    }

    /// Tells every session.
    pub async fn announce(&self, event: SystemEvent) {
        self.tell(|| Command::Announce(event)).await;
    }

    /// How it is. A hub of which a shard hangs does not answer.
    pub async fn vitals(&self) -> Option<Vitals> {
        let mut answers = Vec::with_capacity(self.shards.len());
        for shard in &*self.shards {
            let (reply, answer) = oneshot::channel();
            shard.commands.send(Command::Ask { reply }).await.ok()?;
            answers.push(answer);
        }
        let mut all = Vitals::default();
        for answer in answers {
            all = all.and(answer.await.ok()?);
        }
        Some(all)
    }

    /// One for each shard.
    pub fn pulses(&self) -> Vec<Pulse> {
        self.shards.iter().map(|shard| shard.pulse.clone()).collect()
    }

    /// Tells every session that the service stops, and closes each once its queue is written.
    pub async fn drain(&self) {
        let mut waiting = Vec::with_capacity(self.shards.len());
        for shard in &*self.shards {
            let (done, finished) = oneshot::channel();
            let _ = shard.commands.send(Command::Drain { done }).await;
            waiting.push(finished);
        }
        for finished in waiting {
            let _ = finished.await;
        }
    }

    /// Each shard gets it behind what it was told before.
    async fn tell(&self, command: impl Fn() -> Command) {
        for shard in &*self.shards {
            let _ = shard.commands.send(command()).await;
        }
    }
}

#[cfg(test)]
mod tests;

/// Commands waiting for the shard. Full, it makes sessions and ingest wait, which is how load is pushed back to
/// clients and to the log.
const COMMAND_QUEUE: usize = 4096;

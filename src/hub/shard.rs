//! The actor that owns the routing table and writes to the sockets.
//!
//! In: [`Command`]s. Out: frames, written straight to each socket: everything that has arrived is routed first,
//! then every socket concerned gets one write. Invariant: a socket that takes nothing costs the others nothing;
//! its frames wait in its own bounded outbox.

mod member;
mod resume;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use slab::Slab;
use tokio::sync::{mpsc, oneshot};

use super::Sink;
use super::fanout::Frames;
use super::outbox::{Flush, Offer, Outbox};
use super::replay::History;
use super::ring::Ring;
use crate::domain::channel::Pattern;
use crate::domain::close::CloseReason;
use crate::domain::event::{Batch, Event};
use crate::domain::message::{Reference, ResetReason, ServerMessage, SystemEvent};
use crate::domain::position::Position;
use crate::domain::routes::{Routes, SubscriberId};
use crate::domain::snapshot::Snapshot;
use crate::domain::template::Template;
use crate::protocol::Wire;
use member::{State, Subscriber};
use resume::Waiting;

/// A subscriber's slot, and which of its tenants is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    slot: SubscriberId,
    tenant: u64,
}

pub enum Command {
    Join {
        sink: Arc<dyn Sink>,
        wire: &'static dyn Wire,
        reply: oneshot::Sender<Key>,
    },
    Identify {
        key: Key,
        user: Option<Arc<str>>,
    },
    Send {
        key: Key,
        frame: Bytes,
    },
    Subscribe {
        key: Key,
        pattern: Pattern,
        reference: Option<Reference>,
        after: Option<After>,
    },
    /// Replayed events of a subscription; `written` says that the socket took them.
    Replay {
        key: Key,
        ticket: u64,
        frames: Vec<Bytes>,
        written: oneshot::Sender<()>,
    },
    /// The end of a replay, and what is visible where it ended; live from now where it could not be had.
    GoLive {
        key: Key,
        ticket: u64,
        seen: Option<Arc<Snapshot>>,
    },
    Unsubscribe {
        key: Key,
        pattern: Pattern,
    },
    Close {
        key: Key,
        reason: CloseReason,
    },
    Leave {
        key: Key,
    },
    /// A socket that was blocked may take more.
    Writable {
        key: Key,
    },
    Publish(Arc<Batch>),
    PublishUnlogged(Vec<Event>),
    ForgetEpoch,
    ResetUnlogged(Vec<Template>),
    Announce(SystemEvent),
    Drain {
        done: oneshot::Sender<()>,
    },
}

#[derive(Clone, Copy, Debug)]
pub struct HubOptions {
    /// Bytes that may wait for one socket.
    pub queue_bytes: usize,
    /// Bytes of recent events that are kept for clients that come back.
    pub recent_bytes: usize,
}

/// Where a client wants to resume.
#[derive(Clone, Debug)]
pub struct After {
    /// As it named the place.
    pub id: Box<str>,
    /// What that means, or why it means nothing here.
    pub position: Result<Position, ResetReason>,
}

pub struct Shard {
    options: HubOptions,
    routes: Routes,
    subscribers: Slab<Subscriber>,
    /// Subscribers with something to write, each once.
    dirty: Vec<SubscriberId>,
    recent: Ring,
    history: Arc<dyn History>,
    /// The position behind the last event delivered.
    position: Option<Box<str>>,
    /// Replays whose clients have seen more than this node has read.
    ahead: Vec<Waiting>,
    /// Numbers the deliveries, so that nobody gets one twice, and the tenants of slots.
    counter: u64,
    /// For the tasks that wait for blocked sockets; weak, so that they don't keep the shard alive.
    commands: mpsc::WeakSender<Command>,
    draining: Option<oneshot::Sender<()>>,
}

impl Shard {
    pub fn new(
        options: HubOptions,
        history: Arc<dyn History>,
        commands: mpsc::WeakSender<Command>,
    ) -> Self {
        Self {
            options,
            recent: Ring::new(options.recent_bytes),
            history,
            routes: Routes::default(),
            subscribers: Slab::new(),
            dirty: Vec::new(),
            position: None,
            ahead: Vec::new(),
            counter: 0,
            commands,
            draining: None,
        }
    }

    pub async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let mut arrived = Vec::with_capacity(COMMANDS_PER_SWEEP);
        while queue.recv_many(&mut arrived, COMMANDS_PER_SWEEP).await > 0 {
            for command in arrived.drain(..) {
                self.apply(command);
            }
            self.sweep().await;
            self.finish_drain();
        }
    }

    fn apply(&mut self, command: Command) {
        match command {
            Command::Join { sink, wire, reply } => self.join(sink, wire, reply),
            Command::Identify { key, user } => self.identify(key, user),
            Command::Send { key, frame } => {
                if self.subscriber(key).is_some() {
                    self.queue(key.slot, frame);
                }
            }
            Command::Subscribe { key, pattern, reference, after } => {
                self.subscribe(key, pattern, reference, after);
            }
            Command::Replay { key, ticket, frames, written } => {
                self.replay(key, ticket, frames, written);
            }
            Command::GoLive { key, ticket, seen } => self.go_live(key, ticket, seen),
            Command::Unsubscribe { key, pattern } => self.unsubscribe(key, &pattern),
            Command::Close { key, reason } => {
                if self.subscriber(key).is_some() {
                    self.close(key.slot, reason);
                }
            }
            Command::Leave { key } => self.leave(key),
            Command::Writable { key } => self.unblock(key),
            Command::Publish(batch) => self.publish(&batch),
            Command::PublishUnlogged(events) => {
                for event in &events {
                    self.deliver(event);
                }
            }
            Command::ForgetEpoch => self.forget_epoch(),
            Command::ResetUnlogged(templates) => {
                let concerns = |pattern: &Pattern| templates.iter().any(|t| t.may_reach(pattern));
                self.reset(ResetReason::NotLogged, concerns);
            }
            Command::Announce(event) => self.announce(event),
            Command::Drain { done } => self.drain(done),
        }
    }

    fn join(&mut self, sink: Arc<dyn Sink>, wire: &'static dyn Wire, reply: oneshot::Sender<Key>) {
        self.counter += 1;
        let tenant = self.counter;
        let slot = self.subscribers.insert(Subscriber {
            tenant,
            sink,
            wire,
            user: None,
            subscriptions: Vec::new(),
            written: Vec::new(),
            outbox: Outbox::new(self.options.queue_bytes),
            state: State::Open,
            dirty: false,
            delivery: 0,
        });
        let key = Key { slot, tenant };
        if reply.send(key).is_err() {
            self.leave(key);
        } else if self.draining.is_some() {
            self.close(slot, CloseReason::Restart);
        }
    }

    fn identify(&mut self, key: Key, user: Option<Arc<str>>) {
        if self.subscriber(key).is_none() {
            return;
        }
        let subscriber = &mut self.subscribers[key.slot];
        for subscription in subscriber.subscriptions.iter().filter(|s| s.replay.is_none()) {
            self.routes.remove(&subscription.pattern, key.slot, subscriber.user.as_ref());
            self.routes.insert(&subscription.pattern, key.slot, user.as_ref());
        }
        subscriber.user = user;
    }

    fn leave(&mut self, key: Key) {
        if self.subscriber(key).is_none() {
            return;
        }
        let mut subscriber = self.subscribers.remove(key.slot);
        if !subscriber.state.is_blocked() {
            subscriber.outbox.flush(&*subscriber.sink);
        }
        for subscription in &subscriber.subscriptions {
            self.routes.remove(&subscription.pattern, key.slot, subscriber.user.as_ref());
        }
    }

    fn unsubscribe(&mut self, key: Key, pattern: &Pattern) {
        let Some(subscriber) = self.subscriber(key) else { return };
        subscriber.subscriptions.retain(|held| held.pattern != *pattern);
        let user = subscriber.user.clone();
        self.routes.remove(pattern, key.slot, user.as_ref());
    }

    fn publish(&mut self, batch: &Batch) {
        for event in &batch.events {
            self.deliver(event);
        }
        self.recent.push(batch);
        self.position = Some(batch.token.clone());
        for waiting in std::mem::take(&mut self.ahead) {
            self.begin_replay(waiting);
        }
    }

    fn deliver(&mut self, event: &Event) {
        let mut overflowed = Vec::new();
        for channel in &event.channels {
            self.counter += 1;
            let mut frames = Frames::new(event, channel);
            let (subscribers, dirty, delivery) =
                (&mut self.subscribers, &mut self.dirty, self.counter);
            self.routes.visit(channel, event.audience.as_deref(), |slot| {
                let subscriber = &mut subscribers[slot];
                if subscriber.delivery == delivery || subscriber.state.is_closing() {
                    return;
                }
                subscriber.delivery = delivery;
                match subscriber.offer(frames.frame(subscriber.wire)) {
                    Offer::Queued => subscriber.mark(slot, dirty),
                    Offer::Overflowed => overflowed.push(slot),
                }
            });
        }
        for slot in overflowed {
            self.give_up(slot);
        }
    }

    /// Positions of another epoch compare with nothing of this one.
    fn forget_epoch(&mut self) {
        self.recent = Ring::new(self.options.recent_bytes);
        self.position = None;
        self.reset(ResetReason::Epoch, |_| true);
    }

    fn reset(&mut self, reason: ResetReason, concerns: impl Fn(&Pattern) -> bool) {
        for slot in self.slots() {
            let subscriptions = self.subscribers[slot].subscriptions.iter();
            let patterns = subscriptions.map(|held| held.pattern.clone());
            for pattern in patterns.filter(&concerns).collect::<Vec<_>>() {
                self.tell(slot, &ServerMessage::Reset { pattern, reason });
            }
        }
    }

    fn announce(&mut self, event: SystemEvent) {
        let at = humantime::format_rfc3339_micros(SystemTime::now()).to_string().into();
        let message = ServerMessage::System { event, message: event.message(), at };
        for slot in self.slots() {
            let frame = self.subscribers[slot].wire.message(&message);
            self.queue(slot, frame);
        }
    }

    fn drain(&mut self, done: oneshot::Sender<()>) {
        self.announce(SystemEvent::Draining);
        for slot in self.slots() {
            self.close(slot, CloseReason::Restart);
        }
        self.draining = Some(done);
    }

    fn finish_drain(&mut self) {
        let all_closed = || self.subscribers.iter().all(|(_, s)| s.state == State::Closed);
        if self.draining.is_some() && all_closed() {
            let _ = self.draining.take().map(|done| done.send(()));
        }
    }

    fn tell(&mut self, slot: SubscriberId, message: &ServerMessage) {
        let frame = self.subscribers[slot].wire.message(message);
        self.queue(slot, frame);
    }

    fn queue(&mut self, slot: SubscriberId, frame: Bytes) {
        let subscriber = &mut self.subscribers[slot];
        if subscriber.state.is_closing() {
            return;
        }
        match subscriber.offer(frame) {
            Offer::Queued => subscriber.mark(slot, &mut self.dirty),
            Offer::Overflowed => self.give_up(slot),
        }
    }

    fn queue_all(&mut self, slot: SubscriberId, frames: Vec<Bytes>) {
        for frame in frames {
            self.queue(slot, frame);
        }
    }

    fn close(&mut self, slot: SubscriberId, reason: CloseReason) {
        let subscriber = &mut self.subscribers[slot];
        if subscriber.state.is_closing() {
            return;
        }
        // A queue that has no room for it will not drain in time either.
        if subscriber.offer(subscriber.wire.close(reason)) == Offer::Overflowed {
            subscriber.outbox.replace(subscriber.wire.close(reason));
        }
        subscriber.state = subscriber.state.closing();
        subscriber.mark(slot, &mut self.dirty);
    }

    /// The queue bound is reached: what waits is dropped, and the client is told to come back.
    fn give_up(&mut self, slot: SubscriberId) {
        let subscriber = &mut self.subscribers[slot];
        if subscriber.state.is_closing() {
            return;
        }
        subscriber.outbox.replace(subscriber.wire.close(CloseReason::TooSlow));
        subscriber.outbox.flush(&*subscriber.sink);
        subscriber.sink.abort();
        subscriber.state = State::Closed;
    }

    fn unblock(&mut self, key: Key) {
        if self.subscriber(key).is_some() {
            let subscriber = &mut self.subscribers[key.slot];
            subscriber.state = subscriber.state.unblocked();
            subscriber.mark(key.slot, &mut self.dirty);
        }
    }

    async fn sweep(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for (count, slot) in dirty.drain(..).enumerate() {
            self.flush(slot);
            if count % WRITES_PER_YIELD == WRITES_PER_YIELD - 1 {
                tokio::task::yield_now().await;
            }
        }
        // The emptied list goes back, so that the next sweep allocates nothing.
        self.dirty = dirty;
    }

    fn flush(&mut self, slot: SubscriberId) {
        // A subscriber may have left since it was marked.
        let Some(subscriber) = self.subscribers.get_mut(slot) else { return };
        subscriber.dirty = false;
        if subscriber.state.is_blocked() || subscriber.state == State::Closed {
            return;
        }
        match subscriber.outbox.flush(&*subscriber.sink) {
            Flush::Empty if subscriber.state == State::Closing => {
                subscriber.sink.finish();
                subscriber.state = State::Closed;
                subscriber.written.clear();
            }
            Flush::Empty => {
                for written in subscriber.written.drain(..) {
                    let _ = written.send(());
                }
            }
            Flush::Blocked => {
                subscriber.state = subscriber.state.blocked();
                let key = Key { slot, tenant: subscriber.tenant };
                wait_until_writable(Arc::clone(&subscriber.sink), self.commands.clone(), key);
            }
            Flush::Broken => {
                subscriber.sink.abort();
                subscriber.state = State::Closed;
            }
        }
    }

    fn slots(&self) -> Vec<SubscriberId> {
        self.subscribers.iter().map(|(slot, _)| slot).collect()
    }

    fn subscriber(&mut self, key: Key) -> Option<&mut Subscriber> {
        self.subscribers.get_mut(key.slot).filter(|subscriber| subscriber.tenant == key.tenant)
    }
}

fn wait_until_writable(sink: Arc<dyn Sink>, commands: mpsc::WeakSender<Command>, key: Key) {
    tokio::spawn(async move {
        // An error shows itself at the next write.
        let _ = sink.writable().await;
        if let Some(commands) = commands.upgrade() {
            let _ = commands.send(Command::Writable { key }).await;
        }
    });
}

/// Commands taken in before the sockets are written to: the more wait, the more each write carries.
const COMMANDS_PER_SWEEP: usize = 256;

/// At 3 to 4 µs a write, other tasks of the runtime wait about 1 ms.
const WRITES_PER_YIELD: usize = 256;

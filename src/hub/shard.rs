//! The actor that owns the routing table and writes to the sockets.
//!
//! In: [`Command`]s. Out: frames, written straight to each socket: everything that has arrived is routed first,
//! then every socket concerned gets one write. Invariant: a socket that takes nothing costs the others nothing;
//! its frames wait in its own bounded outbox.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use slab::Slab;
use tokio::sync::{mpsc, oneshot};

use super::Sink;
use super::outbox::{Flush, Offer, Outbox};
use super::replay::{CatchUp, History, Owed, Replay, frames};
use super::ring::Ring;
use crate::domain::channel::{Channel, Pattern};
use crate::domain::close::CloseReason;
use crate::domain::event::{Batch, Event};
use crate::domain::message::{Reference, ResetReason, ServerMessage, SystemEvent};
use crate::domain::position::Position;
use crate::domain::routes::{Routes, SubscriberId};
use crate::domain::snapshot::Snapshot;
use crate::protocol::{WIRES, Wire};

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
    Reset(ResetReason),
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

struct Subscriber {
    tenant: u64,
    sink: Arc<dyn Sink>,
    wire: &'static dyn Wire,
    user: Option<Arc<str>>,
    subscriptions: Vec<Subscription>,
    /// Replays that wait until the outbox is empty.
    written: Vec<oneshot::Sender<()>>,
    outbox: Outbox,
    state: State,
    dirty: bool,
    /// The last delivery this subscriber got.
    delivery: u64,
}

/// A replay that can begin once this node has read up to where its client comes from.
struct Waiting {
    key: Key,
    ticket: u64,
    position: Position,
    owed: Option<Owed>,
}

struct Subscription {
    pattern: Pattern,
    /// The replay that must end before it is live.
    replay: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The socket took no more; a task waits until it does.
    Blocked,
    /// A close frame is the last thing queued.
    Closing,
    /// Closing, and the socket took no more.
    ClosingBlocked,
    /// Nothing more is written.
    Closed,
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
            Command::Reset(reason) => self.reset(reason),
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

    fn subscribe(
        &mut self,
        key: Key,
        pattern: Pattern,
        reference: Option<Reference>,
        after: Option<After>,
    ) {
        if self.subscriber(key).is_none_or(|subscriber| subscriber.state.is_closing()) {
            return;
        }
        self.unsubscribe(key, &pattern);
        let answer = |position, recovered, replayed| ServerMessage::Subscribed {
            reference: reference.clone(),
            pattern: pattern.clone(),
            position,
            recovered,
            replayed,
        };
        let here = self.position.clone();
        match after {
            None => {
                self.tell(key.slot, &answer(here, true, 0));
                self.add(key.slot, pattern);
            }
            Some(After { position: Ok(position), id }) => {
                let Some(frames) = self.missed(key.slot, &pattern, &position) else {
                    let owed = Some(Owed { reference, after: id });
                    return self.start_replay(key, pattern, position, owed);
                };
                // Resuming from here would skip what is still on its way.
                let resume_from = if frames.is_empty() { here } else { Some(id) };
                self.tell(key.slot, &answer(resume_from, true, frames.len() as u64));
                self.queue_all(key.slot, frames);
                self.add(key.slot, pattern);
            }
            Some(After { position: Err(reason), .. }) => {
                self.tell(key.slot, &answer(here, false, 0));
                self.tell(key.slot, &ServerMessage::Reset { pattern: pattern.clone(), reason });
                self.add(key.slot, pattern);
            }
        }
    }

    fn tell(&mut self, slot: SubscriberId, message: &ServerMessage) {
        let frame = self.subscribers[slot].wire.message(message);
        self.queue(slot, frame);
    }

    /// Makes the subscription live.
    fn add(&mut self, slot: SubscriberId, pattern: Pattern) {
        let subscriber = &mut self.subscribers[slot];
        self.routes.insert(&pattern, slot, subscriber.user.as_ref());
        subscriber.subscriptions.push(Subscription { pattern, replay: None });
    }

    /// The frames of what a position has not seen. `None` where that is more than the hub remembers, or more than
    /// may wait for one socket: then the log is read, at the pace of that socket.
    fn missed(
        &self,
        slot: SubscriberId,
        pattern: &Pattern,
        position: &Position,
    ) -> Option<Vec<Bytes>> {
        let unseen = self.recent.unseen(position)?;
        let subscriber = &self.subscribers[slot];
        let mut missed = Vec::new();
        // The log has nothing more where the position is the end of the last whole run.
        let is_last = self.recent.settled() == Some(&position.before);
        let mut room = if is_last { usize::MAX } else { self.options.queue_bytes / 2 };
        for event in unseen {
            if event.is_for(subscriber.user.as_deref()) {
                for frame in frames(event, pattern, subscriber.wire) {
                    room = room.checked_sub(frame.len())?;
                    missed.push(frame);
                }
            }
        }
        Some(missed)
    }

    fn start_replay(&mut self, key: Key, pattern: Pattern, position: Position, owed: Option<Owed>) {
        self.counter += 1;
        let ticket = self.counter;
        let subscription = Subscription { pattern, replay: Some(ticket) };
        self.subscribers[key.slot].subscriptions.push(subscription);
        self.begin_replay(Waiting { key, ticket, position, owed });
    }

    /// A replay ends where one of this node's own runs ends, so that what follows has tokens that know of it.
    fn begin_replay(&mut self, waiting: Waiting) {
        let Waiting { key, ticket, .. } = waiting;
        let Some(pattern) = self.replaying(key, ticket) else { return };
        let settled = self.recent.settled().filter(|end| end.includes(&waiting.position.upto));
        let Some(upto) = settled.cloned() else { return self.ahead.push(waiting) };
        let Some(commands) = self.commands.upgrade() else { return };
        let subscriber = &self.subscribers[key.slot];
        let (wire, user) = (subscriber.wire, subscriber.user.clone());
        let owed = waiting.owed;
        let replay = Replay { commands, key, ticket, wire, pattern: pattern.clone(), owed };
        let position = waiting.position;
        self.history.catch_up(CatchUp { pattern, user, position, upto, replay });
    }

    fn replay(&mut self, key: Key, ticket: u64, frames: Vec<Bytes>, written: oneshot::Sender<()>) {
        if self.replaying(key, ticket).is_none() {
            return;
        }
        self.queue_all(key.slot, frames);
        let subscriber = &mut self.subscribers[key.slot];
        if !subscriber.state.is_closing() {
            subscriber.written.push(written);
            subscriber.mark(key.slot, &mut self.dirty);
        }
    }

    fn go_live(&mut self, key: Key, ticket: u64, seen: Option<Arc<Snapshot>>) {
        let Some(pattern) = self.replaying(key, ticket) else { return };
        self.unsubscribe(key, &pattern);
        let Some(seen) = seen else { return self.add(key.slot, pattern) };
        let position = Position::complete(seen);
        let Some(frames) = self.missed(key.slot, &pattern, &position) else {
            return self.start_replay(key, pattern, position, None);
        };
        self.queue_all(key.slot, frames);
        self.add(key.slot, pattern);
    }

    /// The subscription that this replay is for, unless it was given up or replaced.
    fn replaying(&mut self, key: Key, ticket: u64) -> Option<Pattern> {
        let subscriptions = &self.subscriber(key)?.subscriptions;
        let subscription = subscriptions.iter().find(|s| s.replay == Some(ticket))?;
        Some(subscription.pattern.clone())
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

    fn reset(&mut self, reason: ResetReason) {
        if reason == ResetReason::Epoch {
            // Positions of another epoch compare with nothing of this one.
            self.recent = Ring::new(self.options.recent_bytes);
            self.position = None;
        }
        for slot in self.slots() {
            let subscriptions = &self.subscribers[slot].subscriptions;
            let patterns: Vec<_> = subscriptions.iter().map(|s| s.pattern.clone()).collect();
            for pattern in patterns {
                let message = ServerMessage::Reset { pattern, reason };
                self.queue(slot, self.subscribers[slot].wire.message(&message));
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

impl Subscriber {
    /// A full outbox is written out first: a burst of one batch is no sign of a slow socket.
    fn offer(&mut self, frame: Bytes) -> Offer {
        let full = self.outbox.offer(frame.clone()) == Offer::Overflowed;
        if !full {
            return Offer::Queued;
        }
        if !self.state.is_blocked() {
            self.outbox.flush(&*self.sink);
        }
        self.outbox.offer(frame)
    }

    fn mark(&mut self, slot: SubscriberId, dirty: &mut Vec<SubscriberId>) {
        if !self.dirty {
            self.dirty = true;
            dirty.push(slot);
        }
    }
}

impl State {
    const fn is_closing(self) -> bool {
        matches!(self, Self::Closing | Self::ClosingBlocked | Self::Closed)
    }

    const fn is_blocked(self) -> bool {
        matches!(self, Self::Blocked | Self::ClosingBlocked)
    }

    const fn closing(self) -> Self {
        if self.is_blocked() { Self::ClosingBlocked } else { Self::Closing }
    }

    const fn blocked(self) -> Self {
        if self.is_closing() { Self::ClosingBlocked } else { Self::Blocked }
    }

    const fn unblocked(self) -> Self {
        match self {
            Self::Blocked => Self::Open,
            Self::ClosingBlocked => Self::Closing,
            other => other,
        }
    }
}

/// One event on one channel, encoded at most once a wire.
struct Frames<'a> {
    event: &'a Event,
    channel: &'a Channel,
    encoded: [Option<Bytes>; WIRES],
}

impl<'a> Frames<'a> {
    const fn new(event: &'a Event, channel: &'a Channel) -> Self {
        Self { event, channel, encoded: [const { None }; WIRES] }
    }

    fn frame(&mut self, wire: &dyn Wire) -> Bytes {
        self.encoded[wire.slot()]
            .get_or_insert_with(|| wire.change(self.event, self.channel))
            .clone()
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

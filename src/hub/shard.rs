//! The actor that owns the routing table and writes to the sockets.
//!
//! In: [`Command`]s. Out: frames, written straight to each socket: everything that has arrived is routed first,
//! then every socket concerned gets one write. Invariant: a socket that takes nothing costs the others nothing;
//! its frames wait in its own bounded outbox; who is caught up with the past gives way to what is live.

mod catch_up;
mod command;
mod crowd;
mod deliver;
mod drain;
mod encoded;
mod member;
mod recall;
mod subscribe;
mod suspend;
mod write;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use indexmap::IndexSet;
use slab::Slab;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::Sink;
use super::burst::Burst;
use super::outbox::Outbox;
use super::past::History;
use super::ring::Ring;
use crate::domain::channel::Pattern;
use crate::domain::event::Batch;
use crate::domain::message::{ResetReason, ServerMessage};
use crate::domain::position::Position;
use crate::domain::rights::Changes;
use crate::domain::routes::{Routes, SubscriberId};
use crate::lifecycle::Pulse;
use crate::protocol::Wire;
use crate::telemetry::metrics::Observer;
use crate::telemetry::notice::Notice;
pub use command::{Command, Key, Past};
use crowd::Crowd;
use drain::Draining;
use encoded::Encoded;
use member::{Greeting, Subscriber, Subscription};

#[derive(Clone, Copy, Debug)]
pub struct HubOptions {
    /// Bytes of live events that may wait for one socket, and for how long; past either they are read again later.
    pub queue_bytes: usize,
    pub queue_age: Duration,
    /// How long a socket may take nothing before it is given up.
    pub patience: Duration,
    /// Bytes of recent events that are kept for clients that come back.
    pub recent_bytes: usize,
    /// Among how many actors the sockets are divided.
    pub shards: usize,
}

/// Which of the shards one is.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    pub number: usize,
    pub count: usize,
}

pub struct Shard {
    options: HubOptions,
    share: Share,
    routes: Routes,
    subscribers: Slab<Subscriber>,
    /// What was routed since the last sweep.
    burst: Burst,
    /// Subscribers with something to write, each once.
    dirty: Vec<SubscriberId>,
    /// Subscribers whose sockets take no more for now.
    blocked: IndexSet<SubscriberId>,
    /// When they are looked at next.
    next_look: Instant,
    recent: Ring,
    /// None before there is anything to follow.
    history: Option<Arc<dyn History>>,
    /// Behind the last batch, and the same as clients get it.
    position: Option<(Position, Box<str>)>,
    /// Who is to get the next page of the past, by subscriber and ticket.
    turns: VecDeque<(Key, u64)>,
    /// Those whose clients have seen more than this node has read.
    ahead: Vec<(Key, u64)>,
    /// Those whose past is in the log.
    crowd: Crowd,
    encoded: Encoded,
    /// How many subscribers' subscriptions are being caught up.
    catching_up: usize,
    /// Of rights, as far as this shard knows.
    changes: Changes,
    /// Numbers the deliveries, so that nobody gets one twice, the tenants of slots, and the tickets.
    counter: u64,
    /// For the tasks that wait for blocked sockets; weak, so that they don't keep the shard alive.
    commands: mpsc::WeakSender<Command>,
    draining: Option<Draining>,
    observer: Observer,
    /// What was published since the last sweep.
    published: Published,
    /// When an event last came.
    last_event: Option<Instant>,
    pulse: Pulse,
}

/// Frames queued for subscribers, in how many writes they went, and when the newest of their events was captured.
#[derive(Default)]
pub(super) struct Published {
    frames: usize,
    writes: usize,
    captured: Option<SystemTime>,
}

impl Shard {
    pub fn new(
        options: HubOptions,
        share: Share,
        observer: Observer,
        commands: mpsc::WeakSender<Command>,
        pulse: Pulse,
    ) -> Self {
        Self {
            options,
            share,
            recent: Ring::new(options.recent_bytes),
            history: None,
            routes: Routes::default(),
            subscribers: Slab::new(),
            burst: Burst::default(),
            dirty: Vec::new(),
            blocked: IndexSet::new(),
            next_look: Instant::now(),
            position: None,
            turns: VecDeque::new(),
            ahead: Vec::new(),
            crowd: Crowd::new(),
            encoded: Encoded::default(),
            catching_up: 0,
            changes: Changes::default(),
            counter: 0,
            commands,
            draining: None,
            observer,
            published: Published::default(),
            last_event: None,
            pulse,
        }
    }

    pub async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let mut arrived = Vec::with_capacity(COMMANDS_PER_SWEEP);
        while self.wait(&mut queue, &mut arrived).await {
            for command in arrived.drain(..) {
                self.apply(command);
                self.pulse.beat();
                if self.burst.is_large() {
                    self.sweep().await;
                }
            }
            self.take_turns();
            self.look_at_blocked();
            self.look_at_crowd();
            self.sweep().await;
            self.note_delivered();
            self.finish_drain();
        }
    }

    /// Until there is something to do; `false` once nobody is left to ask for anything.
    async fn wait(&self, queue: &mut mpsc::Receiver<Command>, arrived: &mut Vec<Command>) -> bool {
        if !self.turns.is_empty() {
            tokio::task::yield_now().await;
            arrived.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(COMMANDS_PER_SWEEP));
            return true;
        }
        let crowd_is_due = self.crowd_is_due();
        tokio::select! {
            biased;
            count = queue.recv_many(arrived, COMMANDS_PER_SWEEP) => count > 0,
            () = sleep_until(self.next_look), if !self.blocked.is_empty() => true,
            () = sleep_until(crowd_is_due.unwrap_or(self.next_look)), if crowd_is_due.is_some() => true,
        }
    }

    fn apply(&mut self, command: Command) {
        match command {
            Command::Join { sink, wire, reply } => self.join(sink, wire, reply),
            Command::Identify { key, user } => self.identify(key, user),
            Command::Send { key, frame } => self.send(key, frame),
            Command::Subscribe { key, pattern, reference, past, judged } => {
                self.subscribe(key, pattern, reference, past, judged);
            }
            Command::Suspend(whose) => self.suspend(whose),
            Command::GoOn { key, judged } => self.go_on(key, judged),
            Command::Page { key, ticket, page } => self.page(key, ticket, page),
            Command::Backfill { number, backfill } => self.backfill(number, backfill),
            Command::Unsubscribe { key, pattern } => self.unsubscribe(key, &pattern),
            Command::Close { key, reason } => {
                if self.subscriber(key).is_some() {
                    self.close(key.slot, reason);
                }
            }
            Command::Leave { key } => self.leave(key),
            Command::Writable { key } => self.unblock(key),
            Command::Publish(batch) => self.publish(&batch),
            Command::PublishUnlogged(events) => self.publish_unlogged(&events),
            Command::Begin { past, history, reason } => {
                self.history = Some(history);
                self.begin(&past, reason);
            }
            Command::Continue(history) => self.history = Some(history),
            Command::ResetUnlogged(templates) => {
                let may_reach = |pattern: &Pattern| templates.iter().any(|t| t.may_reach(pattern));
                self.reset(ResetReason::NotLogged, |_, held| may_reach(&held.pattern));
            }
            Command::SetQueueBytes(most) => self.options.queue_bytes = most,
            Command::Announce(event) => self.announce(event),
            // Whoever asked may be gone.
            Command::Ask { reply } => drop(reply.send(self.vitals())),
            Command::Drain { done } => self.drain(done),
        }
    }

    fn join(&mut self, sink: Arc<dyn Sink>, wire: &'static dyn Wire, reply: oneshot::Sender<Key>) {
        let tenant = self.next_number();
        let outbox = Outbox::new(self.options.queue_bytes);
        let slot = self.subscribers.insert(Subscriber::new(tenant, sink, wire, outbox));
        let key = Key { slot, tenant };
        if reply.send(key).is_err() {
            self.leave(key);
        } else {
            self.send_late_comer_away(slot);
        }
    }

    fn identify(&mut self, key: Key, user: Option<Arc<str>>) {
        if self.subscriber(key).is_none() {
            return;
        }
        let subscriber = &mut self.subscribers[key.slot];
        for subscription in subscriber.subscriptions.iter().filter(|held| held.is_live()) {
            self.routes.remove(&subscription.pattern, key.slot, subscriber.user.as_ref());
            self.routes.insert(&subscription.pattern, key.slot, user.as_ref());
        }
        subscriber.user = user;
        if subscriber.greeting == Greeting::Unknown {
            subscriber.greeting = Greeting::Identified;
        }
    }

    /// The first thing that a session says to somebody whom it knows is the welcome.
    fn send(&mut self, key: Key, frame: Bytes) {
        let Some(subscriber) = self.subscriber(key) else { return };
        if subscriber.greeting == Greeting::Identified {
            subscriber.greeting = Greeting::Welcomed;
        }
        self.queue(key.slot, frame);
    }

    fn leave(&mut self, key: Key) {
        if self.subscriber(key).is_none() {
            return;
        }
        let mut subscriber = self.subscribers.remove(key.slot);
        if !subscriber.state.is_blocked() {
            subscriber.outbox.flush(&*subscriber.sink, &mut self.burst);
        }
        for subscription in &subscriber.subscriptions {
            self.routes.remove(&subscription.pattern, key.slot, subscriber.user.as_ref());
        }
        self.blocked.swap_remove(&key.slot);
        self.catching_up -= subscriber.catch_ups.len();
    }

    /// Whoever is told to start over finds everything up to here in the tables, and gets what follows.
    fn begin(&mut self, past: &[Batch], reason: Option<ResetReason>) {
        self.recent = Ring::new(self.options.recent_bytes);
        self.position = None;
        self.forget_crowd();
        for batch in past {
            self.remember(batch);
        }
        if let Some(reason) = reason {
            // Who is owed an answer is told with it.
            self.reset(reason, |subscriber, held| !subscriber.owes_answer(held));
            self.end_catch_ups(reason);
        }
    }

    fn reset(
        &mut self,
        reason: ResetReason,
        concerns: impl Fn(&Subscriber, &Subscription) -> bool,
    ) {
        for slot in self.slots() {
            let subscriber = &self.subscribers[slot];
            let held = subscriber.subscriptions.iter().filter(|held| concerns(subscriber, held));
            for pattern in held.map(|held| held.pattern.clone()).collect::<Vec<_>>() {
                self.tell(slot, &ServerMessage::Reset { pattern, reason });
            }
        }
    }

    const fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn note_delivered(&mut self) {
        let Published { frames, writes, captured } = std::mem::take(&mut self.published);
        if frames > 0 {
            let age = captured.and_then(|at| SystemTime::now().duration_since(at).ok());
            self.observer.note(&Notice::Delivered { frames, writes, age });
        }
    }

    fn slots(&self) -> Vec<SubscriberId> {
        self.subscribers.iter().map(|(slot, _)| slot).collect()
    }

    fn subscriber(&mut self, key: Key) -> Option<&mut Subscriber> {
        self.subscribers.get_mut(key.slot).filter(|subscriber| subscriber.tenant == key.tenant)
    }
}

/// Commands taken in before the sockets are written to: the more wait, the more each write carries.
const COMMANDS_PER_SWEEP: usize = 256;

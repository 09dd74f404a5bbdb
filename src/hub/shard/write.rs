//! Writing to the sockets, and what becomes of those that don't keep up.
//!
//! In: queued frames. Out: one write a socket and sweep. Invariant: no socket makes the hub wait; what waits for one
//! is bounded in bytes and in age, and what is dropped of it is read again or, where no log holds it, said.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::Sink;
use super::super::fanout::Delivery;
use super::super::outbox::Flush;
use super::member::State;
use super::{Command, Key, Shard};
use crate::domain::close::CloseReason;
use crate::domain::message::{ResetReason, ServerMessage};
use crate::domain::routes::SubscriberId;
use crate::telemetry::notice::Notice;
use crate::telemetry::refusals::Refused;

impl Shard {
    pub(super) fn tell(&mut self, slot: SubscriberId, message: &ServerMessage) {
        let frame = self.subscribers[slot].wire.message(message);
        self.queue(slot, frame);
    }

    pub(super) fn queue(&mut self, slot: SubscriberId, frame: Bytes) {
        let subscriber = &mut self.subscribers[slot];
        if subscriber.state.is_closing() {
            return;
        }
        if !subscriber.has_room(frame.len(), &mut self.burst) {
            self.lag(slot);
        }
        if self.subscribers[slot].has_room(frame.len(), &mut self.burst) {
            self.insist(slot, frame);
        } else {
            self.give_up(slot);
        }
    }

    /// What is bounded by itself: a page of the past, and what is said of it.
    pub(super) fn insist(&mut self, slot: SubscriberId, frame: Bytes) {
        let subscriber = &mut self.subscribers[slot];
        if !subscriber.state.is_closing() {
            subscriber.outbox.push(frame, &self.burst);
            subscriber.mark(slot, &mut self.dirty);
        }
    }

    /// The bound is reached: the live events that wait are dropped, to be read again once the socket takes more.
    pub(super) fn lag(&mut self, slot: SubscriberId) {
        let subscriber = &mut self.subscribers[slot];
        if subscriber.state.is_closing() {
            return;
        }
        let dropped = subscriber.outbox.drop_live(&self.burst);
        if !dropped.is_empty() {
            self.observer.note(&Notice::Lagged);
            self.observer.note(&Notice::Refused(Refused::QueueBytes));
        }
        self.fall_back(slot, &dropped);
        let unlogged = dropped.iter().filter(|live| live.logged.is_none());
        self.admit_loss(slot, &unlogged.map(Arc::as_ref).collect::<Vec<_>>());
        self.subscribers[slot].mark(slot, &mut self.dirty);
    }

    /// Every live subscription is to be caught up, from what it misses first.
    fn fall_back(&mut self, slot: SubscriberId, dropped: &[Arc<Delivery>]) {
        let place = |shard: &Self| {
            let mut held = shard.subscribers[slot].subscriptions.iter();
            held.find_map(|held| held.fallen_to(dropped).cloned())
        };
        while let Some(place) = place(self) {
            let position = self.id(&place);
            let ticket = self.catch_up_live(slot, &place, dropped);
            for pattern in self.subscribers[slot].wanted(ticket).patterns {
                let message = ServerMessage::Lagged { pattern, position: position.clone() };
                let frame = self.subscribers[slot].wire.message(&message);
                self.insist(slot, frame);
            }
        }
    }

    /// Says which subscriptions miss events that no log holds.
    fn admit_loss(&mut self, slot: SubscriberId, lost: &[&Delivery]) {
        let subscriber = &self.subscribers[slot];
        let patterns = subscriber.subscriptions.iter().map(|held| held.pattern.clone());
        let concerned: Vec<_> = patterns
            .filter(|pattern| lost.iter().any(|live| pattern.covers(&live.channel)))
            .collect();
        for pattern in concerned {
            let message = ServerMessage::Reset { pattern, reason: ResetReason::NotLogged };
            let frame = self.subscribers[slot].wire.message(&message);
            self.insist(slot, frame);
        }
    }

    pub(super) fn close(&mut self, slot: SubscriberId, reason: CloseReason) {
        let subscriber = &mut self.subscribers[slot];
        if subscriber.state.is_closing() {
            return;
        }
        // A queue that has no room for it will not drain in time either.
        let frame = subscriber.wire.close(reason);
        if subscriber.has_room(frame.len(), &mut self.burst) {
            subscriber.outbox.push(frame, &self.burst);
        } else {
            subscriber.outbox.replace(frame);
        }
        subscriber.state = subscriber.state.closing();
        subscriber.mark(slot, &mut self.dirty);
    }

    /// The socket took nothing for too long: what waits is dropped, and the client is told to come back.
    pub(super) fn give_up(&mut self, slot: SubscriberId) {
        let subscriber = &mut self.subscribers[slot];
        if subscriber.state == State::Closed {
            return;
        }
        if !subscriber.state.is_closing() {
            subscriber.outbox.replace(subscriber.wire.close(CloseReason::TooSlow));
        }
        self.observer.note(&Notice::GivenUp);
        subscriber.outbox.flush(&*subscriber.sink, &mut self.burst);
        subscriber.sink.abort();
        subscriber.state = State::Closed;
        self.blocked.swap_remove(&slot);
    }

    pub(super) fn unblock(&mut self, key: Key) {
        if self.subscriber(key).is_some() {
            self.blocked.swap_remove(&key.slot);
            let subscriber = &mut self.subscribers[key.slot];
            subscriber.state = subscriber.state.unblocked();
            subscriber.mark(key.slot, &mut self.dirty);
        }
    }

    /// Sockets that take nothing end; those that are slow fall back to the past.
    pub(super) fn look_at_blocked(&mut self) {
        let now = Instant::now();
        if self.blocked.is_empty() || now < self.next_look {
            return;
        }
        self.next_look = now + LOOK_EVERY;
        let slots: Vec<_> = self.blocked.iter().copied().collect();
        for slot in slots {
            let subscriber = &self.subscribers[slot];
            let waits = subscriber.outbox.oldest().map(|since| now.duration_since(since));
            let stalled = subscriber.stalled.map(|since| now.duration_since(since));
            if stalled.is_some_and(|stalled| stalled >= self.options.patience) {
                self.give_up(slot);
            } else if waits.is_some_and(|waits| waits >= self.options.queue_age) {
                self.lag(slot);
            }
        }
    }

    pub(super) async fn sweep(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for (count, slot) in dirty.drain(..).enumerate() {
            self.flush(slot);
            if count % WRITES_PER_YIELD == WRITES_PER_YIELD - 1 {
                tokio::task::yield_now().await;
            }
        }
        // The emptied list goes back, so that the next sweep allocates nothing.
        self.dirty = dirty;
        self.burst.clear();
    }

    fn flush(&mut self, slot: SubscriberId) {
        // A subscriber may have left since it was marked.
        let Some(subscriber) = self.subscribers.get_mut(slot) else { return };
        subscriber.dirty = false;
        if subscriber.state.is_blocked() || subscriber.state == State::Closed {
            // Where all that waited was dropped, what has come since has no place of its own yet.
            return subscriber.outbox.settle(&self.burst);
        }
        self.published.writes += usize::from(subscriber.outbox.has_trail());
        match subscriber.outbox.flush(&*subscriber.sink, &mut self.burst) {
            Flush::Empty if subscriber.state == State::Closing => {
                subscriber.sink.finish();
                subscriber.state = State::Closed;
            }
            Flush::Empty => self.socket_is_free(slot),
            Flush::Blocked { took_some } => self.block(slot, took_some),
            Flush::Broken => {
                subscriber.sink.abort();
                subscriber.state = State::Closed;
            }
        }
    }

    fn block(&mut self, slot: SubscriberId, took_some: bool) {
        let subscriber = &mut self.subscribers[slot];
        if took_some || subscriber.stalled.is_none() {
            subscriber.stalled = Some(Instant::now());
        }
        subscriber.state = subscriber.state.blocked();
        let key = Key { slot, tenant: subscriber.tenant };
        wait_until_writable(Arc::clone(&subscriber.sink), self.commands.clone(), key);
        self.blocked.insert(slot);
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

/// At 3 to 4 µs a write, other tasks of the runtime wait about 1 ms.
const WRITES_PER_YIELD: usize = 256;

const LOOK_EVERY: Duration = Duration::from_secs(1);

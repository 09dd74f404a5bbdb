//! What everybody is told: how the service is, and that it stops.
//!
//! In: an announcement, a stop. Out: a message or a close for each socket. Invariant: those who are sent away are
//! each given a time of their own to come back, and late comers the last one.

use std::time::SystemTime;

use tokio::sync::oneshot;

use super::member::{Greeting, State};
use super::{Shard, Share};
use crate::domain::close::CloseReason;
use crate::domain::message::{ServerMessage, SystemEvent};
use crate::domain::routes::SubscriberId;
use crate::telemetry::vitals::Vitals;

pub(super) struct Draining {
    /// So many were sent away.
    clients: usize,
    /// For whoever waits until they are gone.
    done: Option<oneshot::Sender<()>>,
}

impl Shard {
    pub(super) fn announce(&mut self, event: SystemEvent) {
        let at = humantime::format_rfc3339_micros(SystemTime::now()).to_string().into();
        let message = ServerMessage::System { event, message: event.message(), at };
        for slot in self.slots() {
            if self.subscribers[slot].greeting == Greeting::Welcomed {
                self.tell(slot, &message);
            }
        }
    }

    pub(super) fn vitals(&self) -> Vitals {
        let all = || self.subscribers.iter().map(|(_, subscriber)| subscriber);
        Vitals {
            clients: all().filter(|subscriber| subscriber.state != State::Closed).count(),
            last_event: self.last_event.map(|at| at.elapsed()),
            subscriptions: all().map(|subscriber| subscriber.subscriptions.len()).sum(),
            queued_bytes: all().map(|subscriber| subscriber.outbox.bytes(&self.burst)).sum(),
            blocked: self.blocked.len(),
            catching_up: self.catching_up,
        }
    }

    pub(super) fn drain(&mut self, done: oneshot::Sender<()>) {
        self.announce(SystemEvent::Draining);
        let slots = self.slots();
        let clients = slots.len();
        // The clients of all shards come back in turn.
        let Share { number, count } = self.share;
        for (place, slot) in slots.into_iter().enumerate() {
            self.close(slot, CloseReason::restart(place * count + number, clients * count));
        }
        self.draining = Some(Draining { clients, done: Some(done) });
    }

    /// Somebody who was let in just before the stop.
    pub(super) fn send_late_comer_away(&mut self, slot: SubscriberId) {
        if let Some(Draining { clients, .. }) = self.draining {
            let all = clients * self.share.count;
            self.close(slot, CloseReason::restart(all, all));
        }
    }

    pub(super) fn finish_drain(&mut self) {
        let all_closed = || self.subscribers.iter().all(|(_, s)| s.state == State::Closed);
        let Some(draining) = &mut self.draining else { return };
        if draining.done.is_some() && all_closed() {
            let _ = draining.done.take().map(|done| done.send(()));
        }
    }
}

//! Holding back what somebody may have lost the right to, until that is known.
//!
//! In: changes of rights, and the word that everything of a subscriber was judged again. Out: the same events as
//! without, later. Invariant: between the change and the word, nothing more is queued for those concerned.

use super::super::outbox::Flush;
use super::catch_up::CatchUp;
use super::member::Feed;
use super::{Key, Shard};
use crate::domain::past::Start;
use crate::domain::rights::{Version, Whose};
use crate::domain::routes::SubscriberId;

impl Shard {
    pub(super) fn suspend(&mut self, whose: Whose) {
        for slot in self.slots() {
            if whose.is(self.subscribers[slot].user.as_deref()) {
                self.suspend_one(slot);
            }
        }
        self.changes.note(whose);
    }

    fn suspend_one(&mut self, slot: SubscriberId) {
        let subscriber = &mut self.subscribers[slot];
        if subscriber.state.is_closing() || subscriber.subscriptions.is_empty() {
            return;
        }
        let is_slow = subscriber.state.is_blocked()
            || subscriber.outbox.flush(&*subscriber.sink, &mut self.burst) != Flush::Empty;
        if is_slow {
            // What waits may be dropped later, and the place to read it again from has to be known.
            self.lag(slot);
        }
        self.hold_live(slot);
        let version = self.changes.version() + 1;
        let subscriber = &mut self.subscribers[slot];
        for catch_up in &mut subscriber.catch_ups {
            catch_up.awaits_verdict = Some(version);
        }
        subscriber.mark(slot, &mut self.dirty);
    }

    /// The live subscriptions go on from here once they may.
    fn hold_live(&mut self, slot: SubscriberId) {
        let Some((here, _)) = &self.position else { return };
        let start = Start::Behind(here.clone());
        let ticket = self.next_number();
        let subscriber = &mut self.subscribers[slot];
        let mut any = false;
        for held in subscriber.subscriptions.iter_mut().filter(|held| held.is_live()) {
            self.routes.remove(&held.pattern, slot, subscriber.user.as_ref());
            held.feed = Feed::CatchingUp { ticket, missed_unlogged: false };
            any = true;
        }
        if any {
            subscriber.catch_ups.push(CatchUp::from(ticket, start));
            self.catching_up += 1;
        }
    }

    /// Everything this subscriber still has was judged at this version.
    pub(super) fn go_on(&mut self, key: Key, judged: Version) {
        let Some(subscriber) = self.subscriber(key) else { return };
        let mut tickets = Vec::new();
        for catch_up in &mut subscriber.catch_ups {
            let is_judged = catch_up.awaits_verdict.take_if(|version| *version <= judged).is_some();
            if is_judged && !catch_up.awaits_socket {
                tickets.push(catch_up.ticket);
            }
        }
        self.turns.extend(tickets.into_iter().map(|ticket| (key, ticket)));
    }

    /// Whether somebody's rights may have changed since they were judged.
    pub(super) fn is_outdated(&self, slot: SubscriberId, judged: Version) -> bool {
        self.changes.concern(self.subscribers[slot].user.as_deref(), judged)
    }
}

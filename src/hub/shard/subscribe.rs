//! Subscribing and its answer.
//!
//! In: subscribe and unsubscribe commands. Out: the answer, and a route or a catch-up. Invariant: once `ok` is
//! queued, what is committed from then on comes; what `ok` says of the past is what follows it.

use super::member::{Feed, Subscription};
use super::{Key, Past, Shard};
use crate::domain::channel::Pattern;
use crate::domain::message::{Reference, ResetReason, ServerMessage};
use crate::domain::past::Start;
use crate::domain::position::Position;
use crate::domain::rights::Version;
use crate::domain::routes::SubscriberId;
use crate::telemetry::metrics::RECOVERED;
use crate::telemetry::notice::Notice;

/// The answer to a subscribe that is still owed.
#[derive(Debug)]
pub(super) struct Owed {
    pub(super) reference: Option<Reference>,
    pub(super) pattern: Pattern,
    /// Where the client resumes.
    pub(super) after: Option<Box<str>>,
    /// Why it can't.
    pub(super) refused: Option<ResetReason>,
    /// The last events it wants instead.
    pub(super) history: Option<u16>,
}

impl Shard {
    pub(super) fn subscribe(
        &mut self,
        key: Key,
        pattern: Pattern,
        reference: Option<Reference>,
        past: Past,
        judged: Version,
    ) {
        if self.subscriber(key).is_none_or(|subscriber| subscriber.state.is_closing()) {
            return;
        }
        self.unsubscribe(key, &pattern);
        let history = past.history;
        let newest = history.map(Start::Newest);
        let (after, refused, start) = match past.after.map(|id| (self.place_of(&id), id)) {
            None => (None, None, newest),
            Some((Ok(at), id)) => (Some(id), None, Some(Start::Behind(at))),
            Some((Err(reason), _)) => (None, Some(reason), newest),
        };
        let owed = Owed { reference, pattern, after, refused, history };
        let here = || self.position.as_ref().map(|(here, _)| Start::Behind(here.clone()));
        let outdated = self.is_outdated(key.slot, judged).then(|| self.changes.version());
        // Who has to be judged again has to wait, also for what is live.
        match start.or_else(|| outdated.and_then(|_| here())) {
            Some(start) => self.catch_up(key, start, owed, past.compact, outdated),
            None => self.subscribe_live(key.slot, owed),
        }
    }

    pub(super) fn unsubscribe(&mut self, key: Key, pattern: &Pattern) {
        let Some(subscriber) = self.subscriber(key) else { return };
        let subscriptions = &mut subscriber.subscriptions;
        subscriptions.retain(|held| held.pattern != *pattern);
        let before = subscriber.catch_ups.len();
        let is_wanted = |ticket| subscriptions.iter().any(|held| held.ticket() == Some(ticket));
        subscriber.catch_ups.retain(|catch_up| is_wanted(catch_up.ticket));
        let ended = before - subscriber.catch_ups.len();
        let user = subscriber.user.clone();
        self.routes.remove(pattern, key.slot, user.as_ref());
        self.catching_up -= ended;
    }

    fn subscribe_live(&mut self, slot: SubscriberId, owed: Owed) {
        let pattern = owed.pattern.clone();
        let here = self.here();
        self.answer(slot, owed, here, 0);
        let subscriber = &mut self.subscribers[slot];
        self.routes.insert(&pattern, slot, subscriber.user.as_ref());
        let since = self.position.as_ref().map(|(position, _)| position.clone());
        subscriber.subscriptions.push(Subscription { pattern, feed: Feed::Live { since } });
        subscriber.is_fresh = true;
    }

    /// `position` is where to resume as long as nothing of what follows has come.
    pub(super) fn answer(
        &mut self,
        slot: SubscriberId,
        owed: Owed,
        position: Option<Box<str>>,
        replayed: u64,
    ) {
        let asked = owed.after.is_some() || owed.refused.is_some();
        let Owed { reference, pattern, refused, .. } = owed;
        let recovered = refused.is_none();
        if asked {
            let outcome = refused.map_or(RECOVERED, ResetReason::as_str);
            self.observer.note(&Notice::Resumed(outcome));
        }
        let reset = refused.map(|reason| ServerMessage::Reset { pattern: pattern.clone(), reason });
        self.tell(
            slot,
            &ServerMessage::Subscribed { reference, pattern, position, recovered, replayed },
        );
        if let Some(reset) = reset {
            self.tell(slot, &reset);
        }
    }

    fn place_of(&self, id: &str) -> Result<Position, ResetReason> {
        self.history.as_ref().ok_or(ResetReason::Epoch)?.position(id)
    }

    /// The id that stands for a place.
    pub(super) fn id(&self, place: &Position) -> Option<Box<str>> {
        Some(self.history.as_ref()?.id(place))
    }

    /// The id of the place behind everything delivered so far.
    pub(super) fn here(&self) -> Option<Box<str>> {
        self.position.as_ref().map(|(_, id)| id.clone())
    }
}

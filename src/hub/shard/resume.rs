//! Subscribing, and how a subscription that resumes becomes a live one.
//!
//! In: subscribe commands, replayed events. Out: the answer, what was missed, and a route. Invariant: a subscription
//! gets its first live event behind the last one that it missed.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::replay::{CatchUp, Owed, Replay, frames};
use super::member::Subscription;
use super::{After, Key, Shard};
use crate::domain::channel::Pattern;
use crate::domain::message::{Reference, ServerMessage};
use crate::domain::position::Position;
use crate::domain::routes::SubscriberId;
use crate::domain::snapshot::Snapshot;

impl Shard {
    pub(super) fn subscribe(
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
    pub(super) fn begin_replay(&mut self, waiting: Waiting) {
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

    pub(super) fn replay(
        &mut self,
        key: Key,
        ticket: u64,
        frames: Vec<Bytes>,
        written: oneshot::Sender<()>,
    ) {
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

    pub(super) fn go_live(&mut self, key: Key, ticket: u64, seen: Option<Arc<Snapshot>>) {
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
}

/// A replay that can begin once this node has read up to where its client comes from.
pub(super) struct Waiting {
    key: Key,
    ticket: u64,
    position: Position,
    owed: Option<Owed>,
}

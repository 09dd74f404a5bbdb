//! How subscriptions that are behind become live ones: those that resume, and those whose sockets were too slow.
//!
//! In: a place in the past. Out: pages of what followed, from memory where that reaches back, else from the log.
//! Invariant: the next page waits until the socket took the last one; a subscription gets its first live event
//! behind the last one that it missed.

use std::sync::Arc;

use bytes::Bytes;

use super::super::fanout::Delivery;
use super::super::past::{Question, Reply, Request};
use super::super::ring::Reach;
use super::member::{Feed, Subscription};
use super::subscribe::Owed;
use super::{Key, Shard};
use crate::domain::event::Event;
use crate::domain::message::{ResetReason, ServerMessage};
use crate::domain::past::{Only, Page, Start, Survey};
use crate::domain::position::Position;
use crate::domain::rights::Version;
use crate::domain::routes::SubscriberId;
use crate::domain::snapshot::Snapshot;

pub(super) struct CatchUp {
    pub(super) ticket: u64,
    start: Start,
    /// The answer to the subscribe, until it is known what follows.
    pub(super) owed: Option<Owed>,
    pub(super) compact: bool,
    pub(super) only: Option<Only>,
    /// Whether the next page waits for the socket.
    pub(super) awaits_socket: bool,
    /// Whether the history was asked for it.
    pub(super) awaits_page: bool,
    /// The change of rights since which this was not judged.
    pub(super) awaits_verdict: Option<Version>,
}

impl CatchUp {
    pub(super) const fn from(ticket: u64, start: Start) -> Self {
        Self {
            ticket,
            start,
            owed: None,
            compact: false,
            only: None,
            awaits_socket: false,
            awaits_page: false,
            awaits_verdict: None,
        }
    }

    pub(super) const fn place(&self) -> Option<&Position> {
        match &self.start {
            Start::Behind(position) => Some(position),
            Start::Newest(_) => None,
        }
    }
}

impl Shard {
    pub(super) fn catch_up(
        &mut self,
        key: Key,
        start: Start,
        owed: Owed,
        compact: bool,
        awaits_verdict: Option<Version>,
    ) {
        let ticket = self.next_number();
        let subscriber = &mut self.subscribers[key.slot];
        let feed = Feed::CatchingUp { ticket, missed_unlogged: false };
        subscriber.subscriptions.push(Subscription { pattern: owed.pattern.clone(), feed });
        let owed = Some(owed);
        let begun = CatchUp::from(ticket, start);
        let catch_up = CatchUp { owed, compact, awaits_verdict, ..begun };
        subscriber.catch_ups.push(catch_up);
        self.catching_up += 1;
        self.turns.push_back((key, ticket));
    }

    /// Takes the live subscriptions that have fallen to this place back to it; goes on once the socket is free.
    pub(super) fn catch_up_live(
        &mut self,
        slot: SubscriberId,
        place: &Position,
        dropped: &[Arc<Delivery>],
    ) -> u64 {
        let ticket = self.next_number();
        let subscriber = &mut self.subscribers[slot];
        let held = subscriber.subscriptions.iter_mut();
        for held in held.filter(|held| held.fallen_to(dropped) == Some(place)) {
            self.routes.remove(&held.pattern, slot, subscriber.user.as_ref());
            held.feed = Feed::CatchingUp { ticket, missed_unlogged: false };
        }
        let begun = CatchUp::from(ticket, Start::Behind(place.clone()));
        subscriber.catch_ups.push(CatchUp { awaits_socket: true, ..begun });
        self.catching_up += 1;
        ticket
    }

    pub(super) fn socket_is_free(&mut self, slot: SubscriberId) {
        let subscriber = &mut self.subscribers[slot];
        subscriber.stalled = None;
        if std::mem::take(&mut subscriber.is_fresh) {
            for held in &mut subscriber.subscriptions {
                if let Feed::Live { since } = &mut held.feed {
                    *since = None;
                }
            }
        }
        let key = Key { slot, tenant: subscriber.tenant };
        for catch_up in subscriber.catch_ups.iter_mut().filter(|catch_up| catch_up.awaits_socket) {
            catch_up.awaits_socket = false;
            self.turns.push_back((key, catch_up.ticket));
        }
    }

    /// A bounded amount of work, so that a crowd that comes back leaves live events their latency.
    pub(super) fn take_turns(&mut self) {
        let mut budget = WORK_PER_SWEEP;
        while budget > 0
            && let Some((key, ticket)) = self.turns.pop_front()
        {
            budget = budget.saturating_sub(1 + self.turn(key, ticket));
        }
        if self.catching_up == 0 {
            self.encoded.forget();
        }
    }

    /// The next page, or a request for it; how much work that was.
    fn turn(&mut self, key: Key, ticket: u64) -> usize {
        let Some(catch_up) = self.allowed(key, ticket).filter(|due| !due.awaits_page) else {
            return 0;
        };
        let start = catch_up.start.clone();
        let reach = match &start {
            Start::Behind(position) => self.recent.reach(position),
            Start::Newest(_) => {
                self.recent.settled().map_or(Reach::Ahead, |upto| Reach::Log(Arc::clone(upto)))
            }
        };
        match (reach, start) {
            (Reach::Memory, Start::Behind(position)) => self.recall(key, ticket, position),
            (Reach::Log(upto), Start::Behind(position)) => {
                self.ask_behind(key, ticket, position, upto)
            }
            (Reach::Log(upto), start) => self.ask(key, ticket, start, upto),
            (Reach::Ahead | Reach::Memory, _) => {
                self.ahead.push((key, ticket));
                0
            }
        }
    }

    pub(super) fn ask(
        &mut self,
        key: Key,
        ticket: u64,
        start: Start,
        upto: Arc<Snapshot>,
    ) -> usize {
        let Some(commands) = self.commands.upgrade() else { return 0 };
        let Some(history) = self.history.clone() else { return 0 };
        let Some(catch_up) = self.active(key, ticket) else { return 0 };
        catch_up.awaits_page = true;
        let survey = catch_up.owed.as_ref().map(|_| catch_up.compact);
        self.crowd.note_single_read(survey.is_some());
        let wanted = self.subscribers[key.slot].wanted(ticket);
        let reply = Reply { commands, key, ticket };
        history.read(Request { question: Question { wanted, start, upto, survey }, reply });
        1
    }

    /// What the history answers.
    pub(super) fn page(
        &mut self,
        key: Key,
        ticket: u64,
        page: Result<(Page, Option<Survey>), ResetReason>,
    ) {
        self.crowd.note_single_answer();
        let Some(catch_up) = self.active(key, ticket) else { return };
        catch_up.awaits_page = false;
        let Some(catch_up) = self.allowed(key, ticket) else { return };
        let (page, survey) = match page {
            Ok(found) => found,
            Err(reason) => return self.refuse(key, ticket, reason),
        };
        let mut only = catch_up.only.take();
        if let Some(owed) = catch_up.owed.take() {
            let survey = survey.unwrap_or_default();
            only = survey.only;
            let at = owed.after.clone().or_else(|| self.id(&page.from));
            self.answer(key.slot, owed, at, survey.messages);
        }
        let subscriber = &self.subscribers[key.slot];
        let (wanted, wire) = (subscriber.wanted(ticket), subscriber.wire);
        let stays = |event: &&Arc<Event>| only.as_ref().is_none_or(|only| !only.drops(event));
        let frames = page.events.iter().filter(stays).flat_map(|event| {
            wanted.channels(event).map(|channel| wire.change(event, &event.token, channel))
        });
        let frames = frames.collect();
        self.send_page(key, ticket, frames, page.position, only);
    }

    /// Queues a page; the next one follows when the socket has taken it.
    pub(super) fn send_page(
        &mut self,
        key: Key,
        ticket: u64,
        frames: Vec<Bytes>,
        position: Position,
        only: Option<Only>,
    ) {
        for frame in frames {
            self.insist(key.slot, frame);
        }
        let Some(catch_up) = self.active(key, ticket) else { return };
        catch_up.start = Start::Behind(position);
        catch_up.only = only;
        catch_up.awaits_socket = true;
        self.subscribers[key.slot].mark(key.slot, &mut self.dirty);
    }

    /// The past can't be had: what was asked for instead of it, or live from now.
    pub(super) fn refuse(&mut self, key: Key, ticket: u64, reason: ResetReason) {
        let Some(catch_up) = self.active(key, ticket) else { return };
        match catch_up.owed.take() {
            Some(Owed { reference, pattern, after: Some(_), history: Some(count), .. }) => {
                let (refused, history) = (Some(reason), Some(count));
                catch_up.owed = Some(Owed { reference, pattern, after: None, refused, history });
                catch_up.start = Start::Newest(count);
                return self.turns.push_back((key, ticket));
            }
            Some(mut owed) => {
                owed.refused.get_or_insert(reason);
                let here = self.here();
                self.answer(key.slot, owed, here, 0);
            }
            None => {
                for pattern in self.subscribers[key.slot].wanted(ticket).patterns {
                    self.tell(key.slot, &ServerMessage::Reset { pattern, reason });
                }
            }
        }
        self.go_live(key.slot, ticket);
    }

    /// Ends them all, because their places mean nothing any more; whoever is owed an answer gets it.
    pub(super) fn end_catch_ups(&mut self, reason: ResetReason) {
        for slot in self.slots() {
            self.restart_held(slot, reason);
            let due = |held: &&mut CatchUp| held.awaits_verdict.is_none();
            while let Some(catch_up) = self.subscribers[slot].catch_ups.iter_mut().find(due) {
                let (ticket, owed) = (catch_up.ticket, catch_up.owed.take());
                if let Some(owed) = owed {
                    self.answer(slot, Owed { refused: Some(reason), ..owed }, None, 0);
                }
                self.go_live(slot, ticket);
            }
        }
    }

    /// Those that wait for a verdict go on waiting, at the place where everybody begins anew.
    fn restart_held(&mut self, slot: SubscriberId, reason: ResetReason) {
        let Some((here, _)) = self.position.clone() else { return };
        for at in 0..self.subscribers[slot].catch_ups.len() {
            // A page that is on its way is of the time before.
            let ticket = self.next_number();
            let subscriber = &mut self.subscribers[slot];
            let held = &mut subscriber.catch_ups[at];
            if held.awaits_verdict.is_none() {
                continue;
            }
            let before = held.ticket;
            let refused = |owed| Owed { refused: Some(reason), after: None, history: None, ..owed };
            let begun = CatchUp::from(ticket, Start::Behind(here.clone()));
            let (owed, awaits_verdict) = (held.owed.take().map(refused), held.awaits_verdict);
            *held = CatchUp { owed, awaits_verdict, awaits_socket: held.awaits_socket, ..begun };
            for held in subscriber.subscriptions.iter_mut().filter(|h| h.ticket() == Some(before)) {
                held.feed = Feed::CatchingUp { ticket, missed_unlogged: false };
            }
        }
    }

    pub(super) fn go_live(&mut self, slot: SubscriberId, ticket: u64) {
        let subscriber = &mut self.subscribers[slot];
        let since = subscriber.catch_up(ticket).and_then(|catch_up| catch_up.place().cloned());
        subscriber.is_fresh = true;
        let mut lost = Vec::new();
        for held in subscriber.subscriptions.iter_mut().filter(|h| h.ticket() == Some(ticket)) {
            if let Feed::CatchingUp { missed_unlogged: true, .. } = held.feed {
                lost.push(held.pattern.clone());
            }
            held.feed = Feed::Live { since: since.clone() };
            self.routes.insert(&held.pattern, slot, subscriber.user.as_ref());
        }
        let before = subscriber.catch_ups.len();
        subscriber.catch_ups.retain(|catch_up| catch_up.ticket != ticket);
        self.catching_up -= before - subscriber.catch_ups.len();
        for pattern in lost {
            let reason = ResetReason::NotLogged;
            self.tell(slot, &ServerMessage::Reset { pattern, reason });
        }
    }

    /// The same unless it has to be judged first: then it is asked for again.
    pub(super) fn allowed(&mut self, key: Key, ticket: u64) -> Option<&mut CatchUp> {
        self.active(key, ticket).filter(|catch_up| catch_up.awaits_verdict.is_none())
    }

    pub(super) fn active(&mut self, key: Key, ticket: u64) -> Option<&mut CatchUp> {
        let subscriber = self.subscriber(key).filter(|s| !s.state.is_closing())?;
        subscriber.catch_up(ticket)
    }
}

/// Events looked at between two sweeps: one to two milliseconds.
const WORK_PER_SWEEP: usize = 20_000;

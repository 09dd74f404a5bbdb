//! A crowd that comes back to a place before memory begins.
//!
//! In: subscriptions whose past is in the log. Out: one read of the log for all of them, put in front of what memory
//! holds, from where they are served like everybody else. Invariant: what a crowd costs the log does not grow with it;
//! what it costs memory is bounded, and given back once nobody is served from it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::past::{BackfillReply, BackfillRequest};
use super::super::ring::Reach;
use super::{Key, Shard};
use crate::domain::message::ResetReason;
use crate::domain::past::{Backfill, Start};
use crate::domain::position::Position;
use crate::domain::snapshot::{Snapshot, Xid};

pub(super) struct Crowd {
    /// Who waits for what came before memory begins.
    waiting: Vec<(Key, u64)>,
    /// When it is decided how it is read: a crowd does not come all at the same moment.
    decides: Instant,
    /// The number of the read that is under way.
    asked: Option<u64>,
    /// Reads for single subscribers that are under way.
    single_reads: usize,
    /// How many of them began to resume since this moment.
    begun: (Instant, usize),
    /// Where memory began when there was no room for more.
    full_at: Option<Arc<Snapshot>>,
    /// What older transactions wrote is no longer in the log.
    floor: Xid,
    /// When somebody was last served from what was read.
    pub(super) used: Instant,
}

impl Crowd {
    pub(super) fn new() -> Self {
        Self {
            waiting: Vec::new(),
            decides: Instant::now(),
            asked: None,
            single_reads: 0,
            begun: (Instant::now(), 0),
            full_at: None,
            floor: 0,
            used: Instant::now(),
        }
    }

    /// Somebody is read for alone; whether that is how it resumes.
    pub(super) fn note_single_read(&mut self, resumes: bool) {
        self.single_reads += 1;
        let (since, count) = self.begun;
        let count = if since.elapsed() > KEPT { 0 } else { count };
        let since = if count == 0 { Instant::now() } else { since };
        self.begun = (since, count + usize::from(resumes));
    }

    pub(super) const fn note_single_answer(&mut self) {
        self.single_reads -= 1;
    }

    /// Whether those who wait are so few that a read for each is as fast.
    fn is_small(&self) -> bool {
        let (since, begun) = self.begun;
        let begun = if since.elapsed() > KEPT { 0 } else { begun };
        self.waiting.len() + self.single_reads.max(begun) <= FEW
    }

    fn add(&mut self, key: Key, ticket: u64) {
        if self.waiting.is_empty() {
            self.decides = Instant::now() + GATHERED;
        }
        self.waiting.push((key, ticket));
    }
}

impl Shard {
    /// What this position has not seen is in the log: read for it alone, or for all who wait.
    pub(super) fn ask_behind(
        &mut self,
        key: Key,
        ticket: u64,
        position: Position,
        upto: Arc<Snapshot>,
    ) -> usize {
        if position.before.xmin() < self.crowd.floor {
            self.refuse(key, ticket, ResetReason::Pruned);
            return 1;
        }
        let is_full = self.recent.room() == 0
            || self.recent.joint().is_none()
            || self.crowd.full_at.as_ref() == self.recent.base();
        let crowd = &self.crowd;
        let is_alone = crowd.waiting.is_empty() && crowd.single_reads < FEW;
        let goes_on = self.active(key, ticket).is_some_and(|catch_up| catch_up.owed.is_none());
        if self.crowd.asked.is_none() && (is_full || (goes_on && is_alone)) {
            return self.ask(key, ticket, Start::Behind(position), upto);
        }
        self.crowd.add(key, ticket);
        1
    }

    /// When there is something to do for it that nobody asks for.
    pub(super) fn crowd_is_due(&self) -> Option<Instant> {
        match (self.crowd.asked, self.crowd.waiting.is_empty()) {
            (Some(_), _) => None,
            (None, false) => Some(self.crowd.decides),
            (None, true) => self.recent.is_extended().then(|| self.crowd.used + KEPT),
        }
    }

    pub(super) fn look_at_crowd(&mut self) {
        if self.crowd_is_due().is_none_or(|due| Instant::now() < due) {
            return;
        }
        if self.crowd.waiting.is_empty() {
            // Nobody is served any more from what was read.
            self.recent.release();
            self.crowd.full_at = None;
        } else if self.crowd.is_small() {
            self.ask_for_each();
        } else {
            self.ask_for_all();
        }
    }

    fn ask_for_each(&mut self) {
        for (key, ticket) in std::mem::take(&mut self.crowd.waiting) {
            let due = self.allowed(key, ticket).filter(|due| !due.awaits_page);
            let Some(position) = due.and_then(|due| due.place().cloned()) else { continue };
            match self.recent.reach(&position) {
                Reach::Log(upto) => {
                    self.ask(key, ticket, Start::Behind(position), upto);
                }
                Reach::Memory | Reach::Ahead => self.turns.push_back((key, ticket)),
            }
        }
    }

    fn ask_for_all(&mut self) {
        let (Some(from), Some((upto, replaced))) = (self.lowest_awaited(), self.recent.joint())
        else {
            // They have gone, or memory is about to begin anew.
            return self.turns.extend(std::mem::take(&mut self.crowd.waiting));
        };
        let (upto, room) = (Arc::clone(upto), replaced + self.recent.room() / self.share.count);
        let Some(commands) = self.commands.upgrade() else { return };
        let Some(history) = self.history.clone() else { return };
        let number = self.next_number();
        self.crowd.asked = Some(number);
        self.recent.extend();
        let reply = BackfillReply { commands, number };
        history.backfill(BackfillRequest { from: Arc::new(from), upto, room, reply });
    }

    /// What all who wait have seen.
    fn lowest_awaited(&self) -> Option<Snapshot> {
        let places = self.crowd.waiting.iter().filter_map(|(key, ticket)| {
            let subscriber = self.subscribers.get(key.slot)?;
            subscriber.catch_ups.iter().find(|catch_up| catch_up.ticket == *ticket)?.place()
        });
        let mut before = places.map(|place| &place.before);
        let first = Snapshot::clone(before.next()?);
        let mut newest: Option<&Arc<Snapshot>> = None;
        Some(before.fold(first, |lowest, before| {
            // Most of a crowd stand at few places.
            if newest.replace(before) == Some(before) {
                return lowest;
            }
            lowest.meet(before)
        }))
    }

    /// What the history answers.
    pub(super) fn backfill(&mut self, number: u64, backfill: Result<Backfill, ResetReason>) {
        if self.crowd.asked.take_if(|asked| *asked == number).is_none() {
            return;
        }
        self.crowd.used = Instant::now();
        let waiting = std::mem::take(&mut self.crowd.waiting);
        match backfill {
            Ok(backfill) => {
                self.crowd.floor = self.crowd.floor.max(backfill.floor);
                let before = self.recent.base().cloned();
                self.recent.backfill(backfill);
                if self.recent.base() == before.as_ref() {
                    self.crowd.full_at = before;
                }
                self.turns.extend(waiting);
            }
            Err(reason) => {
                for (key, ticket) in waiting {
                    if self.allowed(key, ticket).is_some() {
                        self.refuse(key, ticket, reason);
                    }
                }
            }
        }
    }

    /// Another past begins; who still waits takes another turn.
    pub(super) fn forget_crowd(&mut self) {
        let single_reads = self.crowd.single_reads;
        let before = std::mem::replace(&mut self.crowd, Crowd::new());
        self.crowd.single_reads = single_reads;
        self.turns.extend(before.waiting);
    }
}

/// As many as are served as fast by a read for each.
const FEW: usize = 4;

/// Long enough for somebody whose socket is slow, and for those who come back late.
const KEPT: Duration = Duration::from_secs(10);

/// How long somebody waits for others who want the same.
const GATHERED: Duration = Duration::from_millis(2);

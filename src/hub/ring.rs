//! The recent past, in memory, for those who come back soon.
//!
//! In: the batches that were delivered. Out: what a position has not seen, in stretches. Invariant: the runs kept are
//! whole and follow each other without a gap, from `base` on; the last one may still be growing.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::event::{Batch, Event};
use crate::domain::past::Backfill;
use crate::domain::position::Position;
use crate::domain::snapshot::Snapshot;

pub struct Ring {
    /// What is visible here is not kept. `None` until a run ends, and again when one run alone is too large.
    base: Option<Arc<Snapshot>>,
    /// Whether it was chosen rather than read up to: then a transaction in front of it may have waited for one behind it.
    is_base_chosen: bool,
    runs: VecDeque<Run>,
    weight: usize,
    limit: usize,
    /// For as long as a crowd wants what came before, there is room for as much again.
    is_extended: bool,
    /// How many of the runs were read from the log for it, and their weight.
    filled: usize,
    filled_weight: usize,
}

struct Run {
    events: Vec<Arc<Event>>,
    weight: usize,
    upto: Arc<Snapshot>,
    is_whole: bool,
}

/// Where what a position has not seen is found.
#[derive(Debug, PartialEq, Eq)]
pub enum Reach {
    Memory,
    /// In the log, up to this snapshot; from there on memory has it.
    Log(Arc<Snapshot>),
    /// The position knows of more than this node has read.
    Ahead,
}

/// A part of what a position has not seen, in log-id order.
pub struct Stretch<'a> {
    /// The run that it is a part of, read up to the position's place.
    pub run: Position,
    pub events: Vec<&'a Arc<Event>>,
    /// Whether the run is one of this node's own, so that its events' ids know what the position has seen.
    pub is_own: bool,
    /// Whether it was read from the log for a crowd.
    pub is_filled: bool,
    /// Behind the stretch.
    pub end: Position,
}

impl Ring {
    pub const fn new(limit: usize) -> Self {
        Self {
            base: None,
            is_base_chosen: true,
            runs: VecDeque::new(),
            weight: 0,
            limit,
            is_extended: false,
            filled: 0,
            filled_weight: 0,
        }
    }

    pub fn push(&mut self, batch: &Batch) {
        let upto = Arc::clone(&batch.position.upto);
        debug_assert!(self.settled().is_none_or(|before| upto.includes(before)));
        let is_whole = batch.position.is_complete();
        if self.base.is_none() {
            (self.base, self.is_base_chosen) = (is_whole.then_some(upto), true);
            return;
        }
        if self.runs.back().is_none_or(|run| run.is_whole) {
            let upto = Arc::clone(&upto);
            self.runs.push_back(Run { events: Vec::new(), weight: 0, upto, is_whole });
        }
        let weight = weight(batch);
        if let Some(run) = self.runs.back_mut() {
            run.events.extend(batch.events.iter().cloned());
            run.weight += weight;
            run.is_whole = is_whole;
            self.weight += weight;
        }
        self.shrink();
    }

    /// Keeps all there is, and room for what came before.
    pub const fn extend(&mut self) {
        self.is_extended = true;
    }

    /// Nobody wants what was before any more: it goes as far as it has no room.
    pub fn release(&mut self) {
        self.is_extended = false;
        self.shrink();
    }

    pub const fn is_extended(&self) -> bool {
        self.is_extended
    }

    /// How much of what came before may be put in front, beside what may come meanwhile.
    pub fn room(&self) -> usize {
        let most = (self.limit / 4 * 3).saturating_sub(self.filled_weight);
        let room = most.min(self.limit.saturating_mul(2).saturating_sub(self.weight));
        if room < self.limit / 16 { 0 } else { room }
    }

    /// What is visible here is not kept.
    pub const fn base(&self) -> Option<&Arc<Snapshot>> {
        self.base.as_ref()
    }

    /// Up to where what came before has to be read, and the weight of the run that it takes the place of. `None` while
    /// nothing can be put there.
    pub fn joint(&self) -> Option<(&Arc<Snapshot>, usize)> {
        match self.runs.front().filter(|_| self.is_base_chosen) {
            Some(run) => run.is_whole.then_some((&run.upto, run.weight)),
            None => Some((self.base.as_ref()?, 0)),
        }
    }

    /// Puts what came before in front; nothing happens where it does not end at the [`joint`](Self::joint).
    pub fn backfill(&mut self, backfill: Backfill) {
        let Backfill { from, is_from_chosen, runs, .. } = backfill;
        let end = runs.last().map(|run| &run.position.upto);
        if end.is_none() || end != self.joint().map(|(upto, _)| upto) {
            return;
        }
        if self.is_base_chosen {
            self.drop_oldest();
        }
        for batch in runs.into_iter().rev() {
            let weight = weight(&batch);
            self.weight += weight;
            self.filled_weight += weight;
            self.filled += 1;
            let Batch { events, position: Position { upto, .. }, .. } = batch;
            self.runs.push_front(Run { events, weight, upto, is_whole: true });
        }
        (self.base, self.is_base_chosen) = (Some(from), is_from_chosen);
        self.shrink();
    }

    /// The end of the last whole run.
    pub fn settled(&self) -> Option<&Arc<Snapshot>> {
        let whole = self.runs.iter().rev().find(|run| run.is_whole);
        whole.map(|run| &run.upto).or(self.base.as_ref())
    }

    pub fn reach(&self, position: &Position) -> Reach {
        let (Some(base), Some(settled)) = (&self.base, self.settled()) else { return Reach::Ahead };
        if let Some(at) = self.own_run(position) {
            // Two nodes may read the same run, the one faster than the other.
            if self.runs[at].reaches(position.last) { Reach::Memory } else { Reach::Ahead }
        } else if !settled.includes(&position.upto) {
            Reach::Ahead
        } else if position.includes(base) {
            Reach::Memory
        } else {
            Reach::Log(Arc::clone(settled))
        }
    }

    /// The next of what a position in [`Reach::Memory`] has not seen. `None` where that is nothing.
    pub fn stretch(&self, position: &Position) -> Option<Stretch<'_>> {
        if let Some(at) = self.own_run(position) {
            return self.own_stretch(at, position.clone());
        }
        let first = self.runs.partition_point(|run| position.before.includes(&run.upto));
        if position.is_complete() && self.begins(first) == Some(&position.upto) {
            return self.own_stretch(first, self.rest(position, first)?);
        }
        let last = self.enclosing(&position.upto);
        if first == last && first < self.runs.len() {
            return self.joining(position, first);
        }
        if !position.is_complete() {
            return Some(self.foreign_stretch(position.clone(), last));
        }
        let run = self.rest(position, last)?;
        Some(self.foreign_stretch(run, last))
    }

    /// The run from a position between two runs to the end of one of this node's own.
    fn rest(&self, position: &Position, at: usize) -> Option<Position> {
        let upto = Arc::clone(&self.runs.get(at)?.upto);
        Some(Position { before: Arc::clone(&position.upto), upto, last: 0 })
    }

    /// A position inside a single run is one of this node's own, once it has seen all before the last that it has.
    fn joining(&self, position: &Position, at: usize) -> Option<Stretch<'_>> {
        let own = &self.runs[at];
        let newest = own.events.iter().rposition(|event| position.sees_event(event));
        let known = &own.events[..newest.map_or(0, |newest| newest + 1)];
        let is_missing = |event: &&Arc<Event>| !position.sees_event(event);
        let events: Vec<_> = known.iter().filter(is_missing).collect();
        let (before, upto) = (Arc::clone(self.begins(at)?), Arc::clone(&own.upto));
        let end = Position { before, upto, last: known.last().map_or(0, |event| id(event)) };
        if events.is_empty() {
            return self.own_stretch(at, end);
        }
        if !position.is_complete() {
            return Some(self.foreign_stretch(position.clone(), at));
        }
        let run = self.rest(position, at)?;
        let is_all = known.len() == own.events.len();
        let end = if is_all { Position::complete(Arc::clone(&run.upto)) } else { end };
        Some(Stretch { run, events, is_own: false, is_filled: at < self.filled, end })
    }

    fn own_stretch(&self, at: usize, run: Position) -> Option<Stretch<'_>> {
        let own = &self.runs[at];
        let seen = own.events.partition_point(|event| id(event) <= run.last);
        let events: Vec<_> = own.events[seen..].iter().take(STRETCH_EVENTS).collect();
        let end = match events.last() {
            _ if own.is_whole && seen + events.len() == own.events.len() => {
                Position::complete(Arc::clone(&own.upto))
            }
            Some(event) => Position { last: id(event), ..run.clone() },
            None => return None,
        };
        Some(Stretch { run, events, is_own: true, is_filled: at < self.filled, end })
    }

    /// Parts of this node's runs, put together to one that nobody read before.
    fn foreign_stretch(&self, run: Position, last: usize) -> Stretch<'_> {
        let first = self.runs.partition_point(|own| run.before.includes(&own.upto));
        let is_in = |event: &Event| {
            event
                .logged
                .is_some_and(|logged| run.upto.sees(logged.xid) && !run.sees(logged.xid, logged.id))
        };
        let runs = self.runs.range(first..self.runs.len().min(last + 1));
        let mut events: Vec<_> =
            runs.flat_map(|own| &own.events).filter(|event| is_in(event)).collect();
        events.sort_by_key(|event| id(event));
        let end = Position::complete(Arc::clone(&run.upto));
        Stretch { run, events, is_own: false, is_filled: first < self.filled, end }
    }

    /// The run of this node's own that a position stands in.
    fn own_run(&self, position: &Position) -> Option<usize> {
        if position.is_complete() {
            return None;
        }
        let at = self.enclosing(&position.upto);
        let is_own =
            self.runs.get(at)?.upto == position.upto && self.begins(at) == Some(&position.before);
        is_own.then_some(at)
    }

    /// The first run at whose end everything that is visible in the snapshot was read.
    fn enclosing(&self, snapshot: &Snapshot) -> usize {
        self.runs.partition_point(|run| !run.upto.includes(snapshot))
    }

    fn begins(&self, at: usize) -> Option<&Arc<Snapshot>> {
        if at == 0 { self.base.as_ref() } else { self.runs.get(at - 1).map(|run| &run.upto) }
    }

    fn shrink(&mut self) {
        let limit = self.limit.saturating_mul(1 + usize::from(self.is_extended));
        while self.weight > limit && !self.runs.is_empty() {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(run) = self.runs.pop_front() else { return };
        self.weight -= run.weight;
        if self.filled > 0 {
            self.filled -= 1;
            self.filled_weight -= run.weight;
        }
        (self.base, self.is_base_chosen) = (run.is_whole.then_some(run.upto), false);
    }
}

impl Run {
    fn reaches(&self, last: i64) -> bool {
        self.is_whole || self.events.last().is_some_and(|event| id(event) >= last)
    }
}

fn id(event: &Event) -> i64 {
    event.logged.map_or(0, |logged| logged.id)
}

fn weight(batch: &Batch) -> usize {
    RUN_WEIGHT + batch.events.iter().map(|event| event.weight()).sum::<usize>()
}

/// A run without events costs too.
const RUN_WEIGHT: usize = 64;

/// More events than fit on a page make a stretch no better.
const STRETCH_EVENTS: usize = 1024;

#[cfg(test)]
mod tests;

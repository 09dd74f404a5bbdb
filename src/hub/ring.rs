//! The recent past, in memory, for those who come back soon.
//!
//! In: the batches that were delivered. Out: what a position has not seen, in stretches. Invariant: the runs kept are
//! whole and follow each other without a gap, from `base` on; the last one may still be growing.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::event::{Batch, Event};
use crate::domain::position::Position;
use crate::domain::snapshot::Snapshot;

pub struct Ring {
    /// What is visible here is not kept. `None` until a run ends, and again when one run alone is too large.
    base: Option<Arc<Snapshot>>,
    runs: VecDeque<Run>,
    weight: usize,
    limit: usize,
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
    /// Behind the stretch.
    pub end: Position,
}

impl Ring {
    pub const fn new(limit: usize) -> Self {
        Self { base: None, runs: VecDeque::new(), weight: 0, limit }
    }

    pub fn push(&mut self, batch: &Batch) {
        let upto = Arc::clone(&batch.position.upto);
        let is_whole = batch.position.is_complete();
        if self.base.is_none() {
            self.base = is_whole.then_some(upto);
            return;
        }
        if self.runs.back().is_none_or(|run| run.is_whole) {
            let upto = Arc::clone(&upto);
            self.runs.push_back(Run { events: Vec::new(), weight: 0, upto, is_whole });
        }
        let weight = RUN_WEIGHT + batch.events.iter().map(|event| event.weight()).sum::<usize>();
        if let Some(run) = self.runs.back_mut() {
            run.events.extend(batch.events.iter().cloned());
            run.weight += weight;
            run.is_whole = is_whole;
            self.weight += weight;
        }
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
        if !position.is_complete() {
            let last = self.enclosing(&position.upto);
            return Some(self.foreign_stretch(position.clone(), last));
        }
        let at = self.runs.partition_point(|run| position.upto.includes(&run.upto));
        let run = self.runs.get(at)?;
        let next = |upto: &Arc<Snapshot>| Position {
            before: Arc::clone(&position.upto),
            upto: Arc::clone(upto),
            last: 0,
        };
        if self.begins(at) == Some(&position.upto) {
            return self.own_stretch(at, next(&run.upto));
        }
        let last = self.enclosing(&position.upto);
        Some(self.foreign_stretch(next(&self.runs.get(last)?.upto), last))
    }

    fn own_stretch(&self, at: usize, run: Position) -> Option<Stretch<'_>> {
        let own = &self.runs[at];
        let events: Vec<_> = own.events.iter().filter(|event| is_behind(event, run.last)).collect();
        let end = match events.last().and_then(|event| event.logged) {
            _ if own.is_whole => Position::complete(Arc::clone(&own.upto)),
            Some(logged) => Position { last: logged.id, ..run.clone() },
            None => return None,
        };
        Some(Stretch { run, events, is_own: true, end })
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
        events.sort_by_key(|event| event.logged.map(|logged| logged.id));
        let end = Position::complete(Arc::clone(&run.upto));
        Stretch { run, events, is_own: false, end }
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
        while self.weight > self.limit
            && let Some(run) = self.runs.pop_front()
        {
            self.weight -= run.weight;
            self.base = run.is_whole.then_some(run.upto);
        }
    }
}

impl Run {
    fn reaches(&self, id: i64) -> bool {
        self.is_whole || self.events.last().is_some_and(|event| is_behind(event, id - 1))
    }
}

fn is_behind(event: &Event, last: i64) -> bool {
    event.logged.is_some_and(|logged| logged.id > last)
}

/// A run without events costs too.
const RUN_WEIGHT: usize = 64;

#[cfg(test)]
mod tests;

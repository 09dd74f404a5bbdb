//! The recent past, in memory, for those who come back soon.
//!
//! In: the batches that were delivered. Out: what a position has not seen. Invariant: the runs kept are whole and
//! follow each other without a gap, from `base` on; the last one may still be growing.

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

    /// What the position has not seen. `None` where that is not all here, or where the position is not one of this
    /// node's own: then some of it would come with tokens that do not know what the position has seen.
    pub fn unseen<'a>(
        &'a self,
        position: &'a Position,
    ) -> Option<impl Iterator<Item = &'a Arc<Event>>> {
        let first = self.run_behind(&position.before)?;
        let is_own = position.is_complete()
            || self.runs.get(first).is_some_and(|run| run.upto == position.upto);
        let rest = self.runs.range(first..).flat_map(|run| &run.events);
        is_own.then(|| rest.filter(|event| !position.sees_event(event)))
    }

    /// The run that begins at a snapshot: the number of runs where it is the end of the last.
    fn run_behind(&self, snapshot: &Snapshot) -> Option<usize> {
        if **self.base.as_ref()? == *snapshot {
            return Some(0);
        }
        let older = self.runs.partition_point(|run| run.upto.xmax() < snapshot.xmax());
        let mut candidates = self.runs.range(older..);
        let at = candidates.position(|run| run.is_whole && *run.upto == *snapshot)?;
        Some(older + at + 1)
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

/// A run without events costs too.
const RUN_WEIGHT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Logged;

    fn event(xid: u64, id: i64) -> Arc<Event> {
        Arc::new(Event {
            token: "".into(),
            logged: Some(Logged { xid, id }),
            at: "".into(),
            table: None,
            op: "insert".into(),
            channels: Box::default(),
            audience: None,
            key: None,
            row: None,
            old: None,
            changed: None,
            user: None,
            origin: None,
            truncated: false,
        })
    }

    fn below(xid: u64) -> Arc<Snapshot> {
        Arc::new(Snapshot::below(xid))
    }

    fn at(xid: u64) -> Position {
        Position::complete(below(xid))
    }

    fn run(events: Vec<Arc<Event>>, upto: u64) -> Batch {
        Batch { events, position: at(upto), token: "".into() }
    }

    fn ids(ring: &Ring, position: &Position) -> Option<Vec<i64>> {
        Some(ring.unseen(position)?.map(|event| event.logged.unwrap().id).collect())
    }

    #[test]
    fn a_position_gets_what_it_has_not_seen_and_an_older_one_is_not_reached() {
        let mut ring = Ring::new(usize::MAX);
        assert_eq!(ids(&ring, &at(10)), None);
        ring.push(&run(vec![], 10));
        ring.push(&run(vec![event(10, 1), event(11, 2)], 12));
        ring.push(&run(vec![event(12, 3)], 13));
        assert_eq!(ids(&ring, &at(9)), None);
        assert_eq!(ids(&ring, &at(10)), Some(vec![1, 2, 3]));
        assert_eq!(ids(&ring, &at(12)), Some(vec![3]));
        assert_eq!(ids(&ring, &at(13)), Some(vec![]));
        let inside = Position { before: below(10), upto: below(12), last: 1 };
        assert_eq!(ids(&ring, &inside), Some(vec![2, 3]));
    }

    #[test]
    fn a_position_of_another_node_is_left_to_the_log() {
        let mut ring = Ring::new(usize::MAX);
        ring.push(&run(vec![], 10));
        ring.push(&run(vec![event(10, 1), event(11, 2)], 12));
        assert_eq!(ids(&ring, &at(11)), None);
        let straddling = Position { before: below(10), upto: below(11), last: 1 };
        assert_eq!(ids(&ring, &straddling), None);
    }

    #[test]
    fn what_is_over_the_limit_goes_oldest_first_and_a_run_goes_as_a_whole() {
        let weight = event(1, 1).weight() + RUN_WEIGHT;
        let mut ring = Ring::new(2 * weight);
        ring.push(&run(vec![], 10));
        for xid in 10..13 {
            ring.push(&run(vec![event(xid, 1)], xid + 1));
        }
        assert_eq!(ids(&ring, &at(10)), None);
        assert!(ids(&ring, &at(11)).is_some());

        let begun = Position { before: below(13), upto: below(14), last: 9 };
        let events = (0..10).map(|id| event(13, id)).collect();
        ring.push(&Batch { events, position: begun, token: "".into() });
        assert_eq!((ids(&ring, &at(13)), ring.settled()), (None, None), "its first part is gone");
        ring.push(&run(vec![event(13, 10)], 14));
        assert_eq!(ids(&ring, &at(14)), Some(vec![]));
        assert_eq!(ring.settled(), Some(&below(14)));
    }
}

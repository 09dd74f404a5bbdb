//! Knows the notify-only events that were delivered: whoever has heard a notification can send it again.
//!
//! In: the transaction and the id of each signed payload, and what was over when the connection began. Out: whether it is new. Invariant: nothing is new twice, in bounded memory; what came of a transaction that
//! was over before the connection began was delivered then, or missed and said to be.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::snapshot::Snapshot;

pub struct Replays {
    opened: Arc<Snapshot>,
    /// Ids up to here are old, whether they were delivered or not.
    floor: i64,
    delivered: BTreeSet<i64>,
}

impl Replays {
    pub const fn since(opened: Arc<Snapshot>) -> Self {
        Self { opened, floor: 0, delivered: BTreeSet::new() }
    }

    /// Takes note of it, too.
    pub fn is_new(&mut self, xid: i64, id: i64) -> bool {
        if self.opened.sees(xid.cast_unsigned()) || id <= self.floor || !self.delivered.insert(id) {
            return false;
        }
        if self.delivered.len() > REMEMBERED {
            self.floor = self.delivered.pop_first().unwrap_or(self.floor);
        }
        true
    }
}

/// An event that is announced so many events late, out of a transaction that long, counts as old.
const REMEMBERED: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_new_twice_in_any_order() {
        let mut replays = Replays::since("100:110:100,105".parse().map(Arc::new).unwrap());
        for (xid, id) in [(100, 7), (112, 9), (105, 8), (100, 5)] {
            assert!(replays.is_new(xid, id), "{id}");
        }
        for id in [5, 7, 8, 9] {
            assert!(!replays.is_new(113, id), "{id}");
        }
    }

    #[test]
    fn what_was_over_before_is_old() {
        let mut replays = Replays::since("100:110:100,105".parse().map(Arc::new).unwrap());
        assert!(!replays.is_new(99, 1));
        assert!(!replays.is_new(104, 2));
        assert!(replays.is_new(105, 3));
    }

    #[test]
    fn what_is_forgotten_is_old_for_ever() {
        let mut replays = Replays::since(Arc::new(Snapshot::below(1)));
        let last = i64::try_from(REMEMBERED).unwrap() + 10;
        for id in 1..=last {
            assert!(replays.is_new(1, id));
        }
        assert_eq!(replays.delivered.len(), REMEMBERED);
        assert!((1..=last).all(|id| !replays.is_new(1, id)));
        assert!(replays.is_new(1, last + 1));
    }
}

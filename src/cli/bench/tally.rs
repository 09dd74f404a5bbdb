//! What one subscriber got of the numbered events: each once, in order, or not.
//!
//! In: numbers as they arrive, and how far the database has confirmed them. Out: received, missing, repeated, out of
//! order. Invariant: memory follows the gaps that are open, never the events.
//!
//! Order is judged within a lane, which is one connection that commits one event after the other; between lanes the
//! database is free to order commits as it likes. Event `n` goes to lane `n % lanes`.

#[derive(Clone, Debug)]
pub struct Tally {
    lanes: Vec<Lane>,
    received: u64,
    repeated: u64,
    out_of_order: u64,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    /// The one after the last that came.
    next: u64,
    /// What was passed over, as `from..to`.
    gaps: Vec<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    InOrder,
    Late,
    Again,
}

impl Tally {
    pub fn new(lanes: usize) -> Self {
        let lanes = vec![Lane::default(); lanes.max(1)];
        Self { lanes, received: 0, repeated: 0, out_of_order: 0 }
    }

    /// Whether this one is new.
    pub fn take(&mut self, number: u64) -> bool {
        let count = self.lanes.len();
        let (lane, place) = place(number, count);
        match self.lanes[lane].take(place) {
            Arrival::InOrder => {}
            Arrival::Late => self.out_of_order += 1,
            Arrival::Again => {
                self.repeated += 1;
                return false;
            }
        }
        self.received += 1;
        true
    }

    /// One without a number.
    pub fn count(&mut self) {
        self.received += 1;
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    pub fn out_of_order(&self) -> u64 {
        self.out_of_order
    }

    /// Of the events that were committed, so many in each lane.
    pub fn missing(&self, committed: &[u64]) -> u64 {
        self.lanes.iter().zip(committed).map(|(lane, committed)| lane.missing(*committed)).sum()
    }
}

impl Lane {
    fn take(&mut self, place: u64) -> Arrival {
        if place < self.next {
            return if self.fill(place) { Arrival::Late } else { Arrival::Again };
        }
        if place > self.next {
            self.gaps.push((self.next, place));
        }
        self.next = place + 1;
        Arrival::InOrder
    }

    /// Whether this one was open.
    fn fill(&mut self, place: u64) -> bool {
        let open = |(from, to): &(u64, u64)| (*from..*to).contains(&place);
        let Some(index) = self.gaps.iter().position(open) else { return false };
        let (from, to) = self.gaps.swap_remove(index);
        let halves = [(from, place), (place + 1, to)];
        self.gaps.extend(halves.into_iter().filter(|(from, to)| from < to));
        true
    }

    fn missing(&self, committed: u64) -> u64 {
        let open = |(from, to): &(u64, u64)| committed.min(*to).saturating_sub(*from);
        self.gaps.iter().map(open).sum::<u64>() + committed.saturating_sub(self.next)
    }
}

/// In which lane a number is, and the how manieth there.
fn place(number: u64, lanes: usize) -> (usize, u64) {
    let count = lanes as u64;
    (usize::try_from(number % count).unwrap_or_default(), number / count)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn tally(lanes: usize, numbers: impl IntoIterator<Item = u64>) -> Tally {
        let mut tally = Tally::new(lanes);
        for number in numbers {
            tally.take(number);
        }
        tally
    }

    fn verdict(tally: &Tally, committed: &[u64]) -> [u64; 4] {
        [tally.received(), tally.missing(committed), tally.repeated(), tally.out_of_order()]
    }

    #[test]
    fn each_once_and_in_order_is_no_finding_however_lanes_mix() {
        assert_eq!(verdict(&tally(1, 0..10), &[10]), [10, 0, 0, 0]);
        // Lanes of their own speed.
        assert_eq!(verdict(&tally(2, [0, 2, 4, 1, 6, 3, 5]), &[4, 3]), [7, 0, 0, 0]);
    }

    #[test]
    fn what_is_lost_late_or_repeated_is_told_apart() {
        assert_eq!(verdict(&tally(1, [0, 1, 4, 5]), &[7]), [4, 3, 0, 0]);
        assert_eq!(verdict(&tally(1, [0, 2, 1, 3]), &[4]), [4, 0, 0, 1]);
        assert_eq!(verdict(&tally(1, [0, 1, 1, 0, 2]), &[3]), [3, 0, 2, 0]);
    }

    #[test]
    fn what_was_not_confirmed_may_come_or_not() {
        assert_eq!(verdict(&tally(1, [0, 1, 5]), &[2]), [3, 0, 0, 0]);
        assert_eq!(verdict(&tally(1, [0]), &[0]), [1, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn it_counts_like_a_set_of_all_that_came(
            lanes in 1_usize..4,
            numbers in prop::collection::vec(0_u64..40, 0..120),
        ) {
            let tally = tally(lanes, numbers.iter().copied());
            let came: BTreeSet<u64> = numbers.iter().copied().collect();
            let committed: Vec<u64> = (0..lanes as u64).map(|lane| 12 - lane).collect();
            let expected = (0..400).filter(|n| {
                let (lane, place) = place(*n, lanes);
                place < committed[lane]
            });
            let missing = expected.filter(|number| !came.contains(number)).count() as u64;
            prop_assert_eq!(tally.received(), came.len() as u64);
            prop_assert_eq!(tally.repeated(), (numbers.len() - came.len()) as u64);
            prop_assert_eq!(tally.missing(&committed), missing);
        }
    }
}

//! A PostgreSQL snapshot: which transactions were visible at one moment.
//!
//! In: the text form of `pg_snapshot` (`xmin:xmax:xip,…`, PostgreSQL manual section 9.27.9). Out: answers
//! about visibility. Invariant: `xip` is sorted and lies within `xmin..xmax`.

use std::fmt;
use std::str::FromStr;

/// A top-level transaction id with its epoch (`xid8`).
pub type Xid = u64;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    xmin: Xid,
    xmax: Xid,
    xip: Box<[Xid]>,
}

impl Snapshot {
    /// `None` unless `xip` is strictly ascending within `xmin..xmax`.
    pub fn new(xmin: Xid, xmax: Xid, xip: Vec<Xid>) -> Option<Self> {
        let ascending = xip.windows(2).all(|pair| pair[0] < pair[1]);
        let bounded = xip.iter().all(|xid| (xmin..xmax).contains(xid));
        (xmin <= xmax && ascending && bounded).then(|| Self { xmin, xmax, xip: xip.into() })
    }

    /// Everything below `xid`, and nothing else.
    pub fn below(xid: Xid) -> Self {
        Self { xmin: xid, xmax: xid, xip: Box::default() }
    }

    /// The same, but of nothing at or behind this transaction.
    ///
    /// After a crash PostgreSQL hands out again the ids of transactions of which nothing reached the disk. A reader
    /// that keeps its snapshot to the transactions whose events it has seen never takes such a one for read.
    #[must_use]
    pub fn cut(&self, end: Xid) -> Self {
        let mut xmax = self.xmax.min(end);
        let mut xip: Vec<Xid> = self.xip.iter().copied().filter(|xid| *xid < xmax).collect();
        while xip.pop_if(|last| *last + 1 == xmax).is_some() {
            xmax -= 1;
        }
        Self { xmin: xip.first().map_or(xmax, |first| *first), xmax, xip: xip.into() }
    }

    /// The same, and everything below this transaction.
    #[must_use]
    pub fn raised(&self, end: Xid) -> Self {
        let xmax = self.xmax.max(end);
        let xip: Vec<Xid> = self.xip.iter().copied().filter(|xid| *xid >= end).collect();
        Self { xmin: xip.first().map_or(xmax, |first| *first), xmax, xip: xip.into() }
    }

    /// What both see.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        let xmax = self.xmax.min(other.xmax);
        let both = self.xip.iter().chain(&other.xip);
        let mut xip: Vec<Xid> = both.copied().filter(|xid| *xid < xmax).collect();
        xip.sort_unstable();
        xip.dedup();
        Self { xmin: xip.first().map_or(xmax, |first| *first), xmax, xip: xip.into() }
    }

    pub const fn xmin(&self) -> Xid {
        self.xmin
    }

    pub const fn xmax(&self) -> Xid {
        self.xmax
    }

    /// The transactions that were in progress, ascending.
    pub const fn in_progress(&self) -> &[Xid] {
        &self.xip
    }

    /// Whether what the transaction wrote was visible, given that it committed.
    pub fn sees(&self, xid: Xid) -> bool {
        xid < self.xmin || (xid < self.xmax && self.xip.binary_search(&xid).is_err())
    }

    /// Whether everything that `other` sees is seen here too.
    pub fn includes(&self, other: &Self) -> bool {
        let done_there_while_running_here = self.xip.iter().any(|xid| other.sees(*xid));
        let begun_later = other.xmax.saturating_sub(self.xmax);
        let begun_later_and_running_there =
            other.xip.len() - other.xip.partition_point(|xid| *xid < self.xmax);
        !done_there_while_running_here && begun_later == begun_later_and_running_there as u64
    }
}

impl FromStr for Snapshot {
    type Err = SnapshotError;

    fn from_str(text: &str) -> Result<Self, SnapshotError> {
        let number = |text: &str| text.parse::<Xid>().map_err(|_| SnapshotError);
        let mut parts = text.splitn(3, ':');
        let mut part = || parts.next().ok_or(SnapshotError);
        let (xmin, xmax, list) = (number(part()?)?, number(part()?)?, part()?);
        let xip = match list {
            "" => Vec::new(),
            list => list.split(',').map(number).collect::<Result<_, _>>()?,
        };
        Self::new(xmin, xmax, xip).ok_or(SnapshotError)
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (i, xid) in self.xip.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            xid.fmt(f)?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the text of a pg_snapshot")]
pub struct SnapshotError;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Small ids, so that two snapshots overlap often.
    pub(crate) fn any_snapshot() -> impl Strategy<Value = Snapshot> {
        (1..20u64, 0..12u64, any::<u16>()).prop_map(|(xmin, width, bits)| {
            let xip = (0..width).filter(|i| bits >> i & 1 == 1).map(|i| xmin + i).collect();
            Snapshot::new(xmin, xmin + width, xip).unwrap()
        })
    }

    #[test]
    fn text_that_is_no_snapshot_is_refused() {
        for bad in
            ["", "1", "1:2", "2:1:", "1:5:7", "1:5:3,2", "1:5:3,3", "a:b:", "1:5:2,", "-1:5:"]
        {
            assert!(bad.parse::<Snapshot>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_survives_a_round_trip(snapshot in any_snapshot()) {
            prop_assert_eq!(snapshot.to_string().parse::<Snapshot>().unwrap(), snapshot);
        }

        #[test]
        fn cut_off_it_sees_the_same_below_the_end_and_nothing_from_there(
            snapshot in any_snapshot(), end in 0..40u64
        ) {
            let cut = snapshot.cut(end);
            prop_assert!((0..64).all(|xid| cut.sees(xid) == (xid < end && snapshot.sees(xid))));
            prop_assert_eq!(cut.to_string().parse::<Snapshot>().unwrap(), cut.clone());
            prop_assert_eq!(cut.cut(end), cut);
        }

        #[test]
        fn raised_it_sees_the_same_from_there_on_and_all_below(
            snapshot in any_snapshot(), end in 0..40u64
        ) {
            let raised = snapshot.raised(end);
            prop_assert!((0..64).all(|xid| raised.sees(xid) == (xid < end || snapshot.sees(xid))));
            prop_assert_eq!(raised.to_string().parse::<Snapshot>().unwrap(), raised);
        }

        #[test]
        fn two_meet_in_what_both_see((one, other) in (any_snapshot(), any_snapshot())) {
            let meet = one.meet(&other);
            prop_assert!((0..64).all(|xid| meet.sees(xid) == (one.sees(xid) && other.sees(xid))));
            prop_assert_eq!(meet.to_string().parse::<Snapshot>().unwrap(), meet);
        }

        #[test]
        fn includes_means_that_every_transaction_seen_there_is_seen_here(
            (here, there) in (any_snapshot(), any_snapshot())
        ) {
            let subset = (0..64).all(|xid| !there.sees(xid) || here.sees(xid));
            prop_assert_eq!(here.includes(&there), subset);
        }
    }
}

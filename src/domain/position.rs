//! How far a reader has read: the snapshot behind it, and a place inside the batch after it.
//!
//! In: the snapshots of two consecutive reads and the id of an event between them. Out: whether an event was
//! seen, and a compact byte form. Invariant: [`Position::sees`] is exact; only a position with more running
//! transactions than [`MAX_IN_PROGRESS`] is written down coarser, so that it repeats and never loses.

use std::sync::Arc;

use super::event::Event;
use super::snapshot::{Snapshot, Xid};

/// Everything visible in `before`, and of what became visible up to `upto` the events up to `last`.
///
/// Inside a batch the order is that of the log id: a later change of a row waits for the earlier one's lock and
/// takes its id after it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    pub before: Arc<Snapshot>,
    pub upto: Arc<Snapshot>,
    pub last: i64,
}

impl Position {
    /// At the end of a batch: all that is visible in `snapshot` was read.
    pub fn complete(snapshot: Arc<Snapshot>) -> Self {
        Self { before: Arc::clone(&snapshot), upto: snapshot, last: 0 }
    }

    /// Whether it stands between two batches rather than inside one.
    pub fn is_complete(&self) -> bool {
        self.before == self.upto
    }

    pub fn sees(&self, xid: Xid, id: i64) -> bool {
        self.before.sees(xid) || (id <= self.last && self.upto.sees(xid))
    }

    pub fn sees_event(&self, event: &Event) -> bool {
        event.logged.is_some_and(|logged| self.sees(logged.xid, logged.id))
    }

    /// The next run on the way to a snapshot: what is left of this one, or all that follows it. `None` at the end.
    pub fn towards(&self, end: &Arc<Snapshot>) -> Option<Self> {
        if !self.is_complete() {
            return Some(self.clone());
        }
        let rest = Self { before: Arc::clone(&self.upto), upto: Arc::clone(end), last: 0 };
        (!self.upto.includes(end)).then_some(rest)
    }

    /// Whether everything visible in `snapshot` was read.
    pub fn includes(&self, snapshot: &Snapshot) -> bool {
        self.before.includes(snapshot)
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        Batch::new(&self.before, &self.upto).write(out);
        write_varint(out, self.last.cast_unsigned());
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let before = read_snapshot(&mut rest, 0)?;
        let upto = read_snapshot(&mut rest, before.xmin())?;
        let last = read_varint(&mut rest)?.cast_signed();
        rest.is_empty().then(|| Self { before: Arc::new(before), upto: Arc::new(upto), last })
    }
}

/// The part that the positions of one batch share, in the form that goes into their bytes.
pub struct Batch {
    before: Snapshot,
    upto: Snapshot,
}

impl Batch {
    pub fn new(before: &Snapshot, upto: &Snapshot) -> Self {
        debug_assert!(upto.includes(before));
        let fits = |snapshot: &Snapshot| snapshot.in_progress().len() <= MAX_IN_PROGRESS;
        if fits(before) && fits(upto) {
            Self { before: before.clone(), upto: upto.clone() }
        } else {
            let seen_for_sure = Snapshot::below(before.xmin());
            Self { before: seen_for_sure.clone(), upto: seen_for_sure }
        }
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        write_snapshot(out, &self.before, 0);
        write_snapshot(out, &self.upto, self.before.xmin());
    }
}

pub fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

pub fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(first & 0x7f);
        value |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The second snapshot of a position is never older than the first, so its xmin is written as a difference.
fn write_snapshot(out: &mut Vec<u8>, snapshot: &Snapshot, base: Xid) {
    write_varint(out, snapshot.xmin().saturating_sub(base));
    write_varint(out, snapshot.xmax() - snapshot.xmin());
    write_varint(out, snapshot.in_progress().len() as u64);
    let mut previous = snapshot.xmin();
    for xid in snapshot.in_progress() {
        write_varint(out, xid - previous);
        previous = *xid;
    }
}

fn read_snapshot(bytes: &mut &[u8], base: Xid) -> Option<Snapshot> {
    let xmin = base.checked_add(read_varint(bytes)?)?;
    let xmax = xmin.checked_add(read_varint(bytes)?)?;
    let count = usize::try_from(read_varint(bytes)?).ok().filter(|n| *n <= MAX_IN_PROGRESS)?;
    let mut xip = Vec::with_capacity(count);
    let mut previous = xmin;
    for _ in 0..count {
        previous = previous.checked_add(read_varint(bytes)?)?;
        xip.push(previous);
    }
    Snapshot::new(xmin, xmax, xip)
}

/// Keeps a token under 400 characters whatever the number of open transactions; PostgreSQL's own
/// `max_connections` is 100 by default, and few of those write at the same time.
pub const MAX_IN_PROGRESS: usize = 64;

#[cfg(test)]
pub(crate) mod tests;

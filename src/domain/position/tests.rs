//! Positions against a reference: a database of transactions, read at any moment and resumed anywhere.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::domain::snapshot::tests::any_snapshot;

pub(crate) fn any_position() -> impl Strategy<Value = Position> {
    (any_snapshot(), any_snapshot(), 0..1000i64)
        .prop_filter("time goes on", |(a, b, _)| a.xmin() <= b.xmin() && b.includes(a))
        .prop_map(|(before, upto, last)| Position {
            before: before.into(),
            upto: upto.into(),
            last,
        })
}

#[test]
fn a_position_with_too_many_open_transactions_repeats_and_never_loses() {
    let xip: Vec<Xid> = (100..300).step_by(2).collect();
    let crowded = Arc::new(Snapshot::new(100, 300, xip).unwrap());
    let exact = Position { before: Arc::clone(&crowded), upto: crowded, last: 7 };
    let mut bytes = Vec::new();
    exact.write(&mut bytes);
    let coarse = Position::read(&bytes).unwrap();
    assert!((0..400).all(|xid| !coarse.sees(xid, 9) || exact.sees(xid, 9)));
    assert!(coarse.sees(99, 1) && !coarse.sees(101, 1));
}

proptest! {
    #[test]
    fn bytes_survive_a_round_trip(position in any_position()) {
        let mut bytes = Vec::new();
        position.write(&mut bytes);
        prop_assert_eq!(Position::read(&bytes), Some(position));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = Position::read(&bytes);
    }

    #[test]
    fn varints_survive_a_round_trip(value in any::<u64>()) {
        let mut bytes = Vec::new();
        write_varint(&mut bytes, value);
        prop_assert_eq!(read_varint(&mut bytes.as_slice()), Some(value));
    }
}

/// What a reader is after.
#[derive(Clone, Copy, Debug)]
struct Row {
    xid: Xid,
    id: i64,
    key: u8,
    version: u32,
}

#[derive(Default)]
struct Database {
    begun: Xid,
    ids: i64,
    open: Vec<(Xid, Vec<Row>)>,
    versions: BTreeMap<u8, u32>,
    committed: Vec<Row>,
}

impl Database {
    fn begin(&mut self) {
        self.begun += 1;
        self.open.push((self.begun, Vec::new()));
    }

    /// The second change of a row waits for the end of the first one's transaction.
    fn change(&mut self, at: usize, key: u8) {
        let locked = |open: &(Xid, Vec<Row>)| open.1.iter().any(|row| row.key == key);
        let others = self.open.iter().enumerate().any(|(other, open)| other != at && locked(open));
        if at < self.open.len() && !others {
            self.ids += 1;
            let version = self.versions.entry(key).or_default();
            *version += 1;
            let (xid, rows) = &mut self.open[at];
            rows.push(Row { xid: *xid, id: self.ids, key, version: *version });
        }
    }

    fn end(&mut self, at: usize, commit: bool) {
        if at < self.open.len() {
            let (_, rows) = self.open.remove(at);
            if commit {
                self.committed.extend(rows);
            }
        }
    }

    /// Nothing but what was committed has reached the disk, so ids are handed out again.
    fn crash(&mut self) {
        self.open.clear();
        self.begun = self.committed.iter().map(|row| row.xid).max().unwrap_or(0);
        self.ids = self.committed.iter().map(|row| row.id).max().unwrap_or(0);
        self.versions.clear();
        for row in &self.committed {
            let version = self.versions.entry(row.key).or_default();
            *version = row.version.max(*version);
        }
    }

    fn snapshot(&self) -> Snapshot {
        let open: Vec<Xid> = self.open.iter().map(|(xid, _)| *xid).collect();
        let next = self.begun + 1;
        Snapshot::new(open.first().map_or(next, |xid| *xid), next, open).unwrap()
    }

    /// As far as the events that there are.
    fn upto(&self, position: &Position) -> Arc<Snapshot> {
        let last = self.committed.iter().map(|row| row.xid + 1).max().unwrap_or(1);
        Arc::new(self.snapshot().cut(last.max(position.upto.xmax())))
    }
}

/// A client that reads a while and comes back with the text of where it was.
struct Reader {
    position: Position,
    seen: BTreeSet<i64>,
    newest: BTreeMap<u8, u32>,
}

impl Reader {
    /// Reads at most so many events; `false` where there is nothing more.
    fn read(&mut self, database: &Database, most: usize) -> Result<bool, TestCaseError> {
        let upto = database.upto(&self.position);
        let Some(run) = self.position.towards(&upto) else { return Ok(false) };
        let is_new = |row: &&Row| run.upto.sees(row.xid) && !run.sees(row.xid, row.id);
        let mut rows: Vec<_> = database.committed.iter().filter(is_new).collect();
        rows.sort_by_key(|row| row.id);
        for row in rows.iter().take(most) {
            prop_assert!(self.seen.insert(row.id), "twice: {row:?}");
            let before = self.newest.insert(row.key, row.version).unwrap_or(0);
            prop_assert!(row.version > before, "{row:?} after {before}");
        }
        let position = match rows.get(most.wrapping_sub(1)) {
            Some(last) if rows.len() > most => Position { last: last.id, ..run },
            _ if rows.len() > most => run,
            _ => Position::complete(run.upto),
        };
        let mut bytes = Vec::new();
        position.write(&mut bytes);
        self.position = Position::read(&bytes).expect("what was written can be read");
        Ok(true)
    }
}

proptest! {
    #[test]
    fn resumed_anywhere_every_event_is_read_once_and_versions_rise(
        steps in proptest::collection::vec((0..25u8, 0..5usize, 0..4u8), 0..300),
    ) {
        let mut database = Database::default();
        let position = Position::complete(Arc::new(Snapshot::below(1)));
        let mut reader =
            Reader { position, seen: BTreeSet::new(), newest: BTreeMap::new() };
        for (kind, at, key) in steps {
            match kind {
                0..4 => database.begin(),
                4..12 => database.change(at, key),
                12..16 => database.end(at, true),
                16..20 => database.end(at, key > 0),
                20 => database.crash(),
                _ => {
                    reader.read(&database, at)?;
                }
            }
        }
        while !database.open.is_empty() {
            database.end(0, true);
        }
        while reader.read(&database, usize::MAX)? {}
        let all: BTreeSet<_> = database.committed.iter().map(|row| row.id).collect();
        prop_assert_eq!(reader.seen, all);
    }
}

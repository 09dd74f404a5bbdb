//! What is left of many changes when only the newest of each row counts.
//!
//! In: changes in their order. Out: which of them stay. Invariant: applied in order, they leave behind what all of
//! them together would have left behind.

use std::collections::{HashMap, HashSet};

/// A change, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    pub id: i64,
    pub table: Option<&'a str>,
    pub op: &'a str,
    pub key: Option<&'a str>,
}

#[derive(Debug)]
struct Row {
    was_there: bool,
    newest: i64,
    is_there: bool,
}

/// The ids of the newest change of each row; a row that came and went leaves nothing. What is no change of a row
/// with a key, such as an event of the application's own, always stays.
pub fn newest<'a>(changes: impl IntoIterator<Item = Change<'a>>) -> HashSet<i64> {
    let mut stay = HashSet::new();
    let mut rows: HashMap<(Box<str>, Box<str>), Row> = HashMap::new();
    for change in changes {
        match (change.table, change.key, change.op) {
            (Some(table), Some(key), "insert" | "update" | "delete") => {
                let is_there = change.op != "delete";
                let row = rows.entry((table.into(), key.into())).or_insert(Row {
                    was_there: change.op != "insert",
                    newest: change.id,
                    is_there,
                });
                (row.newest, row.is_there) = (change.id, is_there);
            }
            _ => {
                stay.insert(change.id);
            }
        }
    }
    stay.extend(rows.values().filter(|row| row.was_there || row.is_there).map(|row| row.newest));
    stay
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const fn change(id: i64, op: &'static str, key: &'static str) -> Change<'static> {
        Change { id, table: Some("t"), op, key: Some(key) }
    }

    #[test]
    fn the_newest_change_of_each_row_stays_and_a_row_that_came_and_went_leaves_nothing() {
        let changes = [
            change(1, "insert", "a"),
            change(2, "update", "b"),
            change(3, "update", "a"),
            change(4, "insert", "c"),
            change(5, "delete", "b"),
            change(6, "delete", "c"),
            Change { id: 7, table: Some("t"), op: "truncate", key: None },
            Change { id: 8, table: None, op: "progress", key: None },
        ];
        assert_eq!(newest(changes), [3, 5, 7, 8].into());
        assert_eq!(newest([change(1, "delete", "a"), change(2, "insert", "a")]), [2].into());
    }

    proptest! {
        #[test]
        fn what_stays_leaves_the_same_rows_behind(
            before in proptest::collection::btree_set(0..4u8, 0..4),
            wishes in proptest::collection::vec((0..4u8, any::<bool>()), 0..40),
        ) {
            const KEYS: [&str; 4] = ["0", "1", "2", "3"];
            let mut rows: BTreeMap<u8, i64> = before.iter().map(|key| (*key, 0)).collect();
            let start = rows.clone();
            let mut changes = Vec::new();
            for (id, (key, delete)) in (1..).zip(wishes) {
                let op = match (rows.contains_key(&key), delete) {
                    (true, true) => "delete",
                    (true, false) => "update",
                    (false, _) => "insert",
                };
                apply(&mut rows, key, op, id);
                changes.push((key, change(id, op, KEYS[usize::from(key)])));
            }
            let stay = newest(changes.iter().map(|(_, change)| *change));
            let mut compacted = start;
            for (key, change) in changes.iter().filter(|(_, change)| stay.contains(&change.id)) {
                apply(&mut compacted, *key, change.op, change.id);
            }
            prop_assert_eq!(compacted, rows);
            prop_assert!(stay.len() <= 4);
        }
    }

    fn apply(rows: &mut BTreeMap<u8, i64>, key: u8, op: &str, id: i64) {
        if op == "delete" {
            rows.remove(&key)
        } else {
            rows.insert(key, id)
        };
    }
}

//! Which slots of the log may hold what a reader has not seen: most of the time one, and a read of one is quick.
//!
//! In: the ring's turn and what is written down of its slots. Out: the statements that read what is new there.
//! Invariant: a slot is left out only if everybody who may have written to it had ended before a read that the
//! position includes, and the ring was not turned since: the turn is looked at again behind each read's snapshot, so
//! nobody whom it sees was told to write elsewhere.

use std::sync::Arc;

use tokio_postgres::{Client, Error, Statement};

use super::columns;
use crate::domain::snapshot::Snapshot;

/// The slots that may be written to, or hold something of somebody who was in progress.
#[derive(Clone)]
pub struct Current {
    turn: i64,
    /// For positions that include this.
    since: Arc<Snapshot>,
    /// Where a position has seen all transactions up to its last, as most have, and where it has not.
    calm: Statement,
    crowded: Statement,
}

/// What is known of the slots, before all that was written before was read.
pub struct Look {
    turn: i64,
    calm: Statement,
    crowded: Statement,
}

impl Current {
    /// `None` while there is no turn: then nothing is in a slot.
    pub async fn look(client: &Client) -> Result<Option<Look>, Error> {
        let Some(row) = client.query_opt(SLOTS, &[]).await? else { return Ok(None) };
        let slots: Vec<i32> = row.try_get(1)?;
        let calm = client.prepare(&read_new(Some(&slots), false)).await?;
        let crowded = client.prepare(&read_new(Some(&slots), true)).await?;
        Ok(Some(Look { turn: row.try_get(0)?, calm, crowded }))
    }

    /// How to read what follows this position; `None` where slots that are left out may hold some of it.
    pub fn statement(&self, before: &Snapshot) -> Option<&Statement> {
        let is_calm = before.in_progress().is_empty();
        before.includes(&self.since).then_some(if is_calm { &self.calm } else { &self.crowded })
    }

    pub fn is_still(&self, turn: Option<i64>) -> bool {
        turn == Some(self.turn)
    }
}

impl Look {
    /// Once everything was read up to this snapshot, which was taken afterwards.
    pub fn behind(self, since: Arc<Snapshot>) -> Current {
        let Self { turn, calm, crowded } = self;
        Current { turn, since, calm, crowded }
    }
}

/// What is visible now and was not in the snapshot `$1`: what began later, and if it is `crowded`, what was in
/// progress then. Of these slots only, and the default partition.
///
/// The slots are in the text, because partitions that a plan does not have need no lock. The branches carry their
/// bounds on xid twice over for the index; the array is there because a join with the function is planned as a scan
/// of the whole log. The turn is volatile, so it is looked at behind the statement's snapshot. The newest id is that
/// of the last event that anybody has written, committed or not.
pub fn read_new(slots: Option<&[i32]>, crowded: bool) -> String {
    let slots = slots.map_or_else(String::new, |slots| {
        let list = slots.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        format!("\n          and (slot in ({list}) or slot is null)")
    });
    let in_progress = if crowded { IN_PROGRESS } else { "" };
    format!("{NOW}{BEGUN_LATER}{slots}{in_progress}{}{REST}", if crowded { &slots } else { "" })
}

const NOW: &str = "\
with cur as materialized (
       select pg_current_snapshot()::text as snapshot,
              (select xid::text::int8
                 from rowcast.floor) as floor,
              pg_sequence_last_value('rowcast.event_slot_seq') as turn,
              (select last_value
                 from rowcast.event_id_seq) as newest),
     e as (";

const BEGUN_LATER: &str = "
       select *
         from rowcast.event
        where not parked
          and xid >= pg_snapshot_xmax(($1::text)::pg_snapshot)";

const IN_PROGRESS: &str = "
       union all
       select *
         from rowcast.event
        where not parked
          and xid >= pg_snapshot_xmin(($1::text)::pg_snapshot)
          and xid < pg_snapshot_xmax(($1::text)::pg_snapshot)
          and xid = any (array(select pg_snapshot_xip(($1::text)::pg_snapshot)))";

const REST: &str = concat!(
    ")
select cur.snapshot, max(e.xid::text::int8) over (), cur.floor, ",
    columns!(),
    ", cur.turn, cur.newest
  from cur
  left join e on true
 order by e.id"
);

/// Those that are not known to be over with: written down and not closed, or closed while somebody who may write
/// there was in progress; the one that the turn has reached; one that holds something and is not written down.
const SLOTS: &str = "\
with ring as materialized (
       select last_value as turn
         from rowcast.event_slot_seq
        where is_called)
select ring.turn,
       array(select n
               from generate_series(0, 11) n
               left join rowcast.slot s on s.slot = n
              where n = ring.turn % 12
                 or case when s.slot is null then
                        coalesce(pg_relation_size(to_regclass(format('rowcast.event_%s', n))), 1) > 0
                    else
                        s.closed_xid is null or s.closed_xid >= pg_snapshot_xmin(pg_current_snapshot())
                    end
              order by n)
  from ring";

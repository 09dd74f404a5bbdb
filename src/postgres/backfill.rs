//! Reads a stretch of the log whole, for a crowd that is behind.
//!
//! In: two snapshots, and how much there is room for. Out: the runs between them, with ids of their own. Invariant: of
//! each transaction either everything is there or nothing, and what is left out is all older than what is there.

use std::sync::Arc;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Transaction};

use super::event_log::{columns, event};
use super::identity::Identity;
use super::pool::answered;
use super::replay_log::{ReplayError, floor};
use crate::domain::event::{Batch, Event, Logged};
use crate::domain::past::{Backfill, divide};
use crate::domain::position::Position;
use crate::domain::snapshot::{Snapshot, Xid};

/// Everything that is visible in `upto` and was not in `from`; where that is more than `room`, the newest of it.
pub async fn read(
    client: &mut Client,
    identity: &Identity,
    from: &Snapshot,
    upto: &Arc<Snapshot>,
    room: usize,
) -> Result<Backfill, ReplayError> {
    let reading = answered(client.build_transaction().read_only(true).start()).await??;
    answered(reading.batch_execute(PLANS)).await??;
    let (mut events, left_out) = newest(&reading, from, upto, room).await?;
    answered(reading.commit()).await??;
    // Asked behind the read, so that what is taken away meanwhile is noticed.
    let floor = floor(client).await?;
    // Where a transaction was in progress for longer than memory goes back, those who wait miss that one alone, and have
    // seen more than memory begins with.
    let from = from.raised(floor.max(left_out)).meet(upto);
    events.retain(|event| event.logged.is_some_and(|logged| !from.sees(logged.xid)));
    events.sort_by_key(|event| event.logged.map(|logged| logged.id));
    let from = Arc::new(from);
    let runs = runs(identity, &from, upto, events);
    Ok(Backfill { from, is_from_chosen: left_out > 0, runs, floor })
}

/// The newest events first, as far as they fit. The other transactions are all below the second.
async fn newest(
    reading: &Transaction<'_>,
    from: &Snapshot,
    upto: &Snapshot,
    room: usize,
) -> Result<(Vec<Event>, Xid), ReplayError> {
    let (before, end) = (from.to_string(), upto.to_string());
    let parameters: [&(dyn ToSql + Sync); 2] = [&before, &end];
    let portal = answered(reading.bind(STRETCH, &parameters)).await??;
    let (mut events, mut weight) = (Vec::new(), 0);
    loop {
        let rows = answered(reading.query_portal(&portal, ROWS)).await??;
        for row in &rows {
            let event: Event = event(row, Box::default())?;
            weight += event.weight();
            if weight > room {
                // What else is there of the one that no longer fits is left out with it.
                return Ok((events, row.try_get::<_, i64>(4)?.cast_unsigned() + 1));
            }
            events.push(event);
        }
        if rows.is_empty() {
            return Ok((events, 0));
        }
    }
}

fn runs(
    identity: &Identity,
    from: &Arc<Snapshot>,
    upto: &Arc<Snapshot>,
    events: Vec<Event>,
) -> Vec<Batch> {
    let logged: Vec<Logged> = events.iter().filter_map(|event| event.logged).collect();
    let mut before = Arc::clone(from);
    let mut events = events.into_iter();
    let mut runs = Vec::new();
    for (count, end) in divide(from, upto, &logged) {
        let events = events.by_ref().take(count).collect();
        runs.push(run(identity, &before, &end, events));
        before = end;
    }
    runs
}

/// Behind the last event of a run is its end.
fn run(
    identity: &Identity,
    before: &Snapshot,
    upto: &Arc<Snapshot>,
    mut events: Vec<Event>,
) -> Batch {
    let tokens = identity.tokens(before, upto);
    let end = identity.tokens(upto, upto).behind(0);
    for event in &mut events {
        event.token = tokens.behind(event.logged.map_or(0, |logged| logged.id));
    }
    if let Some(last) = events.last_mut() {
        last.token.clone_from(&end);
    }
    let events = events.into_iter().map(Arc::new).collect();
    Batch { events, position: Position::complete(Arc::clone(upto)), token: end }
}

/// By the index, newest first, so that no more is read than is taken.
const PLANS: &str = "set local enable_seqscan = off; set local enable_sort = off";

const STRETCH: &str = concat!(
    "\
select null::text, null::int8, null::int8, ",
    columns!(),
    "
  from rowcast.event e
 where not e.parked
   and e.xid >= pg_snapshot_xmin(($1::text)::pg_snapshot)
   and e.xid < pg_snapshot_xmax(($2::text)::pg_snapshot)
   and pg_visible_in_snapshot(e.xid, ($2::text)::pg_snapshot)
   and (e.xid >= pg_snapshot_xmax(($1::text)::pg_snapshot)
        or e.xid = any (array(select pg_snapshot_xip(($1::text)::pg_snapshot))))
 order by e.xid desc, e.id desc"
);

/// Rows taken at a time.
const ROWS: i32 = 1000;

//! Reads the log, from one snapshot to the next.
//!
//! In: the position of the reader. Out: what became visible since, as [`Event`]s in log-id order. Invariant: one
//! statement reads the rows and the snapshot that decided which rows those are, so every committed event lies
//! between exactly one pair of consecutive snapshots.

mod reading;
mod slots;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::identity::Identity;
use crate::domain::event::{Batch, Event};
use crate::domain::position::Position;
use crate::domain::snapshot::{Snapshot, SnapshotError};
use crate::domain::template::Template;
pub use reading::{Reading, event};
use slots::Current;

/// The columns that [`event`] reads.
macro_rules! columns {
    () => {
        "e.id, e.xid::text::int8, e.at, e.\"table\", e.op, e.channels, e.users, \
         e.key, e.row, e.old, e.changed, nullif(e.\"user\", ''), nullif(e.origin, ''), e.truncated"
    };
}
pub(super) use columns;

/// A reader with its own connection and prepared statements.
pub struct EventLog {
    client: Client,
    read_all: Statement,
    read_rest: Statement,
    watches: Statement,
    /// Which slots may hold what is new.
    current: Mutex<Option<Current>>,
    session: i32,
    opened: Arc<Snapshot>,
    identity: Arc<Identity>,
}

impl EventLog {
    pub async fn new(client: Client, identity: Arc<Identity>) -> Result<Self, ReadError> {
        client.batch_execute(PLANS).await?;
        let read_all = client.prepare(&slots::read_new(None, true)).await?;
        let read_rest = client.prepare(READ_REST).await?;
        let watches = client.prepare(WATCHES).await?;
        let now = client.query_one(NOW, &[]).await?;
        let (session, opened) = (now.try_get(0)?, Arc::new(now.try_get::<_, &str>(1)?.parse()?));
        let current = Mutex::default();
        Ok(Self { client, read_all, read_rest, watches, current, session, opened, identity })
    }

    /// The empty batch before the recent past: where a reader begins.
    pub async fn start(&self) -> Result<Batch, ReadError> {
        let row = self.client.query_one(START, &[&RECENT_EVENTS, &RECENT_BYTES]).await?;
        let (xid, now): (i64, Snapshot) = (row.try_get(0)?, row.try_get::<_, &str>(1)?.parse()?);
        // Not what is in progress, however long it has been: that is yet to come.
        let before = Arc::new(now.cut(xid.cast_unsigned()));
        let token = self.identity.tokens(&before, &before).behind(0);
        Ok(Batch { events: Vec::new(), position: Position::complete(before), token })
    }

    /// The process of the server that reads for us.
    pub const fn session(&self) -> i32 {
        self.session
    }

    /// A dump brings events along whose transactions this server has yet to number: they would seem new for ever.
    pub async fn check_own(&self) -> Result<(), ReadError> {
        let is_foreign: bool = self.client.query_one(FOREIGN, &[]).await?.try_get(0)?;
        if is_foreign { Err(ReadError::Foreign) } else { Ok(()) }
    }

    /// What was over when this reader began.
    pub const fn opened(&self) -> &Arc<Snapshot> {
        &self.opened
    }

    /// What became visible since the position.
    pub async fn read(&self, position: &Position) -> Result<Reading<'_>, ReadError> {
        if !position.is_complete() {
            return self.read_rest(position).await;
        }
        let before = &position.upto;
        if let Some(reading) = self.read_current(before).await? {
            return Ok(reading);
        }
        let current = Current::look(&self.client).await?;
        let reading = self.read_new(&self.read_all, before).await?;
        *self.current() = current.map(|look| look.behind(Arc::clone(reading.upto())));
        Ok(reading)
    }

    /// The same, of the slots alone that may hold any of it; `None` where those are not known.
    async fn read_current(&self, before: &Arc<Snapshot>) -> Result<Option<Reading<'_>>, ReadError> {
        let Some(current) = self.current().clone() else { return Ok(None) };
        let Some(statement) = current.statement(before) else { return Ok(None) };
        let reading = self.read_new(statement, before).await?;
        Ok(current.is_still(reading.turn()).then_some(reading))
    }

    /// What is visible now and was not in `before`.
    async fn read_new(
        &self,
        statement: &Statement,
        before: &Arc<Snapshot>,
    ) -> Result<Reading<'_>, ReadError> {
        let rows = self.client.query_raw(statement, [before.to_string()]).await?;
        Reading::begin(rows, &self.identity, Arc::clone(before), 0).await
    }

    /// What is left of a batch that was read up to a position inside it.
    async fn read_rest(&self, position: &Position) -> Result<Reading<'_>, ReadError> {
        let parameters: [&(dyn ToSql + Sync); 3] =
            [&position.before.to_string(), &position.upto.to_string(), &position.last];
        let rows = self.client.query_raw(&self.read_rest, parameters).await?;
        let before = Arc::clone(&position.before);
        Reading::begin(rows, &self.identity, before, position.last).await
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The event that was too large for a notification.
    pub async fn parked(&self, xid: i64, id: i64) -> Result<Option<Event>, ReadError> {
        let Some(row) = self.client.query_opt(READ_PARKED, &[&xid, &id]).await? else {
            return Ok(None);
        };
        let event = event(&row, unlogged_token(id))?;
        Ok(Some(Event { logged: None, ..event }))
    }

    /// What the watches say of how their changes arrive.
    pub async fn watches(&self) -> Result<Watches, ReadError> {
        let row = self.client.query_one(&self.watches, &[]).await?;
        let unlogged: Vec<String> = row.try_get(1)?;
        Ok(Watches {
            polled: row.try_get(0)?,
            unlogged: unlogged.into_iter().map(Template::new).collect(),
        })
    }
}

/// How the changes of the watched tables arrive.
#[derive(Debug, Default)]
pub struct Watches {
    /// Whether some table never notifies.
    pub polled: bool,
    /// The channels of those that are not logged.
    pub unlogged: Vec<Template>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(
        "the log holds events of another server, from a dump: empty it before the daemon starts (truncate rowcast.event)"
    )]
    Foreign,
    #[error("reading the event log")]
    Postgres(#[from] tokio_postgres::Error),
    #[error("the server's snapshot")]
    Snapshot(#[from] SnapshotError),
    #[error("the read of the event log returned no snapshot")]
    NoSnapshot,
}

/// The id of an event that can't be resumed from.
pub fn unlogged_token(id: i64) -> Box<str> {
    format!("n.{id:x}").into()
}

/// One plan, made once, that stays right while a slot of the log grows from nothing to millions of rows: making it
/// anew costs more than the read, and a small table's plan would scan the large one that it becomes.
const PLANS: &str = "set plan_cache_mode = force_generic_plan; set enable_seqscan = off";

const NOW: &str = "select pg_backend_pid(), pg_current_snapshot()::text";

const FOREIGN: &str = "\
select exists (select from rowcast.event where xid >= pg_snapshot_xmax(pg_current_snapshot()))";

/// Behind the transaction with the newest event that is no longer recent.
const START: &str = "\
with newest as (
       select xid,
              row_number() over latest as number,
              sum(weight) over latest as weight
         from (select xid,
                      id,
                      coalesce(pg_column_size(\"row\"), 0) + coalesce(pg_column_size(old), 0) as weight
                 from rowcast.event
                order by rowcast.event.xid desc, id desc
                limit $1::int8 + 1) e
       window latest as (order by e.xid desc, e.id desc))
select coalesce((select xid::text::int8 + 1
                   from newest
                  where number > $1
                     or weight > $2::int8
                  order by newest.xid desc
                  limit 1),
                greatest(1, (select xid::text::int8 from rowcast.floor))),
       pg_current_snapshot()::text";

const READ_REST: &str = concat!(
    "\
with cur as materialized (
       select $2::text as snapshot,
              pg_snapshot_xmax(($2::text)::pg_snapshot)::text::int8 as last,
              (select xid::text::int8
                 from rowcast.floor) as floor),
     e as (
       select *
         from rowcast.event
        where not parked
          and id > $3
          and xid >= pg_snapshot_xmin(($1::text)::pg_snapshot)
          and xid < pg_snapshot_xmax(($2::text)::pg_snapshot)
          and pg_visible_in_snapshot(xid, ($2::text)::pg_snapshot)
          and (xid >= pg_snapshot_xmax(($1::text)::pg_snapshot)
               or xid = any (array(select pg_snapshot_xip(($1::text)::pg_snapshot)))))
select cur.snapshot, cur.last, cur.floor, ",
    columns!(),
    "
  from cur
  left join e on true
 order by e.id"
);

const READ_PARKED: &str = concat!(
    "select null::text, null::int8, null::int8, ",
    columns!(),
    "
  from rowcast.event e
 where e.xid = $1::int8::text::xid8
   and e.id = $2
   and e.parked"
);

const WATCHES: &str = "\
select coalesce(bool_or(w.wake = 'poll'), false),
       coalesce(array_agg(channel) filter (where not w.log and channel is not null), '{}')
  from rowcast.watched w
  left join unnest(w.channels) channel on true";

/// Read once at the start, so that those who come back after a restart are served from memory. The bytes are as
/// the server stores them, which is up to a few times less than as text.
const RECENT_EVENTS: i64 = 10_000;
const RECENT_BYTES: i64 = 8 * 1024 * 1024;

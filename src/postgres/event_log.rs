//! Reads the log, from one snapshot to the next.
//!
//! In: the position of the reader. Out: what became visible since, as [`Event`]s in log-id order. Invariant: one
//! statement reads the rows and the snapshot that decided which rows those are, so every committed event lies
//! between exactly one pair of consecutive snapshots.

use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::TryStreamExt;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Row, RowStream, Statement};

use super::identity::{Identity, Tokens};
use crate::domain::channel::Channel;
use crate::domain::event::{Batch, Event, Json, Logged};
use crate::domain::position::Position;
use crate::domain::snapshot::{Snapshot, SnapshotError};
use crate::domain::template::Template;

/// The columns that [`event`] reads.
macro_rules! columns {
    () => {
        "e.id, e.xid::text::int8, e.at, e.\"table\", e.op, e.channels, e.users, \
         e.key, e.row, e.old, e.changed, e.\"user\", e.origin, e.truncated"
    };
}
pub(super) use columns;

/// A reader with its own connection and prepared statements.
pub struct EventLog {
    client: Client,
    read_new: Statement,
    read_rest: Statement,
    session: i32,
    opened: Arc<Snapshot>,
    identity: Arc<Identity>,
}

impl EventLog {
    pub async fn new(client: Client, identity: Arc<Identity>) -> Result<Self, ReadError> {
        client.batch_execute(PLANS).await?;
        let read_new = client.prepare(READ_NEW).await?;
        let read_rest = client.prepare(READ_REST).await?;
        let now = client.query_one(NOW, &[]).await?;
        let (session, opened) = (now.try_get(0)?, Arc::new(now.try_get::<_, &str>(1)?.parse()?));
        Ok(Self { client, read_new, read_rest, session, opened, identity })
    }

    /// The empty batch before the recent past: where a reader begins.
    pub async fn start(&self) -> Result<Batch, ReadError> {
        let row = self.client.query_one(START, &[&RECENT_EVENTS, &RECENT_BYTES]).await?;
        let xid: i64 = row.try_get(0)?;
        let before = Arc::new(Snapshot::below(xid.cast_unsigned()));
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
        if position.is_complete() {
            self.read_new(Arc::clone(&position.upto)).await
        } else {
            self.read_rest(position).await
        }
    }

    /// What is visible now and was not in `before`. The rows come as they are taken, so a large transaction
    /// does not have to fit in memory.
    async fn read_new(&self, before: Arc<Snapshot>) -> Result<Reading<'_>, ReadError> {
        let rows = self.client.query_raw(&self.read_new, [before.to_string()]).await?;
        self.reading(rows, before, 0).await
    }

    /// What is left of a batch that was read up to a position inside it.
    async fn read_rest(&self, position: &Position) -> Result<Reading<'_>, ReadError> {
        let parameters: [&(dyn ToSql + Sync); 3] =
            [&position.before.to_string(), &position.upto.to_string(), &position.last];
        let rows = self.client.query_raw(&self.read_rest, parameters).await?;
        self.reading(rows, Arc::clone(&position.before), position.last).await
    }

    async fn reading(
        &self,
        rows: RowStream,
        before: Arc<Snapshot>,
        last: i64,
    ) -> Result<Reading<'_>, ReadError> {
        let mut rows = Box::pin(rows);
        let first = rows.try_next().await?.ok_or(ReadError::NoSnapshot)?;
        let upto = Arc::new(upto(&first, &before)?);
        let tokens = self.identity.tokens(&before, &upto);
        let has_events = first.try_get::<_, Option<i64>>(3)?.is_some();
        let is_pruned = first
            .try_get::<_, Option<i64>>(2)?
            .is_some_and(|floor| before.xmin() < floor.cast_unsigned());
        let position = Position { before, upto, last };
        let pending = has_events.then_some(first);
        Ok(Reading { rows, pending, identity: &self.identity, tokens, position, is_pruned })
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
        let row = self.client.query_one(WATCHES, &[]).await?;
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

/// One read of the log, taken batch by batch.
pub struct Reading<'a> {
    rows: Pin<Box<RowStream>>,
    pending: Option<Row>,
    identity: &'a Identity,
    tokens: Tokens<'a>,
    position: Position,
    is_pruned: bool,
}

impl Reading<'_> {
    /// Whether there is no event in it; asked before the first batch is taken.
    pub const fn is_empty(&self) -> bool {
        self.pending.is_none()
    }

    /// Whether some of what the position has not seen may have been taken out of the log.
    pub const fn is_pruned(&self) -> bool {
        self.is_pruned
    }

    /// Whether there is a batch behind this position, were it an empty one that only moves it on.
    pub fn goes_on(&self, position: &Position) -> bool {
        !position.is_complete() || position.upto != self.position.upto
    }

    /// The next events, at most about [`BATCH_BYTES`] of them. The last batch is `complete`; it may be empty.
    pub async fn next_batch(&mut self) -> Result<Batch, ReadError> {
        let mut events = Vec::new();
        let mut weight = 0;
        while events.len() < BATCH_EVENTS && weight < BATCH_BYTES {
            let Some(row) = self.pending.take() else { break };
            self.pending = self.rows.try_next().await?;
            self.advance(row.try_get(3)?);
            let event = event(&row, self.token())?;
            weight += event.weight();
            events.push(Arc::new(event));
        }
        if self.pending.is_none() && !self.position.is_complete() {
            self.finish();
        }
        Ok(Batch { events, position: self.position.clone(), token: self.token() })
    }

    /// Behind the last event of a run is the end of the run: a place that knows nothing of what came before it.
    fn advance(&mut self, id: i64) {
        self.position.last = id;
        if self.pending.is_none() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        let upto = Arc::clone(&self.position.upto);
        self.tokens = self.identity.tokens(&upto, &upto);
        self.position = Position::complete(upto);
    }

    fn token(&self) -> Box<str> {
        self.tokens.behind(self.position.last)
    }
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

/// What a read saw of the events that there are: its snapshot, up to the last of them.
fn upto(row: &Row, before: &Snapshot) -> Result<Snapshot, ReadError> {
    let snapshot: Snapshot = row.try_get::<_, &str>(0)?.parse()?;
    let last = row.try_get::<_, Option<i64>>(1)?.map_or(0, i64::cast_unsigned);
    Ok(snapshot.cut(before.xmax().max(last + 1)))
}

/// Reads the columns of [`columns!`], which stand behind three others.
pub(super) fn event(row: &Row, token: Box<str>) -> Result<Event, tokio_postgres::Error> {
    let json =
        |column: usize| row.try_get::<_, Option<JsonText>>(column).map(|json| json.map(|j| j.0));
    let text =
        |column: usize| row.try_get::<_, Option<&str>>(column).map(|text| text.map(Box::from));
    let list = |column: usize| {
        let list: Option<Vec<&str>> = row.try_get(column)?;
        Ok::<_, tokio_postgres::Error>(list.map(|list| list.into_iter().map(Box::from).collect()))
    };
    let at: SystemTime = row.try_get(5)?;
    let channels: Vec<&str> = row.try_get(8)?;
    Ok(Event {
        token,
        logged: Some(Logged {
            id: row.try_get(3)?,
            xid: row.try_get::<_, i64>(4)?.cast_unsigned(),
        }),
        at: humantime::format_rfc3339_micros(at).to_string().into(),
        table: text(6)?,
        op: row.try_get::<_, &str>(7)?.into(),
        // A name that no client can subscribe to reaches nobody.
        channels: channels.into_iter().filter_map(|name| Channel::parse(name).ok()).collect(),
        audience: list(9)?,
        key: json(10)?,
        row: json(11)?,
        old: json(12)?,
        changed: list(13)?,
        user: text(14)?,
        origin: text(15)?,
        truncated: row.try_get(16)?,
    })
}

/// A `json` value as the server printed it; its binary form is its text (PostgreSQL source, `json_send`).
struct JsonText(Json);

impl<'a> FromSql<'a> for JsonText {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(str::from_utf8(raw)?.into()))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSON
    }
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
                greatest(1, (select xid::text::int8 from rowcast.floor)))";

/// The two branches carry their bounds on xid twice over, so that partitions are pruned at run time; the array is
/// there because a join with the function is planned as a scan of the whole log.
const READ_NEW: &str = concat!(
    "\
with cur as materialized (
       select pg_current_snapshot()::text as snapshot,
              (select xid::text::int8
                 from rowcast.floor) as floor),
     e as (
       select *
         from rowcast.event
        where not parked
          and xid >= pg_snapshot_xmax(($1::text)::pg_snapshot)
       union all
       select *
         from rowcast.event
        where not parked
          and xid >= pg_snapshot_xmin(($1::text)::pg_snapshot)
          and xid < pg_snapshot_xmax(($1::text)::pg_snapshot)
          and xid = any (array(select pg_snapshot_xip(($1::text)::pg_snapshot))))
select cur.snapshot, max(e.xid::text::int8) over (), cur.floor, ",
    columns!(),
    "
  from cur
  left join e on true
 order by e.id"
);

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

/// Events handed on at a time: large enough that a burst is coalesced into few writes, small enough that it
/// reaches the first subscriber while the rest is read.
const BATCH_EVENTS: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;

/// Read once at the start, so that those who come back after a restart are served from memory. The bytes are as
/// the server stores them, which is up to a few times less than as text.
const RECENT_EVENTS: i64 = 10_000;
const RECENT_BYTES: i64 = 8 * 1024 * 1024;

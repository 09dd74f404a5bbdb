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
    identity: Arc<Identity>,
}

impl EventLog {
    pub async fn new(client: Client, identity: Arc<Identity>) -> Result<Self, ReadError> {
        let read_new = client.prepare(READ_NEW).await?;
        let read_rest = client.prepare(READ_REST).await?;
        Ok(Self { client, read_new, read_rest, identity })
    }

    /// The empty batch of now: where a reader begins that wants nothing from the past.
    pub async fn start(&self) -> Result<Batch, ReadError> {
        let row = self.client.query_one("select pg_current_snapshot()::text", &[]).await?;
        let now: Arc<Snapshot> = Arc::new(row.try_get::<_, &str>(0)?.parse()?);
        let token = self.identity.tokens(&now, &now).behind(0);
        Ok(Batch { events: Vec::new(), position: Position::complete(now), token })
    }

    /// What is visible now and was not in `before`. The rows come as they are taken, so a large transaction
    /// does not have to fit in memory.
    pub async fn read_new(&self, before: Arc<Snapshot>) -> Result<Reading<'_>, ReadError> {
        let rows = self.client.query_raw(&self.read_new, [before.to_string()]).await?;
        self.reading(rows, before, 0).await
    }

    /// What is left of a batch that was read up to a position inside it.
    pub async fn read_rest(&self, position: &Position) -> Result<Reading<'_>, ReadError> {
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
        let upto: Arc<Snapshot> = Arc::new(first.try_get::<_, &str>(0)?.parse()?);
        let tokens = self.identity.tokens(&before, &upto);
        let has_events = first.try_get::<_, Option<i64>>(1)?.is_some();
        let position = Position { before, upto, last };
        let pending = has_events.then_some(first);
        Ok(Reading { rows, pending, identity: &self.identity, tokens, position })
    }

    /// The event that was too large for a notification.
    pub async fn parked(&self, xid: i64, id: i64) -> Result<Option<Event>, ReadError> {
        let Some(row) = self.client.query_opt(READ_PARKED, &[&xid, &id]).await? else {
            return Ok(None);
        };
        let event = event(&row, unlogged_token(id))?;
        Ok(Some(Event { logged: None, ..event }))
    }

    /// Whether some watched table never notifies.
    pub async fn has_polled_tables(&self) -> Result<bool, ReadError> {
        Ok(self.client.query_one(HAS_POLLED_TABLES, &[]).await?.try_get(0)?)
    }
}

/// One read of the log, taken batch by batch.
pub struct Reading<'a> {
    rows: Pin<Box<RowStream>>,
    pending: Option<Row>,
    identity: &'a Identity,
    tokens: Tokens<'a>,
    position: Position,
}

impl Reading<'_> {
    /// Whether there is no event in it; asked before the first batch is taken.
    pub const fn is_empty(&self) -> bool {
        self.pending.is_none()
    }

    /// Whether not even the snapshot went on.
    pub fn moved_nothing(&self) -> bool {
        self.position.is_complete()
    }

    /// The next events, at most about [`BATCH_BYTES`] of them. The last batch is `complete`; it may be empty.
    pub async fn next_batch(&mut self) -> Result<Batch, ReadError> {
        let mut events = Vec::new();
        let mut weight = 0;
        while events.len() < BATCH_EVENTS && weight < BATCH_BYTES {
            let row = match self.pending.take() {
                Some(row) => Some(row),
                None => self.rows.try_next().await?,
            };
            let Some(row) = row else { return Ok(self.finish(events)) };
            self.position.last = row.try_get(1)?;
            let event = event(&row, self.tokens.behind(self.position.last))?;
            weight += event.weight();
            events.push(Arc::new(event));
        }
        let token = self.tokens.behind(self.position.last);
        Ok(Batch { events, position: self.position.clone(), token })
    }

    fn finish(&mut self, events: Vec<Arc<Event>>) -> Batch {
        let upto = Arc::clone(&self.position.upto);
        let token = self.identity.tokens(&upto, &upto).behind(0);
        self.position = Position::complete(upto);
        Batch { events, position: self.position.clone(), token }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
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

/// Reads the columns of [`columns!`], which stand behind a first one.
pub(super) fn event(row: &Row, token: Box<str>) -> Result<Event, tokio_postgres::Error> {
    let json =
        |column: usize| row.try_get::<_, Option<JsonText>>(column).map(|json| json.map(|j| j.0));
    let text =
        |column: usize| row.try_get::<_, Option<&str>>(column).map(|text| text.map(Box::from));
    let list = |column: usize| {
        let list: Option<Vec<&str>> = row.try_get(column)?;
        Ok::<_, tokio_postgres::Error>(list.map(|list| list.into_iter().map(Box::from).collect()))
    };
    let at: SystemTime = row.try_get(3)?;
    let channels: Vec<&str> = row.try_get(6)?;
    Ok(Event {
        token,
        logged: Some(Logged {
            id: row.try_get(1)?,
            xid: row.try_get::<_, i64>(2)?.cast_unsigned(),
        }),
        at: humantime::format_rfc3339_micros(at).to_string().into(),
        table: text(4)?,
        op: row.try_get::<_, &str>(5)?.into(),
        // A name that no client can subscribe to reaches nobody.
        channels: channels.into_iter().filter_map(|name| Channel::parse(name).ok()).collect(),
        audience: list(7)?,
        key: json(8)?,
        row: json(9)?,
        old: json(10)?,
        changed: list(11)?,
        user: text(12)?,
        origin: text(13)?,
        truncated: row.try_get(14)?,
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

/// The two branches carry their bounds on xid twice over, so that partitions are pruned at run time; the array is
/// there because a join with the function is planned as a scan of the whole log.
const READ_NEW: &str = concat!(
    "\
with cur as materialized (
       select pg_current_snapshot()::text as snapshot),
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
select cur.snapshot, ",
    columns!(),
    "
  from cur
  left join e on true
 order by e.id"
);

const READ_REST: &str = concat!(
    "\
with cur as materialized (
       select $2::text as snapshot),
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
select cur.snapshot, ",
    columns!(),
    "
  from cur
  left join e on true
 order by e.id"
);

const READ_PARKED: &str = concat!(
    "select null::text, ",
    columns!(),
    "
  from rowcast.event e
 where e.xid = $1::int8::text::xid8
   and e.id = $2
   and e.parked"
);

const HAS_POLLED_TABLES: &str = "select exists (select from rowcast.watched where wake = 'poll')";

/// Events handed on at a time: large enough that a burst is coalesced into few writes, small enough that it
/// reaches the first subscriber while the rest is read.
const BATCH_EVENTS: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;

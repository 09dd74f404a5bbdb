//! One read of the log, taken batch by batch.
//!
//! In: the rows of one statement, as they come. Out: [`Batch`]es in log-id order. Invariant: the last batch, and no
//! other, ends between two runs; a large transaction does not have to fit in memory.

use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::TryStreamExt;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Row, RowStream};

use super::ReadError;
use crate::domain::channel::Channel;
use crate::domain::event::{Batch, Event, Json, Logged};
use crate::domain::position::Position;
use crate::domain::snapshot::{Snapshot, Xid};
use crate::postgres::identity::{Identity, Tokens};

pub struct Reading<'a> {
    rows: Pin<Box<RowStream>>,
    pending: Option<Row>,
    identity: &'a Identity,
    tokens: Tokens<'a>,
    position: Position,
    is_pruned: bool,
    turn: Option<i64>,
    newest_id: i64,
    newest_xid: Xid,
    last_id: i64,
    transactions: u32,
}

impl<'a> Reading<'a> {
    /// Behind `last`, in the run that begins at `before`.
    pub(super) async fn begin(
        rows: RowStream,
        identity: &'a Identity,
        before: Arc<Snapshot>,
        last: i64,
    ) -> Result<Self, ReadError> {
        let mut rows = Box::pin(rows);
        let first = rows.try_next().await?.ok_or(ReadError::NoSnapshot)?;
        let snapshot: Snapshot = first.try_get::<_, &str>(0)?.parse()?;
        let newest = first.try_get::<_, Option<i64>>(1)?.map_or(0, i64::cast_unsigned);
        // What it saw of the events that there are: up to the last of them.
        let upto = Arc::new(snapshot.cut(before.xmax().max(newest + 1)));
        let is_pruned = first
            .try_get::<_, Option<i64>>(2)?
            .is_some_and(|floor| before.xmin() < floor.cast_unsigned());
        let is_new = first.len() > NEWEST;
        let turn = if is_new { first.try_get(TURN)? } else { None };
        let newest_id = if is_new { first.try_get(NEWEST)? } else { 0 };
        let has_events = first.try_get::<_, Option<i64>>(3)?.is_some();
        Ok(Self {
            rows,
            pending: has_events.then_some(first),
            identity,
            tokens: identity.tokens(&before, &upto),
            position: Position { before, upto, last },
            is_pruned,
            turn,
            newest_id,
            newest_xid: 0,
            last_id: i64::MAX,
            transactions: 0,
        })
    }
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
            self.count(&event);
            weight += event.weight();
            events.push(Arc::new(event));
        }
        if self.pending.is_none() && !self.position.is_complete() {
            self.finish();
        }
        Ok(Batch { events, position: self.position.clone(), token: self.token() })
    }

    /// What the whole read saw, were it complete.
    pub(super) const fn upto(&self) -> &Arc<Snapshot> {
        &self.position.upto
    }

    /// Which turn the ring of slots had reached, after the read saw what it saw.
    pub(super) const fn turn(&self) -> Option<i64> {
        self.turn
    }

    /// Events that were written behind the last one that was taken of it, by transactions that had not ended or
    /// were rolled back. The snapshot would not tell: it ends at the last transaction that has.
    pub fn writing(&self) -> u32 {
        u32::try_from((self.newest_id - self.last_id).max(0)).unwrap_or(u32::MAX)
    }

    /// Transactions in what was taken of it; one whose events lie between those of others counts again.
    pub const fn transactions(&self) -> u32 {
        self.transactions
    }

    fn count(&mut self, event: &Event) {
        let xid = event.logged.map_or(0, |logged| logged.xid);
        self.transactions = self.transactions.saturating_add(u32::from(xid != self.newest_xid));
        self.newest_xid = xid;
        self.last_id = event.logged.map_or(0, |logged| logged.id);
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

/// Reads the columns of [`columns!`](super::columns), which stand behind three others.
pub fn event(row: &Row, token: Box<str>) -> Result<Event, tokio_postgres::Error> {
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

/// Behind the columns of the event.
const TURN: usize = 17;
const NEWEST: usize = 18;

/// Events handed on at a time: large enough that a burst is coalesced into few writes, small enough that it
/// reaches the first subscriber while the rest is read.
const BATCH_EVENTS: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;

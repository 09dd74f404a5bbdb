//! Reads the log for one subscription: what a position has not seen, and the subscription may.
//!
//! In: a position, a pattern, a user. Out: pages of events in log-id order. Invariant: a page reads what was visible
//! in a snapshot taken before, so pages add up to one consistent read, however far apart in time they are.

use std::sync::Arc;

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::event_log::{columns, event};
use super::identity::Identity;
use crate::domain::channel::Pattern;
use crate::domain::event::Event;
use crate::domain::position::Position;
use crate::domain::snapshot::Snapshot;

/// What a subscription may get, as the query asks for it.
pub struct Wanted {
    exact: Option<String>,
    prefix: Option<String>,
    user: Option<String>,
}

impl Wanted {
    pub fn new(pattern: &Pattern, user: Option<&str>) -> Self {
        let (exact, prefix) = match pattern {
            Pattern::Exact(channel) => (Some(channel.to_string()), None),
            Pattern::Below(prefix) => (None, Some(format!("{prefix}:"))),
        };
        Self { exact, prefix, user: user.map(str::to_owned) }
    }
}

pub struct Page {
    pub events: Vec<Event>,
    /// Behind them.
    pub position: Position,
}

/// How many events the pages will hold.
pub async fn count(
    client: &Client,
    position: &Position,
    upto: &Arc<Snapshot>,
    wanted: &Wanted,
) -> Result<u64, ReplayError> {
    let mut total = 0;
    let mut position = position.clone();
    while let Some(next) = position.towards(upto) {
        let (before, end) = (next.before.to_string(), next.upto.to_string());
        let row = client.query_one(COUNT, &parameters(&before, &end, &next.last, wanted)).await?;
        total += row.try_get::<_, i64>(0)?.unsigned_abs();
        position = Position::complete(Arc::clone(&next.upto));
    }
    Ok(total)
}

/// The events behind a position inside a run; fewer than [`PAGE_EVENTS`] end the run.
pub async fn read_page(
    client: &Client,
    identity: &Identity,
    position: &Position,
    wanted: &Wanted,
) -> Result<Page, ReplayError> {
    let (before, upto) = (position.before.to_string(), position.upto.to_string());
    let rows = client.query(PAGE, &parameters(&before, &upto, &position.last, wanted)).await?;
    let tokens = identity.tokens(&position.before, &position.upto);
    let mut position = position.clone();
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        position.last = row.try_get(2)?;
        events.push(event(row, tokens.behind(position.last))?);
    }
    if events.len() < PAGE_EVENTS {
        position = Position::complete(position.upto);
    }
    Ok(Page { events, position })
}

fn parameters<'a>(
    before: &'a String,
    upto: &'a String,
    last: &'a i64,
    wanted: &'a Wanted,
) -> [&'a (dyn ToSql + Sync); 6] {
    [before, upto, last, &wanted.exact, &wanted.prefix, &wanted.user]
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("no connection to the database")]
    Pool(#[from] deadpool_postgres::PoolError),
    #[error("reading the event log")]
    Postgres(#[from] tokio_postgres::Error),
    #[error("the database was not reached yet")]
    NoIdentity,
}

macro_rules! unseen {
    () => {
        "
  from rowcast.event e
 where not e.parked
   and e.id > $3
   and e.xid >= pg_snapshot_xmin(($1::text)::pg_snapshot)
   and e.xid < pg_snapshot_xmax(($2::text)::pg_snapshot)
   and pg_visible_in_snapshot(e.xid, ($2::text)::pg_snapshot)
   and (e.xid >= pg_snapshot_xmax(($1::text)::pg_snapshot)
        or e.xid = any (array(select pg_snapshot_xip(($1::text)::pg_snapshot))))
   and (e.users is null or $6::text = any (e.users))
   and ($4::text = any (e.channels)
        or exists (select from unnest(e.channels) c where starts_with(c, $5::text)))"
    };
}

const COUNT: &str = concat!("select count(*)", unseen!());

const PAGE: &str = concat!(
    "select null::text, null::int8, ",
    columns!(),
    unseen!(),
    "\n order by e.id\n limit 256"
);

/// The limit in [`PAGE`].
const PAGE_EVENTS: usize = 256;

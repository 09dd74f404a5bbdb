//! Reads the log for a subscriber that is behind: what a position has not seen, and the subscriber may.
//!
//! In: a position, patterns, a user. Out: pages of events in log-id order. Invariant: a page reads what was visible
//! in a snapshot taken before, so pages add up to one consistent read, however far apart in time they are.

use std::sync::Arc;

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::event_log::{columns, event};
use super::identity::Identity;
use super::pool::{Silent, answered};
use crate::domain::channel::Pattern;
use crate::domain::compact::{self, Change};
use crate::domain::event::Event;
use crate::domain::past::{Only, Page, Survey, Wanted};
use crate::domain::position::Position;
use crate::domain::snapshot::{Snapshot, Xid};

/// The log, as one subscriber sees it.
pub struct ReplayLog<'a> {
    client: &'a Client,
    identity: &'a Identity,
    filter: Filter,
}

/// What a subscriber may get, as the queries ask for it.
struct Filter {
    exact: Vec<String>,
    below: Vec<String>,
    user: Option<String>,
}

impl Filter {
    fn new(wanted: &Wanted) -> Self {
        let (mut exact, mut below) = (Vec::new(), Vec::new());
        for pattern in &wanted.patterns {
            match pattern {
                Pattern::Exact(channel) => exact.push(channel.to_string()),
                Pattern::Below(prefix) => below.push(format!("{prefix}:")),
            }
        }
        Self { exact, below, user: wanted.user.as_deref().map(str::to_owned) }
    }
}

impl<'a> ReplayLog<'a> {
    pub fn new(client: &'a Client, identity: &'a Identity, wanted: &Wanted) -> Self {
        Self { client, identity, filter: Filter::new(wanted) }
    }

    /// A page on the way to a snapshot. What is left of a run is often little, and goes with what follows it.
    pub async fn page(&self, from: &Position, upto: &Arc<Snapshot>) -> Result<Page, ReplayError> {
        let (mut events, mut position) = (Vec::new(), from.clone());
        while let Some(next) = position.towards(upto)
            && (events.is_empty() || (position.is_complete() && events.len() < LITTLE))
        {
            let (more, behind) = self.page_of_run(&next).await?;
            events.extend(more);
            position = behind;
        }
        Ok(Page { from: from.clone(), events, position })
    }

    async fn page_of_run(
        &self,
        run: &Position,
    ) -> Result<(Vec<Arc<Event>>, Position), ReplayError> {
        let rows = self.query(PAGE, run).await?;
        let found = rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>(1))?;
        let is_last = found < PAGE_EVENTS && usize::try_from(found) == Ok(rows.len());
        let tokens = self.identity.tokens(&run.before, &run.upto);
        let mut position = run.clone();
        let mut events = Vec::with_capacity(rows.len());
        for (at, row) in rows.iter().enumerate() {
            position.last = row.try_get(3)?;
            let id = if is_last && at + 1 == rows.len() {
                self.identity.tokens(&run.upto, &run.upto).behind(0)
            } else {
                tokens.behind(position.last)
            };
            events.push(Arc::new(event(row, id)?));
        }
        if is_last {
            position = Position::complete(position.upto);
        }
        Ok((events, position))
    }

    /// The last events that a snapshot sees.
    pub async fn newest(&self, count: u16, upto: &Arc<Snapshot>) -> Result<Page, ReplayError> {
        let Filter { exact, below, user } = &self.filter;
        let (snapshot, count) = (upto.to_string(), i64::from(count));
        let parameters: [&(dyn ToSql + Sync); 5] = [&snapshot, &count, exact, below, user];
        let rows = answered(self.client.query(NEWEST, &parameters)).await??;
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            events.push(event(row, Box::default())?);
        }
        let logged = || events.iter().filter_map(|event| event.logged);
        // A place that has seen none of them, and no more of what came before than it must.
        let before =
            logged().map(|logged| logged.xid).min().map_or(upto.xmin(), |xid| xid.min(upto.xmin()));
        let before = Arc::new(Snapshot::below(before));
        let first = logged().next().map_or(0, |logged| logged.id - 1);
        let tokens = self.identity.tokens(&before, upto);
        let from = Position { before: Arc::clone(&before), upto: Arc::clone(upto), last: first };
        for event in &mut events {
            event.token = tokens.behind(event.logged.map_or(0, |logged| logged.id));
        }
        let events = events.into_iter().map(Arc::new).collect();
        Ok(Page { from, events, position: Position::complete(Arc::clone(upto)) })
    }

    /// What follows in all, between a position and a snapshot.
    pub async fn survey(
        &self,
        from: &Position,
        upto: &Arc<Snapshot>,
        compact: bool,
    ) -> Result<Survey, ReplayError> {
        if compact && let Some(survey) = self.survey_rows(from, upto).await? {
            return Ok(survey);
        }
        let mut messages = 0;
        let mut position = from.clone();
        while let Some(next) = position.towards(upto) {
            let rows = self.query(COUNT, &next).await?;
            messages += rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0))?;
            position = Position::complete(next.upto);
        }
        Ok(Survey { messages: messages.unsigned_abs(), only: None })
    }

    /// Which changes are the newest of their rows. `None` where they are too many to look at.
    async fn survey_rows(
        &self,
        from: &Position,
        upto: &Arc<Snapshot>,
    ) -> Result<Option<Survey>, ReplayError> {
        let mut rows = Vec::new();
        let mut position = from.clone();
        while let Some(next) = position.towards(upto) {
            rows.extend(self.query(CHANGES, &next).await?);
            if rows.len() >= MOST_COMPACTED {
                return Ok(None);
            }
            position = Position::complete(next.upto);
        }
        let mut changes = Vec::with_capacity(rows.len());
        for row in &rows {
            let (id, messages): (i64, i64) = (row.try_get(0)?, row.try_get(4)?);
            let (table, op, key) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
            changes.push((Change { id, table, op, key }, messages.unsigned_abs()));
        }
        let ids = compact::newest(changes.iter().map(|(change, _)| *change));
        let stay = changes.iter().filter(|(change, _)| ids.contains(&change.id));
        let messages = stay.map(|(_, messages)| messages).sum();
        Ok(Some(Survey { messages, only: Some(Only { upto: position, ids }) }))
    }

    /// Whether the log still has all that a position has not seen. Asked behind the read, so that what is taken
    /// away meanwhile is noticed.
    pub async fn check_floor(&self, position: &Position) -> Result<(), ReplayError> {
        let is_whole = floor(self.client).await? <= position.before.xmin();
        if is_whole { Ok(()) } else { Err(ReplayError::Pruned) }
    }

    async fn query(
        &self,
        query: &str,
        run: &Position,
    ) -> Result<Vec<tokio_postgres::Row>, ReplayError> {
        let Filter { exact, below, user } = &self.filter;
        let (before, upto) = (run.before.to_string(), run.upto.to_string());
        let parameters: [&(dyn ToSql + Sync); 6] = [&before, &upto, &run.last, exact, below, user];
        Ok(answered(self.client.query(query, &parameters)).await??)
    }
}

/// What transactions below this one wrote may have been taken out of the log.
pub(super) async fn floor(client: &Client) -> Result<Xid, ReplayError> {
    let row = answered(client.query_opt(FLOOR, &[])).await??;
    Ok(row.map_or(Ok(0), |row| row.try_get::<_, i64>(0))?.cast_unsigned())
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("no connection to the database")]
    Pool(#[from] deadpool_postgres::PoolError),
    #[error("reading the event log")]
    Postgres(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Silent(#[from] Silent),
    #[error("the log no longer reaches back that far")]
    Pruned,
}

/// What the subscriber may get; `$3` are channels, `$4` what others begin with, `$5` the user.
macro_rules! wanted {
    ($exact:literal, $below:literal, $user:literal) => {
        concat!(
            "(e.users is null or ",
            $user,
            "::text = any (e.users))
   and (e.channels && ",
            $exact,
            "::text[]
        or exists (select from unnest(e.channels) c, unnest(",
            $below,
            "::text[]) b where starts_with(c, b)))"
        )
    };
}

macro_rules! unseen {
    () => {
        concat!(
            "
  from rowcast.event e
 where not e.parked
   and e.id > $3
   and e.xid >= pg_snapshot_xmin(($1::text)::pg_snapshot)
   and e.xid < pg_snapshot_xmax(($2::text)::pg_snapshot)
   and pg_visible_in_snapshot(e.xid, ($2::text)::pg_snapshot)
   and (e.xid >= pg_snapshot_xmax(($1::text)::pg_snapshot)
        or e.xid = any (array(select pg_snapshot_xip(($1::text)::pg_snapshot))))
   and ",
            wanted!("$4", "$5", "$6")
        )
    };
}

/// On how many channels the subscriber gets an event.
macro_rules! messages {
    () => {
        "(select count(*)
          from unnest(e.channels) c
         where c = any ($4::text[])
            or exists (select from unnest($5::text[]) b where starts_with(c, b)))"
    };
}

/// Bytes as the server stores them.
macro_rules! size {
    () => {
        "coalesce(pg_column_size(e.row), 0) + coalesce(pg_column_size(e.old), 0)"
    };
}

const COUNT: &str = concat!("select coalesce(sum(", messages!(), "), 0)::int8", unseen!());

const CHANGES: &str = concat!(
    "select e.id, e.\"table\", e.op, e.key::text, ",
    messages!(),
    unseen!(),
    "\n order by e.id\n limit 50000"
);

/// The second column is how many there were before the bound in bytes, which always leaves one.
const PAGE: &str = concat!(
    "select null::text, e.found, null::int8, ",
    columns!(),
    "
  from (select e.*,
               count(*) over () as found,
               sum(",
    size!(),
    ") over (order by e.id rows between unbounded preceding and 1 preceding) as bytes_before
          from (select e.*",
    unseen!(),
    "
                 order by e.id
                 limit 256) e) e
 where coalesce(e.bytes_before, 0) < 131072
 order by e.id"
);

const NEWEST: &str = concat!(
    "select null::text, null::int8, null::int8, ",
    columns!(),
    "
  from (select e.*,
               sum(",
    size!(),
    ") over (order by e.xid desc, e.id desc rows between unbounded preceding and 1 preceding) as bytes_before
          from (select e.*
                  from rowcast.event e
                 where not e.parked
                   and e.xid < pg_snapshot_xmax(($1::text)::pg_snapshot)
                   and pg_visible_in_snapshot(e.xid, ($1::text)::pg_snapshot)
                   and ",
    wanted!("$3", "$4", "$5"),
    "
                 order by e.xid desc, e.id desc
                 limit $2::int8) e) e
 where coalesce(e.bytes_before, 0) < 1048576
 order by e.id"
);

const FLOOR: &str = "select xid::text::int8 from rowcast.floor";

/// Events that leave room for another page behind them.
const LITTLE: usize = 64;

/// The limits in [`PAGE`] and [`CHANGES`].
const PAGE_EVENTS: i64 = 256;
const MOST_COMPACTED: usize = 50_000;

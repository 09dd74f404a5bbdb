//! What the log holds of a channel, and of an event whose id somebody shows.
//!
//! In: channels and positions. Out: entries of the log. Invariant: bounded, however large the log is: the newest ten
//! thousand events are looked at, or those of one position.

use std::time::SystemTime;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::Parameter;
use crate::domain::channel::Pattern;
use crate::domain::position::Position;
use crate::postgres::error::QueryError;
use crate::postgres::revocations::{self, Horizon, Revocation};

/// An event as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: i64,
    pub at: SystemTime,
    pub table: Option<String>,
    pub op: String,
    pub channels: Vec<String>,
    /// Who alone gets it; `None` is everyone who may subscribe.
    pub users: Option<Vec<String>>,
}

/// What the newest events have of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recent {
    /// How many were looked at.
    pub looked_at: i64,
    pub on_channel: i64,
    /// Those of them that the user gets.
    pub for_user: i64,
    pub last: Option<SystemTime>,
    pub last_for_user: Option<SystemTime>,
}

/// What is behind an event's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behind {
    Found(Entry),
    /// Retention has taken it.
    Pruned,
    /// The log reaches back that far, and there is no such event.
    Nothing,
}

/// What counts for a subscriber of this pattern.
pub async fn recent(
    client: &Client,
    pattern: &Pattern,
    user: Option<&str>,
) -> Result<Recent, QueryError> {
    let (exact, below) = match pattern {
        Pattern::Exact(channel) => (Some(channel.to_string()), None),
        Pattern::Below(prefix) => (None, Some(format!("{prefix}:"))),
    };
    let texts: [&(dyn ToSql + Sync); 3] = [&exact, &below, &user];
    let parameters = texts.map(|text| (text, Type::TEXT));
    let row = super::row(client, RECENT, &parameters).await?;
    Ok(Recent {
        looked_at: row.try_get(0)?,
        on_channel: row.try_get(1)?,
        for_user: row.try_get(2)?,
        last: row.try_get(3)?,
        last_for_user: row.try_get(4)?,
    })
}

/// The event that has this position as its id: the one with its number or, where it ends a batch, the last that the
/// batch could see.
pub async fn behind(client: &Client, position: &Position) -> Result<Behind, QueryError> {
    let (before, upto) = (position.before.to_string(), position.upto.to_string());
    let found = if position.is_complete() {
        super::rows(client, LAST, &[(&upto, Type::TEXT)]).await?
    } else {
        let run: [Parameter<'_>; 3] =
            [(&before, Type::TEXT), (&upto, Type::TEXT), (&position.last, Type::INT8)];
        super::rows(client, NUMBERED, &run).await?
    };
    match found.first() {
        Some(row) => Ok(Behind::Found(entry(row)?)),
        None => {
            let floor: i64 = super::row(client, FLOOR, &[]).await?.try_get(0)?;
            let is_pruned = position.upto.xmax() <= floor.cast_unsigned();
            Ok(if is_pruned { Behind::Pruned } else { Behind::Nothing })
        }
    }
}

/// All that `rowcast.revoke` said and the database still knows.
pub async fn revocations(client: &Client) -> Result<Vec<Revocation>, QueryError> {
    Ok(revocations::read(client, &Horizon::default()).await?.0)
}

fn entry(row: &Row) -> Result<Entry, tokio_postgres::Error> {
    Ok(Entry {
        id: row.try_get(0)?,
        at: row.try_get(1)?,
        table: row.try_get(2)?,
        op: row.try_get(3)?,
        channels: row.try_get(4)?,
        users: row.try_get(5)?,
    })
}

const RECENT: &str = "\
with newest as (
       select e.at,
              exists (select from unnest(e.channels) c
                       where c = $1
                          or starts_with(c, $2)) as is_on,
              coalesce(e.users is null or $3 = any (e.users), false) as is_theirs
         from rowcast.event e
        where not e.parked
        order by e.xid desc, e.id desc
        limit 10000)
select count(*),
       count(*) filter (where is_on),
       count(*) filter (where is_on and is_theirs),
       max(at) filter (where is_on),
       max(at) filter (where is_on and is_theirs)
  from newest";

const NUMBERED: &str = "\
select e.id, e.at, e.\"table\", e.op, e.channels, e.users
  from rowcast.event e
 where not e.parked
   and e.id = $3
   and e.xid >= pg_snapshot_xmin(($1::text)::pg_snapshot)
   and e.xid < pg_snapshot_xmax(($2::text)::pg_snapshot)";

const LAST: &str = "\
select seen.*
  from (select e.id, e.at, e.\"table\", e.op, e.channels, e.users
          from rowcast.event e
         where not e.parked
           and e.xid < pg_snapshot_xmax(($1::text)::pg_snapshot)
           and pg_visible_in_snapshot(e.xid, ($1::text)::pg_snapshot)
         order by e.xid desc, e.id desc
         limit 256) seen
 order by seen.id desc
 limit 1";

const FLOOR: &str = "select xid::text::int8 from rowcast.floor";

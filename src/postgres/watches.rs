//! Which tables are watched, and for what: the SQL functions of the schema `rowcast`, called.
//!
//! In: names and options as a person gave them. Out: what PostgreSQL did, or would do, or why not. Invariant:
//! whatever was given travels as a parameter; no statement is put together from it.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::error::QueryError;

/// The arguments of `rowcast.watch`; `None` leaves the function's own default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// As in SQL: `public.orders`, `orders`, `"Odd Name"`.
    pub table: String,
    pub channels: Option<Vec<String>>,
    pub users: Option<Vec<String>>,
    pub columns: Option<Vec<String>>,
    pub except: Option<Vec<String>>,
    pub ops: Vec<String>,
    pub condition: Option<String>,
    pub old: bool,
    pub log: bool,
    pub capture: &'static str,
    pub wake: &'static str,
}

/// One row of `rowcast.watches`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Watched {
    pub table: String,
    pub channels: Vec<String>,
    pub users: Option<Vec<String>>,
    pub columns: Vec<String>,
    pub except: Option<Vec<String>>,
    pub ops: Vec<String>,
    pub condition: Option<String>,
    pub old: bool,
    pub log: bool,
    pub capture: String,
    pub wake: String,
    pub rls: bool,
    pub triggers: Vec<String>,
    /// How the table moved away from its watch since.
    pub drift: Option<String>,
}

/// Watches a table, in place of an older watch of it. Answers with the table's full name.
pub async fn watch(client: &Client, watch: &Watch) -> Result<String, QueryError> {
    client.query_one(WATCH, &watch.arguments()).await?;
    full_name(client, &watch.table).await
}

/// What [`watch`] would run.
pub async fn watch_sql(client: &Client, watch: &Watch) -> Result<String, QueryError> {
    Ok(client.query_one(WATCH_SQL, &watch.arguments()).await?.try_get(0)?)
}

pub async fn unwatch(client: &Client, table: &str) -> Result<String, QueryError> {
    client.query_one(UNWATCH, &[&table]).await?;
    full_name(client, table).await
}

/// What [`unwatch`] would run.
pub async fn unwatch_sql(client: &Client, table: &str) -> Result<String, QueryError> {
    Ok(client.query_one(UNWATCH_SQL, &[&table]).await?.try_get(0)?)
}

pub async fn list(client: &Client) -> Result<Vec<Watched>, QueryError> {
    let rows = client.query(LIST, &[]).await?;
    rows.iter().map(|row| Watched::read(row).map_err(QueryError::from)).collect()
}

/// Sends an event that is no row change; the data is JSON text.
pub async fn emit(
    client: &Client,
    channel: &str,
    event: &str,
    data: &str,
    users: Option<&[String]>,
) -> Result<(), QueryError> {
    client.query_one(EMIT, &[&channel, &event, &data, &users]).await?;
    Ok(())
}

impl Watch {
    /// Everything that happens to this table, on the channel that has its name.
    pub fn of(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            channels: None,
            users: None,
            columns: None,
            except: None,
            ops: ["insert", "update", "delete", "truncate"].map(Into::into).into(),
            condition: None,
            old: false,
            log: true,
            capture: "auto",
            wake: "auto",
        }
    }

    fn arguments(&self) -> [&(dyn ToSql + Sync); 11] {
        [
            &self.table,
            &self.channels,
            &self.users,
            &self.columns,
            &self.except,
            &self.ops,
            &self.condition,
            &self.old,
            &self.log,
            &self.capture,
            &self.wake,
        ]
    }
}

impl Watched {
    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            table: row.try_get("table")?,
            channels: row.try_get("channels")?,
            users: row.try_get("users")?,
            columns: row.try_get("columns")?,
            except: row.try_get("except")?,
            ops: row.try_get("ops")?,
            condition: row.try_get("condition")?,
            old: row.try_get("old")?,
            log: row.try_get("log")?,
            capture: row.try_get("capture")?,
            wake: row.try_get("wake")?,
            rls: row.try_get("rls")?,
            triggers: row.try_get("triggers")?,
            drift: row.try_get("drift")?,
        })
    }
}

async fn full_name(client: &Client, table: &str) -> Result<String, QueryError> {
    Ok(client.query_one(FULL_NAME, &[&table]).await?.try_get(0)?)
}

/// Through text, because a parameter of type `regclass` would want the number.
const WATCH: &str = "\
select rowcast.watch($1::text::regclass, channels => $2, users => $3, columns => $4, \"except\" => $5,
                     ops => $6, condition => $7, old => $8, log => $9, capture => $10, wake => $11)";
const WATCH_SQL: &str = "\
select rowcast.watch_sql($1::text::regclass, channels => $2, users => $3, columns => $4, \"except\" => $5,
                         ops => $6, condition => $7, old => $8, log => $9, capture => $10, wake => $11)";
const UNWATCH: &str = "select rowcast.unwatch($1::text::regclass)";
const UNWATCH_SQL: &str = "select rowcast.unwatch_sql($1::text::regclass)";

/// The view names tables as the session's search path has it; here they are whole. One that was dropped is a number.
const LIST: &str = "\
select case when c.oid is null then w.\"table\" else format('%I.%I', n.nspname, c.relname) end as \"table\", channels, users, columns, \"except\",
       ops, condition, old, log, capture, wake, rls, triggers, drift
  from rowcast.watches w
  left join pg_catalog.pg_class c on c.oid = to_regclass(w.\"table\")
  left join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 order by 1";
const EMIT: &str = "select rowcast.emit($1, $2, $3::text::json, $4)";
const FULL_NAME: &str = "\
select format('%I.%I', n.nspname, c.relname)
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.oid = $1::text::regclass";

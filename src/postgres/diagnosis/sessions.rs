//! Who is at work in the database: daemons, old transactions, what holds the notification queue.
//!
//! In: a connection. Out: [`Activity`]. Invariant: what the role may not see of others is `None`, not guessed.

use tokio_postgres::{Client, Row};

use crate::postgres::error::QueryError;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Activity {
    /// How full the notification queue is, 0 to 1.
    pub queue: f64,
    /// Open transactions, the oldest first, prepared ones among them.
    pub transactions: Vec<Transaction>,
    /// Addresses of the sessions of daemons in this database; a Unix socket is `local`.
    pub daemons: Vec<String>,
    pub replication: Vec<Replication>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    pub holder: Holder,
    pub database: Option<String>,
    /// Whether that is the one we are in.
    pub is_here: bool,
    pub user: Option<String>,
    /// Such as `idle in transaction`.
    pub state: Option<String>,
    /// Seconds since it began.
    pub age: Option<f64>,
    /// How many transactions began since the oldest it may still see.
    pub horizon: i64,
    pub query: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    Session(i32),
    /// By its global identifier.
    Prepared(String),
}

/// A replication slot that keeps old rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    pub name: String,
    pub is_active: bool,
    pub horizon: i64,
}

pub async fn activity(client: &Client) -> Result<Activity, QueryError> {
    let transactions = super::rows(client, TRANSACTIONS, &[]).await?;
    let replication = super::rows(client, REPLICATION, &[]).await?;
    let rest = super::row(client, REST, &[]).await?;
    Ok(Activity {
        queue: rest.try_get(0)?,
        daemons: rest.try_get(1)?,
        transactions: transactions.iter().map(transaction).collect::<Result<_, _>>()?,
        replication: replication.iter().map(slot).collect::<Result<_, _>>()?,
    })
}

fn transaction(row: &Row) -> Result<Transaction, tokio_postgres::Error> {
    let prepared: Option<String> = row.try_get(1)?;
    let pid: Option<i32> = row.try_get(0)?;
    Ok(Transaction {
        holder: prepared.map_or(Holder::Session(pid.unwrap_or_default()), Holder::Prepared),
        database: row.try_get(2)?,
        is_here: row.try_get(3)?,
        user: row.try_get(4)?,
        state: row.try_get(5)?,
        age: row.try_get(6)?,
        horizon: row.try_get(7)?,
        query: row.try_get(8)?,
    })
}

fn slot(row: &Row) -> Result<Replication, tokio_postgres::Error> {
    Ok(Replication { name: row.try_get(0)?, is_active: row.try_get(1)?, horizon: row.try_get(2)? })
}

/// Of sessions whose state is hidden from the role, the horizon still shows.
const TRANSACTIONS: &str = "\
select a.pid,
       null::text,
       a.datname::text,
       coalesce(a.datname = current_database(), false),
       a.usename::text,
       a.state,
       extract(epoch from clock_timestamp() - a.xact_start)::float8 as age,
       greatest(age(a.backend_xid), age(a.backend_xmin), 0)::int8,
       left(a.query, 60)
  from pg_stat_activity a
 where a.pid <> pg_backend_pid()
   and coalesce(a.backend_type, 'client backend') = 'client backend'
   and (a.xact_start is not null or a.backend_xid is not null or a.backend_xmin is not null)
 union all
select null, p.gid, p.database::text, p.database = current_database(), p.owner::text, 'prepared',
       extract(epoch from clock_timestamp() - p.prepared)::float8, greatest(age(p.transaction), 0)::int8, null
  from pg_prepared_xacts p
 order by age desc nulls last";

const REPLICATION: &str = "\
select s.slot_name::text, s.active, greatest(age(s.xmin), age(s.catalog_xmin), 0)::int8
  from pg_replication_slots s
 where s.xmin is not null
    or s.catalog_xmin is not null
 order by 1";

const REST: &str = "\
select pg_notification_queue_usage(),
       array(select coalesce(host(a.client_addr), 'local')
               from pg_stat_activity a
              where a.application_name = 'rowcast'
                and a.datname = current_database()
              order by 1)";

//! Asks the database for a round of retention of the event log.
//!
//! In: how long and how much is kept. Out: what the round did. Invariant: which events go is decided in the database,
//! under its lock, so any number of nodes may ask at any time.

use std::time::Duration;

use tokio_postgres::{Client, Error};

/// What one round found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// `false` while another session is at it: nothing was done.
    pub led: bool,
    /// Whether new events go into another slot from now on.
    pub turned: bool,
    /// How many slots of the log were emptied.
    pub removed: i32,
    /// The bytes these took.
    pub freed: i64,
    /// What is left takes this much; `None` where nothing was done.
    pub bytes: Option<i64>,
    /// Why something that is due is still there.
    pub waiting: Option<String>,
}

pub async fn maintain(client: &Client, keep: Duration, max_bytes: u64) -> Result<Round, Error> {
    let max_bytes = i64::try_from(max_bytes).unwrap_or(i64::MAX);
    let row = client.query_one(MAINTAIN, &[&keep.as_secs_f64(), &max_bytes]).await?;
    Ok(Round {
        led: row.try_get(0)?,
        turned: row.try_get(1)?,
        removed: row.try_get(2)?,
        freed: row.try_get(3)?,
        bytes: row.try_get(4)?,
        waiting: row.try_get(5)?,
    })
}

/// What is worth watching beside the size of the log.
#[derive(Clone, Copy, Debug)]
pub struct Measures {
    /// The age of the oldest event that is still there.
    pub oldest: Duration,
    /// Of PostgreSQL's notification queue, from 0 to 1.
    pub queue_usage: f64,
}

pub async fn measure(client: &Client) -> Result<Measures, Error> {
    let row = client.query_one(MEASURE, &[]).await?;
    let seconds: f64 = row.try_get(0)?;
    let oldest = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    Ok(Measures { oldest, queue_usage: row.try_get(1)? })
}

const MEASURE: &str = "\
select coalesce(extract(epoch from clock_timestamp() - (select e.at
                                                          from rowcast.event e
                                                         order by e.xid, e.id
                                                         limit 1)), 0)::float8,
       pg_notification_queue_usage()";

/// Forgets what `rowcast.revoke` said of tokens that have ended by themselves, a thousand at most.
pub async fn forget_revocations(client: &Client, token_life: Duration) -> Result<(), Error> {
    client.execute(FORGET_REVOCATIONS, &[&token_life.as_secs_f64()]).await?;
    Ok(())
}

const FORGET_REVOCATIONS: &str = "\
select rowcast._forget_revocations(make_interval(secs => $1))";

const MAINTAIN: &str = "\
select led, turned, removed, freed, bytes, waiting
  from rowcast.maintain(make_interval(secs => $1), $2)";

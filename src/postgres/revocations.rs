//! What `rowcast.revoke` said.
//!
//! In: how far it was read. Out: what came since, some of it again. Invariant: nothing is passed over, in whatever
//! order transactions commit.

use std::time::{Duration, SystemTime};

use tokio_postgres::{Client, Error, Row};

/// Tokens that count no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// Those of a user that were issued up to then.
    User { user: Box<str>, at: SystemTime },
    /// The one with this id.
    Token(Box<str>),
}

/// How far revocations were read: every transaction below it had ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Horizon(String);

impl Default for Horizon {
    fn default() -> Self {
        Self("0".to_owned())
    }
}

pub async fn read(client: &Client, since: &Horizon) -> Result<(Vec<Revocation>, Horizon), Error> {
    let rows = client.query(READ, &[&since.0]).await?;
    let horizon = rows.first().map_or_else(|| Ok(since.0.clone()), |row| row.try_get(0))?;
    let found = rows.iter().filter_map(|row| revocation(row).transpose());
    Ok((found.collect::<Result<_, _>>()?, Horizon(horizon)))
}

/// `None` for the row that only says how far the reading went.
fn revocation(row: &Row) -> Result<Option<Revocation>, Error> {
    let (user, jti): (Option<&str>, Option<&str>) = (row.try_get(1)?, row.try_get(2)?);
    let seconds: Option<f64> = row.try_get(3)?;
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds.unwrap_or_default().max(0.0));
    Ok(match (user, jti) {
        (Some(user), _) => Some(Revocation::User { user: user.into(), at }),
        (None, Some(jti)) => Some(Revocation::Token(jti.into())),
        (None, None) => None,
    })
}

const READ: &str = "\
with seen as materialized (select pg_snapshot_xmin(pg_current_snapshot()) as horizon)
select seen.horizon::text, r.user_id, r.jti, extract(epoch from r.at)::float8
  from seen
  left join rowcast.revocation r on r.xid >= ($1::text)::xid8";

//! Keeps tickets in the database, where every node finds them.
//!
//! In: the hash of a ticket, the claims that it stands for. Out: those claims, once. Invariant: the ticket itself is
//! never sent to the database, so nobody finds it there or in a log.

use std::time::Duration;

use super::pool::{Pool, Unanswered, ask};

#[derive(Clone)]
pub struct TicketTable {
    pool: Pool,
}

impl TicketTable {
    pub const fn new(pool: Pool) -> Self {
        Self { pool }
    }

    pub async fn issue(&self, hash: &[u8], claims: &str, life: Duration) -> Result<(), Unanswered> {
        ask(&self.pool, async |client| {
            client.execute(ISSUE, &[&hash, &claims, &life.as_secs_f64()]).await?;
            Ok(())
        })
        .await
    }

    /// `None` where there is none, any more.
    pub async fn redeem(&self, hash: &[u8]) -> Result<Option<String>, Unanswered> {
        ask(&self.pool, async |client| Ok(client.query_one(REDEEM, &[&hash]).await?.try_get(0)?))
            .await
    }
}

const ISSUE: &str = "\
select rowcast._ticket_issue($1, ($2::text)::json, make_interval(secs => $3))";

const REDEEM: &str = "select rowcast._ticket_redeem($1)::text";

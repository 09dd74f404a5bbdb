//! What `doctor` and `explain` want to know of a database.
//!
//! In: a connection as the daemon's role. Out: what is there, in plain values; nothing is judged here. Invariant:
//! nothing is written, every statement goes through a pooler as well, and what the role may not see is left open.

mod grants;
mod log;
mod reach;
mod role;
mod schema;
mod server;
mod sessions;
mod trail;
mod watched;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::error::QueryError;

pub use grants::{Missing, missing_grants};
pub use log::{Log, log};
pub use reach::{Host, hosts};
pub use role::{Role, role};
pub use schema::{Difference, differences, installation};
pub use server::{Encryption, Server, server};
pub use sessions::{Activity, Holder, Replication, Transaction, activity};
pub use trail::{Behind, Entry, Recent, behind, recent, revocations};
pub use watched::{Shadow, Trigger, Watched, shadows, watched};

/// A parameter and its type.
type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Without a prepared statement, which a pooler may not know the next time.
async fn rows(
    client: &Client,
    statement: &str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<Row>, QueryError> {
    Ok(client.query_typed(statement, parameters).await?)
}

/// For a statement that always answers with a row.
async fn row(
    client: &Client,
    statement: &str,
    parameters: &[Parameter<'_>],
) -> Result<Row, QueryError> {
    let mut found = rows(client, statement, parameters).await?;
    Ok(found.pop().expect("an aggregate or a select without from has one row"))
}

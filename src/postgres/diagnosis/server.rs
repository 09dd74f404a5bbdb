//! The server as such: version, settings, encryption, clock.
//!
//! In: a connection. Out: [`Server`]. Invariant: one statement, so that all of it is of one moment.

use tokio_postgres::Client;

use crate::postgres::connect::Target;
use crate::postgres::error::QueryError;
use crate::postgres::target::Host;
use crate::postgres::tls::SslMode;

#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Such as 150018.
    pub version_number: i32,
    pub version: String,
    pub is_standby: bool,
    pub encryption: Encryption,
    pub max_connections: i32,
    /// Those that ordinary roles cannot have.
    pub reserved: i32,
    /// How many sessions there are now, of all databases.
    pub sessions: i64,
    pub max_prepared_transactions: i32,
    pub max_locks_per_transaction: i32,
    /// Seconds since 1970.
    pub clock: f64,
}

/// How the line to the server is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// Protocol and cipher.
    pub cipher: Option<String>,
    /// A Unix socket, or an address of this machine.
    pub is_local: bool,
    /// Whether `sslmode` asks who the server is.
    pub is_verified: bool,
}

pub async fn server(client: &Client, target: &Target) -> Result<Server, QueryError> {
    let row = super::row(client, QUERY, &[]).await?;
    let is_socket = target.servers.iter().all(|server| matches!(server.host, Host::Socket(_)));
    let is_local: bool = row.try_get(4)?;
    let encryption = Encryption {
        cipher: row.try_get(3)?,
        is_local: is_local || is_socket,
        is_verified: matches!(target.tls.mode, SslMode::VerifyCa | SslMode::VerifyFull),
    };
    Ok(Server {
        version_number: row.try_get(0)?,
        version: row.try_get(1)?,
        is_standby: row.try_get(2)?,
        encryption,
        max_connections: row.try_get(5)?,
        reserved: row.try_get(6)?,
        sessions: row.try_get(7)?,
        max_prepared_transactions: row.try_get(8)?,
        max_locks_per_transaction: row.try_get(9)?,
        clock: row.try_get(10)?,
    })
}

/// `reserved_connections` is new in 16.
const QUERY: &str = "\
select current_setting('server_version_num')::int,
       current_setting('server_version'),
       pg_is_in_recovery(),
       (select s.version || ', ' || s.cipher
          from pg_stat_ssl s
         where s.pid = pg_backend_pid()
           and s.ssl),
       coalesce(inet_client_addr() <<= '127.0.0.0/8' or inet_client_addr() = '::1', true),
       current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int
           + coalesce(current_setting('reserved_connections', true)::int, 0),
       (select count(*)
          from pg_stat_activity a
         where a.datid is not null),
       current_setting('max_prepared_transactions')::int,
       current_setting('max_locks_per_transaction')::int,
       extract(epoch from clock_timestamp())::float8";

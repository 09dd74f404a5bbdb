//! Connecting, by our own walk over the servers of a [`Target`].
//!
//! In: a target. Out: a client, with the connection that moves its bytes; or a pool. Invariant: every attempt ends
//! within the target's timeout, silence at any step of it included, and leads on to the next server.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;
use tokio_postgres::config::SslMode as Encryption;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, Error, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error;
use super::target::{Host, Server};
pub use super::target::{SessionOptions, Target, TargetError};
use super::tls::SslMode;

/// Moves the bytes of a client. It does nothing unless polled, and what it hears is dropped unless asked for.
pub struct Connection(tokio_postgres::Connection<Socket, Stream>);

type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

impl Target {
    /// The first server of the list that lets us in; where writes are asked for, the newest primary of the list.
    pub async fn connect(&self) -> Result<(Client, Connection), ConnectError> {
        if self.has_choice() {
            let (connected, failures) = self.primaries().await;
            let newest = connected.into_iter().rev().max_by_key(|primary| primary.timeline);
            let newest = newest.map(|primary| (primary.client, primary.connection));
            return newest.ok_or_else(|| ConnectError::all(failures));
        }
        let mut failures = Vec::new();
        for server in &self.servers {
            match self.within_timeout(server, self.connect_to(server)).await {
                Ok(connected) => return Ok(connected),
                Err(failure) => failures.push(failure),
            }
        }
        Err(ConnectError::all(failures))
    }

    /// The time line of the newest primary of the list. `None` where there is no choice, or none answers.
    pub async fn newest_timeline(&self) -> Option<u32> {
        if !self.has_choice() {
            return None;
        }
        self.primaries().await.0.iter().map(|primary| primary.timeline).max()
    }

    fn has_choice(&self) -> bool {
        self.needs_writable && self.servers.len() > 1
    }

    /// Asks every server at once, and waits little for the others once one has answered.
    async fn primaries(&self) -> (Vec<Primary>, Vec<ConnectError>) {
        let attempts = self.servers.iter().map(|server| async {
            let primary = async {
                let (client, connection) = self.connect_to(server).await?;
                let asked = client.query_one(TIMELINE, &[]);
                let mut timeline = 0;
                let connection = connection
                    .run_while(async {
                        timeline = asked.await?.try_get::<_, i32>(0)?.cast_unsigned();
                        Ok(())
                    })
                    .await?;
                Ok(Primary { client, connection, timeline })
            };
            self.within_timeout(server, primary).await
        });
        let mut attempts: FuturesUnordered<_> = attempts.collect();
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        let mut patience = self.timeout;
        while let Ok(Some(answer)) = timeout(patience, attempts.next()).await {
            match answer {
                Ok(primary) => {
                    patience = OTHERS;
                    found.push(primary);
                }
                Err(failure) => failures.push(failure),
            }
        }
        (found, failures)
    }

    async fn within_timeout<T>(
        &self,
        server: &Server,
        attempt: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, ConnectError> {
        match timeout(self.timeout, attempt).await {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(error)) => Err(ConnectError::Failed { server: server.to_string(), error }),
            Err(_) => Err(ConnectError::Silent { server: server.to_string(), after: self.timeout }),
        }
    }

    /// A client whose connection runs in a task of its own.
    pub async fn connect_spawned(&self) -> Result<Client, ConnectError> {
        let (client, connection) = self.connect().await?;
        tokio::spawn(connection.run());
        Ok(client)
    }

    async fn connect_to(&self, server: &Server) -> Result<(Client, Connection), Error> {
        let (first, second) = encryptions(self.tls.mode, &server.host);
        let (client, connection) = match (self.log_in(server, first).await, second) {
            (Err(error), Some(second)) if speaks_of_encryption(&error) => {
                self.log_in(server, second).await?
            }
            (result, _) => result?,
        };
        if !self.needs_writable {
            return Ok((client, connection));
        }
        let connection = connection.run_while(client.batch_execute(PROBE)).await?;
        Ok((client, connection))
    }

    async fn log_in(
        &self,
        server: &Server,
        encryption: Encryption,
    ) -> Result<(Client, Connection), Error> {
        let mut config = self.login.clone();
        config.ssl_mode(encryption).port(server.port).connect_timeout(self.timeout);
        config.options(self.startup_options(server));
        if config.get_application_name().is_none() {
            config.application_name(&self.session.application_name);
        }
        match &server.host {
            Host::Socket(folder) => config.host_path(folder),
            Host::Network { name, address } => with_network(&mut config, name, *address),
        };
        let (client, connection) = config.connect(self.tls.connector.clone()).await?;
        Ok((client, Connection(connection)))
    }

    /// Settings of the server for this session. The connection string's own come last and so win.
    fn startup_options(&self, server: &Server) -> String {
        let statement_timeout = self.session.statement_timeout.map_or(0, |limit| limit.as_millis());
        let mut options = format!("-c jit=off -c statement_timeout={statement_timeout}");
        options.push_str(" -c idle_in_transaction_session_timeout=5000");
        if matches!(server.host, Host::Network { .. }) {
            options.push_str(SERVER_SIDE_LIVENESS);
        }
        match self.login.get_options() {
            Some(own) => format!("{options} {own}"),
            None => options,
        }
    }
}

/// A server that takes writes.
struct Primary {
    client: Client,
    connection: Connection,
    timeline: u32,
}

impl Connection {
    /// The next notice or notification. `None` and an error are the end.
    pub async fn next_message(&mut self) -> Option<Result<AsyncMessage, Error>> {
        poll_fn(|context| self.poll_message(context)).await
    }

    pub fn poll_message(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<AsyncMessage, Error>>> {
        self.0.poll_message(context)
    }

    /// Until the client is dropped or the server is gone. What the server warns of goes to our log.
    pub async fn run(mut self) {
        loop {
            match self.next_message().await {
                Some(Ok(AsyncMessage::Notice(notice))) if notice.severity() == "WARNING" => {
                    tracing::warn!("{}", notice.message());
                }
                Some(Ok(AsyncMessage::Notice(notice))) => tracing::debug!("{}", notice.message()),
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    return tracing::debug!("connection lost: {}", error::explain(&error));
                }
                None => return,
            }
        }
    }

    async fn run_while(
        mut self,
        work: impl Future<Output = Result<(), Error>>,
    ) -> Result<Self, Error> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done.map(|()| self),
                message = self.next_message() => match message {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error),
                    None => break,
                },
            }
        }
        // Dropping our end is what tells the client that no answer will come.
        drop(self.0);
        Err(work.await.err().unwrap_or_else(Error::__private_api_timeout))
    }
}

fn with_network<'a>(
    config: &'a mut Config,
    name: &str,
    address: Option<std::net::IpAddr>,
) -> &'a mut Config {
    if let Some(address) = address {
        config.hostaddr(address);
    }
    config
        .host(name)
        .tcp_user_timeout(Duration::from_secs(5))
        .keepalives_idle(Duration::from_secs(5))
        .keepalives_interval(Duration::from_secs(1))
        .keepalives_retries(3)
}

/// How to try, and how to try again if the server or the handshake refuses that.
const fn encryptions(mode: SslMode, host: &Host) -> (Encryption, Option<Encryption>) {
    match (host, mode) {
        // A Unix socket is not encrypted, and needs it no more than the memory of the machine does.
        (Host::Socket(_), _) | (_, SslMode::Disable) => (Encryption::Disable, None),
        (_, SslMode::Allow) => (Encryption::Disable, Some(Encryption::Require)),
        (_, SslMode::Prefer) => (Encryption::Prefer, Some(Encryption::Disable)),
        (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => {
            (Encryption::Require, None)
        }
    }
}

/// A refusal by `pg_hba.conf`, which may ask for encryption or forbid it; or a failed handshake.
fn speaks_of_encryption(error: &Error) -> bool {
    error.code().is_some_and(|code| code.code() == "28000") || error::tls_failure(error).is_some()
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("cannot connect to PostgreSQL at {server}: {}", error::explain(error))]
    Failed { server: String, error: Error },
    #[error(
        "cannot connect to PostgreSQL at {server}: no answer within {after:?}: is something between here and there in the way?"
    )]
    Silent { server: String, after: Duration },
    #[error("cannot connect to any of the servers:\n  {}", one_a_line(.0))]
    Several(Vec<ConnectError>),
}

impl ConnectError {
    fn all(mut failures: Vec<Self>) -> Self {
        match failures.pop() {
            Some(only) if failures.is_empty() => only,
            last => {
                failures.extend(last);
                Self::Several(failures)
            }
        }
    }

    /// What trying again would bring: the best of what the servers answered.
    pub fn kind(&self) -> error::Kind {
        match self {
            Self::Target(_) => error::Kind::Misconfigured,
            Self::Failed { error, .. } => error::kind(error),
            Self::Silent { .. } => error::Kind::Transient,
            Self::Several(failures) => {
                let kinds: Vec<_> = failures.iter().map(Self::kind).collect();
                let hope = kinds.iter().find(|kind| **kind == error::Kind::Transient);
                *hope.or(kinds.last()).unwrap_or(&error::Kind::Transient)
            }
        }
    }

    /// For interfaces that know tokio-postgres only.
    pub(super) fn into_postgres(self) -> Error {
        match self {
            Self::Failed { error, .. } => error,
            Self::Several(mut failures) => {
                failures.pop().map_or_else(Error::__private_api_timeout, Self::into_postgres)
            }
            // The library has no other way to say from outside that time ran out.
            Self::Silent { .. } | Self::Target(_) => Error::__private_api_timeout(),
        }
    }
}

fn one_a_line(failures: &[ConnectError]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ")
}

/// From the WAL position: `pg_control_checkpoint()` still names the old one right after a promotion.
pub(super) const TIMELINE: &str =
    "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int";

/// How long a server is waited for once another one has answered.
const OTHERS: Duration = Duration::from_millis(300);

/// `pg_is_in_recovery`, not `transaction_read_only`: a role with `default_transaction_read_only` is fine on a
/// primary. The server raises the error, so that it is one like any other.
const PROBE: &str = "\
do $$
begin
    if pg_catalog.pg_is_in_recovery() then
        raise exception 'the server is a standby' using errcode = 'read_only_sql_transaction';
    end if;
end;
$$";

/// Ends the session of a daemon that is frozen or cut off, before the notification queue fills behind it.
const SERVER_SIDE_LIVENESS: &str = " -c tcp_user_timeout=5000 -c tcp_keepalives_idle=5 \
    -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3";

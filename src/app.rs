//! Builds every room from the configuration, and knows the order of starting and stopping.
//!
//! In: a [`Config`]. Out: a running daemon. Invariant: clients are let in only after LISTEN is up and the log was
//! read once, and on the way out they are told before their sockets are closed.

mod signs;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, Function, Rights};
use crate::admission::{Admission, Revocations, Tickets};
use crate::auth::{AuthError, Authenticator};
use crate::config::{self, Config, LogConfig};
use crate::domain::session;
use crate::history::LogHistory;
use crate::hub::{Hub, HubOptions};
use crate::ingest::pace::Wake;
use crate::ingest::{Ingest, RightsWatch};
use crate::lifecycle::{Handed, Health, Pulse};
use crate::postgres::authorize::Authorize;
use crate::postgres::connect::{SessionOptions, Target, TargetError};
use crate::postgres::identity::{EpochPolicy, Identity};
use crate::postgres::tickets::TicketTable;
use crate::retention::Retention;
use crate::session::{Services, Share};
use crate::transport::accept::{self, Limits};
use crate::transport::origin::{BadOrigin, Origins};
use crate::transport::{self, ExtraRoutes, Routes};
pub use signs::Signs;

/// A daemon that accepts clients.
pub struct Daemon {
    address: SocketAddr,
    hub: Hub,
    health: watch::Sender<Health>,
    pulse: Pulse,
    stop: CancellationToken,
    sockets: TaskTracker,
    servers: TaskTracker,
    ingest: JoinHandle<()>,
    /// Ends `ingest`, before the sockets.
    unfollow: CancellationToken,
    retention: JoinHandle<Infallible>,
}

/// What a daemon is given by whoever starts it, beside its configuration.
pub struct Given {
    pub extra: Option<ExtraRoutes>,
    pub handed: Handed,
    /// Shows how it is from the beginning on.
    pub health: watch::Sender<Health>,
}

impl Default for Given {
    fn default() -> Self {
        let health = watch::Sender::new(Health::Starting);
        Self { extra: None, handed: Handed::default(), health }
    }
}

impl Daemon {
    /// Connects to the database, waiting for it if need be, and then accepts clients.
    pub async fn start(config: &Config, extra: Option<ExtraRoutes>) -> Result<Self, StartError> {
        Self::start_with(config, Given { extra, ..Given::default() }).await
    }

    /// The same, with more than a configuration.
    pub async fn start_with(config: &Config, given: Given) -> Result<Self, StartError> {
        let Given { extra, handed, health } = given;
        let (public, private) = doors(config, handed)?;
        let address = public.local_addr().map_err(StartError::Address)?;
        let (identity, known) = watch::channel(None);
        let database = Target::parse(config.database.url.expose())?;
        let pool = database.pool(config.database.pool_size);
        let history = LogHistory::new(pool.clone(), known.clone());
        let hub = Hub::start(hub_options(config), Arc::new(history.clone()));
        let (rights, revocations) = (Arc::<Rights>::default(), Arc::<Revocations>::default());
        let table = TicketTable::new(pool.clone());
        let admission = Admission {
            authenticator: Authenticator::new(&config.auth)?,
            tickets: Tickets::new(table, known, config.auth.ticket_life),
            revocations: Arc::clone(&revocations),
        };
        let function = function(config, &pool);
        let watch = RightsWatch::new(Arc::clone(&rights), revocations, function.is_some());
        let services = Arc::new(Services {
            hub: hub.clone(),
            admission,
            access: Access::new(config.policies.clone(), function, Arc::clone(&rights)),
            rights,
            history,
            options: Arc::new(session_options(config)),
            share: Share::new(messages_per_minute(config)),
        });
        let (watched, pulse) = (health.subscribe(), Pulse::default());
        let unfollow = CancellationToken::new();
        let ingest =
            ingest(config, &hub, watch, (&health, &pulse), identity)?.run(unfollow.clone());
        let ingest = tokio::spawn(ingest);
        let (stop, servers) = (CancellationToken::new(), TaskTracker::new());
        let limits = accept_limits(config);
        let is_private = private.is_some();
        if let Some(private) = private {
            let routes = transport::private(watched.clone());
            servers.spawn(accept::serve(private, routes, limits, stop.clone()));
        }
        wait_until_ready(watched.clone()).await?;
        services.access.check().await;
        let retention = tokio::spawn(retention(config, pool).run());
        let origins = Origins::parse(&config.server.allowed_origins)?;
        let sockets = TaskTracker::new();
        let health_here = (!is_private).then(|| watched.clone());
        let routes = Routes { services, origins, health: health_here, sockets: sockets.clone() };
        let routes = transport::public(&routes, extra);
        servers.spawn(accept::serve(public, routes, limits, stop.clone()));
        Ok(Self {
            address,
            hub,
            health,
            pulse,
            stop,
            sockets,
            servers,
            ingest,
            unfollow,
            retention,
        })
    }

    /// Where clients connect.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// For whoever has to know that it goes on.
    pub fn signs(&self) -> Signs {
        Signs::new(self.hub.clone(), self.pulse.clone(), self.health.subscribe())
    }

    /// Stops accepting, tells every client to come back, and waits for them to leave, within bounds.
    pub async fn stop(self) {
        if timeout(ALL_OF_IT, self.leave()).await.is_err() {
            tracing::warn!("some connections were cut off by the stop");
        }
    }

    async fn leave(self) {
        self.health.send_replace(Health::Draining);
        self.stop.cancel();
        self.unfollow.cancel();
        let unfinished = self.ingest.abort_handle();
        let _ = timeout(FAREWELL, self.ingest).await;
        unfinished.abort();
        self.retention.abort();
        let _ = timeout(DRAIN, self.hub.drain()).await;
        self.sockets.close();
        let _ = timeout(FAREWELL, self.sockets.wait()).await;
        self.servers.close();
        let _ = timeout(FAREWELL, self.servers.wait()).await;
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "cannot listen on {address}; is another process there, or is the address not this machine's?"
    )]
    Bind { address: SocketAddr, source: io::Error },
    #[error("a socket of the service manager cannot be used")]
    Handed(#[source] io::Error),
    #[error("the address of the listening socket")]
    Address(#[source] io::Error),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error("{0}")]
    Refused(String),
    #[error("server.allowed_origins")]
    Origin(#[from] BadOrigin),
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// Where clients connect, and where health is asked for apart from them; what was handed over goes before an address.
fn doors(
    config: &Config,
    handed: Handed,
) -> Result<(TcpListener, Option<TcpListener>), StartError> {
    let take_over = |socket| accept::take_over(socket).map_err(StartError::Handed);
    let bind =
        |address| accept::listen(address).map_err(|source| StartError::Bind { address, source });
    let public = match handed.public {
        Some(socket) => take_over(socket)?,
        None => bind(config.server.listen)?,
    };
    let private = match (handed.private, config.server.private_listen) {
        (Some(socket), _) => Some(take_over(socket)?),
        (None, address) => address.map(bind).transpose()?,
    };
    Ok((public, private))
}

fn ingest(
    config: &Config,
    hub: &Hub,
    rights: RightsWatch,
    (health, pulse): (&watch::Sender<Health>, &Pulse),
    identity: watch::Sender<Option<Arc<Identity>>>,
) -> Result<Ingest, StartError> {
    // A transaction of millions of rows is read in one statement, at the pace of the slowest hand behind it.
    let session = SessionOptions { application_name: "rowcast".into(), statement_timeout: None };
    let database = Target::parse(config.database.url.expose())?.with_session(session.clone());
    let listen = Target::parse(config.database.listen_url().expose())?.with_session(session);
    let wake = match config.database.wake {
        config::Wake::Auto => Wake::Auto,
        config::Wake::Notify => Wake::Notify,
        config::Wake::Poll => Wake::Poll,
    };
    let epoch_policy = match config.database.epoch_policy {
        config::EpochPolicy::Strict => EpochPolicy::Strict,
        config::EpochPolicy::Trust => EpochPolicy::Trust,
    };
    let (hub, health, pulse) = (hub.clone(), health.clone(), pulse.clone());
    let fallback = FALLBACK;
    Ok(Ingest {
        database,
        listen,
        wake,
        fallback,
        epoch_policy,
        hub,
        rights,
        health,
        identity,
        pulse,
    })
}

/// The application's function that decides on channels, if one does.
fn function(config: &Config, pool: &Pool) -> Option<Function> {
    let name = config.authorize.function.clone()?;
    Some(Function::new(Authorize::new(pool.clone(), name), config.authorize.cache))
}

fn retention(config: &Config, pool: Pool) -> Retention {
    let LogConfig { keep, max_bytes } = config.log;
    let token_life = config.auth.max_life + config.auth.leeway;
    Retention { pool, keep, max_bytes: max_bytes.0, token_life }
}

fn hub_options(config: &Config) -> HubOptions {
    let queue_bytes = config.limits.queue_bytes_per_connection.as_usize();
    HubOptions { queue_bytes, queue_age: QUEUE_AGE, patience: PATIENCE, recent_bytes: RECENT_BYTES }
}

fn session_options(config: &Config) -> session::Options {
    session::Options {
        heartbeat: HEARTBEAT,
        auth_timeout: AUTH_TIMEOUT,
        subscriptions: config.limits.subscriptions_per_connection,
        max_message_bytes: config.limits.message_bytes.as_usize(),
        leeway: config.auth.leeway,
    }
}

fn messages_per_minute(config: &Config) -> NonZeroU32 {
    NonZeroU32::new(config.limits.messages_per_minute).unwrap_or(NonZeroU32::MIN)
}

fn accept_limits(config: &Config) -> Limits {
    Limits {
        connections: config.limits.connections,
        header_timeout: HEADER_TIMEOUT,
        drain: FAREWELL,
    }
}

async fn wait_until_ready(mut health: watch::Receiver<Health>) -> Result<(), StartError> {
    let settled = |health: &Health| matches!(health, Health::Ready | Health::Refused(_));
    // Ingest holds the sender for as long as the daemon lives.
    match health.wait_for(settled).await.as_deref() {
        Ok(Health::Refused(why)) => Err(StartError::Refused(why.clone())),
        _ => Ok(()),
    }
}

/// Whatever happens to notifications, no change waits longer than this.
const FALLBACK: Duration = Duration::from_secs(1);

/// About a hundred thousand events of a few hundred bytes: what a client misses that comes back within minutes.
/// A reader this far behind is better served by reading on at its own pace.
const QUEUE_AGE: Duration = Duration::from_secs(5);

/// A socket that takes nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);

const RECENT_BYTES: usize = 64 * 1024 * 1024;

/// Protocol section 3.
const HEARTBEAT: Duration = Duration::from_secs(25);

/// Protocol section 2: a first message `auth` comes within this time.
const AUTH_TIMEOUT: Duration = Duration::from_secs(10);

/// OWASP and hyper's own default are 5 to 30 s; a head is one packet.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

const DRAIN: Duration = Duration::from_secs(5);
const FAREWELL: Duration = Duration::from_secs(2);

/// A supervisor waits 10 s at least, and some no longer.
const ALL_OF_IT: Duration = Duration::from_secs(9);

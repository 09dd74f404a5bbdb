//! Builds every room from the configuration, and knows the order of starting and stopping.
//!
//! In: a [`Config`]. Out: a running daemon. Invariant: clients are let in only after LISTEN is up and the log was
//! read once, and on the way out they are told before their sockets are closed.

mod options;
mod reload;
mod signs;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, Function, Rights};
use crate::admission::{Admission, Revocations, Tickets};
use crate::auth::{AuthError, Authenticator};
use crate::config::{self, Config, LogConfig};
use crate::history::Histories;
use crate::hub::Hub;
use crate::ingest::pace::Wake;
use crate::ingest::{Ingest, RightsWatch};
use crate::lifecycle::{Handed, Health, Pulse, indispensable};
use crate::postgres::authorize::Authorize;
use crate::postgres::connect::{SessionOptions, Target, TargetError};
use crate::postgres::identity::{EpochPolicy, Identity};
use crate::postgres::pool::Pool;
use crate::postgres::tickets::TicketTable;
use crate::retention::Retention;
use crate::session::{Services, Share, UserSeats};
use crate::telemetry::metrics::Observer;
use crate::transport::accept;
use crate::transport::gate::Gate;
use crate::transport::health::Operations;
use crate::transport::origin::{BadOrigin, Origins};
use crate::transport::{self, ExtraRoutes, Routes};
use reload::Reloaded;
pub use signs::Signs;

/// A daemon that accepts clients.
pub struct Daemon {
    address: SocketAddr,
    hub: Hub,
    reloaded: Reloaded,
    health: watch::Sender<Health>,
    pulse: Pulse,
    stop: CancellationToken,
    /// Ends the operator's address, which tells how it is until everybody has left.
    gone: CancellationToken,
    sockets: TaskTracker,
    servers: TaskTracker,
    ingest: JoinHandle<()>,
    /// Ends `ingest`, before the sockets.
    unfollow: CancellationToken,
    retention: JoinHandle<Infallible>,
    observer: Observer,
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
        let observer = Observer::default();
        let limits = options::accept_limits(config);
        let (public, private) = doors(config, handed)?;
        let address = public.local_addr().map_err(StartError::Address)?;
        let (identity, known) = watch::channel(None);
        let database = Target::parse(config.database.url.expose())?;
        let pool = database.pool(config.database.pool_size);
        let histories = Histories::new(pool.clone(), observer.clone());
        let hub = Hub::start(options::hub_options(config), observer.clone());
        let (rights, revocations) = (Arc::<Rights>::default(), Arc::<Revocations>::default());
        let table = TicketTable::new(pool.clone());
        let admission = Admission::new(
            Authenticator::new(&config.auth)?,
            Tickets::new(table, known, config.auth.ticket_life),
            Arc::clone(&revocations),
        );
        let function = function(config, &pool, &observer);
        let watch = RightsWatch::new(Arc::clone(&rights), revocations, function.is_some());
        let services = Arc::new(Services {
            hub: hub.clone(),
            admission,
            access: Access::new(config.policies.clone(), function, Arc::clone(&rights)),
            rights,
            options: ArcSwap::from_pointee(options::session_options(config)),
            share: ArcSwap::from_pointee(Share::new(options::messages_per_minute(config))),
            seats: UserSeats::new(config.limits.connections_per_user),
            observer: observer.clone(),
        });
        let (watched, pulse) = (health.subscribe(), Pulse::default());
        let unfollow = CancellationToken::new();
        let past = (histories, identity);
        let ingest = ingest(config, &hub, watch, &observer, (&health, &pulse), past)?;
        let ingest = tokio::spawn(indispensable("ingest", ingest.run(unfollow.clone())));
        let (stop, gone) = (CancellationToken::new(), CancellationToken::new());
        let servers = TaskTracker::new();
        let issuer = tokio::spawn(services.admission.keep_fresh());
        let operations =
            Operations { health: watched.clone(), hub: hub.clone(), observer: observer.clone() };
        let is_private = private.is_some();
        if let Some(private) = private {
            let (limits, routes) =
                (options::private_limits(limits), transport::private(&operations));
            let gate = Arc::new(Gate::of_all(observer.clone()));
            servers.spawn(accept::serve(private, routes, limits, gate, gone.clone()));
        }
        wait_until_ready(watched.clone()).await?;
        services.access.check().await;
        let retention = tokio::spawn(retention(config, pool, &observer).run());
        let origins = Arc::new(ArcSwap::from_pointee(origins(config)?));
        let sockets = TaskTracker::new();
        let gate = Arc::new(Gate::new(options::rules(config), observer.clone()));
        let routes = Routes {
            services: Arc::clone(&services),
            origins: Arc::clone(&origins),
            gate: Arc::clone(&gate),
            operations: (!is_private).then_some(operations),
            sockets: sockets.clone(),
        };
        let routes = transport::public(&routes, extra);
        servers.spawn(accept::serve(public, routes, limits, Arc::clone(&gate), stop.clone()));
        let issuer = Mutex::new(issuer);
        let reloaded = Reloaded { services, origins, gate, issuer };
        Ok(Self {
            address,
            hub,
            reloaded,
            health,
            pulse,
            stop,
            gone,
            sockets,
            servers,
            ingest,
            unfollow,
            retention,
            observer,
        })
    }

    /// Where clients connect.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often clients were refused something.
    pub const fn observer(&self) -> &Observer {
        &self.observer
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
        self.reloaded.issuer.lock().await.abort();
        let _ = timeout(DRAIN, self.hub.drain()).await;
        self.sockets.close();
        let _ = timeout(FAREWELL, self.sockets.wait()).await;
        self.gone.cancel();
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
    observer: &Observer,
    (health, pulse): (&watch::Sender<Health>, &Pulse),
    (histories, identity): (Histories, watch::Sender<Option<Arc<Identity>>>),
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
        histories,
        rights,
        observer: observer.clone(),
        health,
        identity,
        pulse,
    })
}

fn origins(config: &Config) -> Result<Origins, BadOrigin> {
    Origins::parse(&config.server.allowed_origins)
}

/// The application's function that decides on channels, if one does.
fn function(config: &Config, pool: &Pool, observer: &Observer) -> Option<Function> {
    let name = config.authorize.function.clone()?;
    Some(Function::new(
        Authorize::new(pool.clone(), name),
        config.authorize.cache,
        observer.clone(),
    ))
}

fn retention(config: &Config, pool: Pool, observer: &Observer) -> Retention {
    let LogConfig { keep, max_bytes } = config.log;
    let token_life = config.auth.max_life + config.auth.leeway;
    Retention { pool, keep, max_bytes: max_bytes.0, token_life, observer: observer.clone() }
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

const DRAIN: Duration = Duration::from_secs(5);
const FAREWELL: Duration = Duration::from_secs(2);

/// A supervisor waits 10 s at least, and some no longer.
const ALL_OF_IT: Duration = Duration::from_secs(9);

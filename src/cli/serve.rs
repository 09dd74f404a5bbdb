//! `rowcast serve`: the daemon, under a service manager or in a terminal.
//!
//! In: the configuration, the signals of the process, what a service manager handed over. Out: a running daemon, and
//! what the service manager is told of it. Invariant: ready is said once clients are let in, alive only when those
//! who would hang were asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::{Mutex, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Failure, Settings};
use crate::app::{Daemon, Given, Signs, StartError};
use crate::config::{Config, need_restart};
use crate::lifecycle::{Handed, Health, Supervisor, status};
use crate::postgres::connect::Target;
use crate::telemetry::Dial;
use crate::telemetry::vitals::Vitals;
use crate::{lifecycle, telemetry};

/// Run the daemon
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where clients connect; overrides server.listen
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

pub async fn run(args: Args, settings: &Settings) -> Result<(), Failure> {
    let handed = Handed::of_process()?;
    let settings = match args.listen {
        Some(address) => settings.clone().with("server.listen", address.to_string()),
        None => settings.clone(),
    };
    let loaded = settings.load()?;
    super::config::vet(&loaded)?;
    let dial = telemetry::init(&loaded.config.telemetry)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let (stop, hangups) = (CancellationToken::new(), lifecycle::hangups()?);
    lifecycle::stop_on_signal(stop.clone())?;
    let desk = Desk::new(Supervisor::of_process()?, &loaded.config)?;
    let Some(daemon) = stop.run_until_cancelled(desk.start(&loaded.config, handed)).await else {
        return Ok(());
    };
    let daemon = daemon?;
    tracing::info!(address = %daemon.address(), "ready");
    let running = Mutex::new(loaded.config);
    tokio::select! {
        () = stop.cancelled() => {}
        never = desk.report(daemon.signs()) => match never {},
        never = desk.reload(hangups, async || reread(&settings, &running, &daemon, &dial).await) => {
            match never {}
        }
    }
    tracing::info!("stopping");
    desk.stop(daemon).await;
    Ok(())
}

/// Applies what has changed in the configuration, or nothing of it.
async fn reread(
    settings: &Settings,
    running: &Mutex<Config>,
    daemon: &Daemon,
    dial: &Dial,
) -> Result<(), Failure> {
    let loaded = settings.load()?;
    super::config::vet(&loaded)?;
    let mut running = running.lock().await;
    daemon.reload(&loaded.config).await?;
    dial.turn(&loaded.config.telemetry)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let keys = need_restart(&running, &loaded.config).join(", ");
    if !keys.is_empty() {
        tracing::warn!(keys, "these have changed and count after a restart only");
    }
    tracing::info!(
        "reloaded: policies, keys, origins, limits and the log filter are those of the file"
    );
    *running = loaded.config;
    Ok(())
}

/// Where the daemon and its service manager meet.
struct Desk {
    supervisor: Supervisor,
    /// The database, without anything secret.
    database: String,
}

impl Desk {
    fn new(supervisor: Supervisor, config: &Config) -> Result<Self, Failure> {
        let database = Target::parse(config.database.url.expose())?.to_string();
        Ok(Self { supervisor, database })
    }

    /// The daemon that lets clients in; until then it is told what is waited for.
    async fn start(&self, config: &Config, handed: Handed) -> Result<Daemon, StartError> {
        let health = watch::Sender::new(Health::Starting);
        let watched = health.subscribe();
        let given = Given { handed, health, ..Given::default() };
        let daemon = tokio::select! {
            daemon = Daemon::start_with(config, given) => daemon?,
            never = self.tell_of_start(watched) => match never {},
        };
        self.supervisor.ready(&self.line(&Health::Ready, Vitals::default())).await;
        Ok(daemon)
    }

    /// In the task that starts the daemon, so that it falls silent with it.
    async fn tell_of_start(&self, mut health: watch::Receiver<Health>) -> Infallible {
        let mut rhythm = self.rhythm();
        loop {
            rhythm.tick().await;
            let line = self.line(&health.borrow_and_update().clone(), Vitals::default());
            self.supervisor.starting(&line).await;
        }
    }

    async fn report(&self, mut signs: Signs) -> Infallible {
        let (mut rhythm, mut health) = (self.rhythm(), signs.watch());
        loop {
            match signs.take(rhythm.period()).await {
                Ok(vitals) => self.supervisor.alive(&self.line(&signs.health(), vitals)).await,
                Err(hung) => {
                    tracing::error!("{hung}");
                    self.supervisor.status(&hung.to_string()).await;
                }
            }
            tokio::select! {
                _ = rhythm.tick() => {}
                Ok(()) = health.changed() => {}
            }
        }
    }

    /// At each SIGHUP; what fails leaves everything as it was.
    async fn reload(
        &self,
        mut hangups: Signal,
        reload: impl AsyncFn() -> Result<(), Failure>,
    ) -> Infallible {
        loop {
            hangups.recv().await;
            let reloading = async {
                if let Err(failure) = reload().await {
                    let cause = failure.message();
                    tracing::error!(cause, "not reloaded; everything stays as it was");
                }
            };
            self.supervisor.while_reloading(reloading).await;
        }
    }

    async fn stop(&self, daemon: Daemon) {
        let mut signs = daemon.signs();
        // How long it may take is bounded in the daemon, so whoever hangs needs no watchdog any more.
        let telling = async {
            let mut rhythm = interval(DRAIN_TOLD_EVERY);
            loop {
                rhythm.tick().await;
                let vitals = signs.take(DRAIN_TOLD_EVERY).await.unwrap_or_default();
                self.supervisor.stopping(&self.line(&Health::Draining, vitals)).await;
            }
        };
        tokio::select! {
            never = telling => never,
            () = daemon.stop() => {}
        }
    }

    fn line(&self, health: &Health, vitals: Vitals) -> String {
        status(health, vitals, &self.database)
    }

    fn rhythm(&self) -> tokio::time::Interval {
        let mut rhythm = interval(self.supervisor.rhythm());
        rhythm.set_missed_tick_behavior(MissedTickBehavior::Delay);
        rhythm
    }
}

/// The daemon is gone within seconds.
const DRAIN_TOLD_EVERY: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  rowcast serve --config /etc/rowcast/config.toml
  DATABASE_URL=postgres://localhost/app ROWCAST_JWT_SECRET=… rowcast serve";

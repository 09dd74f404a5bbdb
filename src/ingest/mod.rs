//! Turns wake-ups into batches of events, in order.
//!
//! In: signals of `postgres::listener`. Out: batches to `hub`. Invariant: the position moves only over events that
//! were handed to the hub, and it survives the connection; what is committed while the database is out of reach
//! is read once it is back.

mod follower;
pub mod pace;
pub mod payload;
mod replays;
mod rights;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::domain::message::SystemEvent;
use crate::domain::position::Position;
use crate::domain::template::Template;
use crate::history::Histories;
use crate::hub::Hub;
use crate::lifecycle::{Health, Pulse, Told};
use crate::postgres::connect::{ConnectError, Target};
use crate::postgres::event_log::{EventLog, ReadError};
use crate::postgres::identity::{Epoch, EpochPolicy, Identity};
use crate::postgres::listener::{ListenError, Listener};
use crate::postgres::migrations::{self, MigrateError};
use crate::telemetry::metrics::Observer;
use crate::telemetry::notice::Notice;
use follower::Follower;
use pace::{Pace, Wake};
use replays::Replays;
pub use rights::RightsWatch;

pub struct Ingest {
    /// Where the log is read.
    pub database: Target,
    /// Where LISTEN is: a direct connection, where `database` goes through a pooler.
    pub listen: Target,
    pub wake: Wake,
    /// Between reads of a daemon that sleeps and is not woken.
    pub fallback: Duration,
    pub epoch_policy: EpochPolicy,
    pub hub: Hub,
    pub histories: Histories,
    pub rights: RightsWatch,
    pub observer: Observer,
    pub health: watch::Sender<Health>,
    /// For whoever has to read tokens.
    pub identity: watch::Sender<Option<Arc<Identity>>>,
    /// Beats while it goes on, the server's work included, and not while a read or the hub keeps it.
    pub pulse: Pulse,
}

impl Ingest {
    /// Follows the database through every loss of the connection, until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut progress = Progress::default();
        let mut attempt = 0;
        loop {
            let ended = self.follow(&mut progress, &mut attempt, &stop).await;
            self.rights.deaf();
            let error = match ended {
                Ok(Stopped) => return,
                Err(error) => error,
            };
            let refused = error.is_hopeless() && progress.epoch.is_none();
            self.report(&error, refused).await;
            let pause = sleep(backoff(attempt));
            if refused || stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
            attempt += 1;
        }
    }

    async fn follow(
        &self,
        progress: &mut Progress,
        attempt: &mut u32,
        stop: &CancellationToken,
    ) -> Result<Stopped, IngestError> {
        let connecting = Box::pin(self.connect(progress));
        let Some(connected) = stop.run_until_cancelled(connecting).await else {
            return Ok(Stopped);
        };
        let (mut listener, mut follower) = connected?;
        self.ready().await;
        *attempt = 0;
        let timeline = follower.identity.epoch().timeline;
        let following = async {
            tokio::select! {
                lost = follower.follow(&mut listener) => lost,
                superseded = self.watch_for_successor(timeline) => superseded,
            }
        };
        match stop.run_until_cancelled(following).await {
            Some(Err(error)) => Err(error),
            Some(Ok(never)) => match never {},
            // Whoever sleeps beside this node is woken and takes over at once.
            None => Ok(listener.release().await.map(|()| Stopped)?),
        }
    }

    /// LISTEN first, then read: what is committed after the read is announced, what was before is read.
    async fn connect<'a>(
        &'a self,
        progress: &'a mut Progress,
    ) -> Result<(Listener, Follower<'a>), IngestError> {
        let mut listener = Listener::connect(&self.listen).await?;
        let client = self.database.connect_spawned().await?;
        let prepared = timeout(PREPARATION, self.prepare(&mut listener, client)).await;
        let (log, identity) = prepared.map_err(|_| IngestError::Silent)??;
        self.identity.send_replace(Some(Arc::clone(&identity)));
        let mut follower = self.follower(log, identity, progress);
        follower.review_all(&listener).await?;
        follower.begin(&listener).await?;
        Ok((listener, follower))
    }

    async fn prepare(
        &self,
        listener: &mut Listener,
        client: Client,
    ) -> Result<(EventLog, Arc<Identity>), IngestError> {
        listener.prove(&client, &self.listen).await?;
        migrations::check(&client).await?;
        let identity = Identity::read(&client, self.epoch_policy).await.map_err(ReadError::from)?;
        let identity = Arc::new(identity);
        let log = EventLog::new(client, Arc::clone(&identity)).await?;
        log.check_own().await?;
        Ok((log, identity))
    }

    /// A primary that was cut off and replaced still answers; nothing committed there is of any worth.
    async fn watch_for_successor(&self, timeline: u32) -> Result<Infallible, IngestError> {
        loop {
            sleep(SUCCESSOR_LOOKED_FOR_EVERY).await;
            if self.listen.newest_timeline().await.is_some_and(|newest| newest > timeline) {
                return Err(IngestError::Superseded);
            }
        }
    }

    fn follower<'a>(
        &'a self,
        log: EventLog,
        identity: Arc<Identity>,
        progress: &'a mut Progress,
    ) -> Follower<'a> {
        let pace = Pace::new(self.wake, self.fallback, Instant::now().into_std());
        let (replays, checked) = (Replays::since(Arc::clone(log.opened())), Instant::now());
        Follower {
            hub: &self.hub,
            history: self.histories.of(Arc::clone(&identity)),
            rights: &self.rights,
            observer: &self.observer,
            pulse: &self.pulse,
            log,
            identity,
            progress,
            pace,
            replays,
            checked,
        }
    }

    async fn ready(&self) {
        let before = self.health.send_replace(Health::Ready);
        let again = matches!(before, Health::Degraded(..));
        self.observer.note(&Notice::Following { again });
        if again {
            self.hub.announce(SystemEvent::Recovered).await;
        }
    }

    async fn report(&self, error: &IngestError, refused: bool) {
        let cause = describe(error);
        if refused {
            self.health.send_replace(Health::Refused(cause));
            return;
        }
        let health = Health::Degraded(cause.clone(), error.told());
        let before = self.health.send_replace(health.clone());
        if before.is_ready() {
            self.hub.announce(SystemEvent::Degraded).await;
        }
        if before != health {
            self.observer.note(&Notice::Lost(&cause));
        }
    }
}

/// What is kept from one connection to the next.
#[derive(Default)]
struct Progress {
    epoch: Option<Epoch>,
    position: Option<Position>,
    /// Channels whose events are lost while nobody listens.
    unlogged: Vec<Template>,
}

struct Stopped;

#[derive(Debug, thiserror::Error)]
enum IngestError {
    #[error("the LISTEN connection was lost")]
    Lost,
    #[error("the server no longer answers: is something between here and there in the way?")]
    Silent,
    #[error("another server has taken over")]
    Superseded,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Schema(#[from] MigrateError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl IngestError {
    const fn told(&self) -> Told {
        match self {
            Self::Schema(_) | Self::Read(ReadError::Foreign) => Told::Schema,
            _ => Told::Away,
        }
    }

    /// Waiting will not mend it.
    const fn is_hopeless(&self) -> bool {
        matches!(self, Self::Listen(ListenError::Deaf(_)))
    }
}

/// The error and its causes in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Doubles from 50 ms to 5 s, with half of it left to chance, so that nodes don't come back in step.
fn backoff(attempt: u32) -> Duration {
    let ceiling = Duration::from_millis(50 << attempt.min(7)).min(Duration::from_secs(5));
    let mut random = [0u8; 2];
    // Without randomness the nodes come back in step, which is no reason to stop.
    let _ = aws_lc_rs::rand::fill(&mut random);
    ceiling / 2 + (ceiling / 2) * u32::from(u16::from_le_bytes(random)) / u32::from(u16::MAX)
}

/// A few small queries; a line that was cut in between answers none of them, ever.
const PREPARATION: Duration = Duration::from_secs(10);

const SUCCESSOR_LOOKED_FOR_EVERY: Duration = Duration::from_secs(5);

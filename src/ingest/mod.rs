//! Turns wake-ups into batches of events, in order.
//!
//! In: signals of `postgres::listener`. Out: batches to `hub`. Invariant: the position moves only over events that
//! were handed to the hub, and it survives the connection; what is committed while the database is out of reach
//! is read once it is back.

pub mod pace;
mod payload;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Client;

use crate::domain::event::Event;
use crate::domain::message::{ResetReason, SystemEvent};
use crate::domain::position::Position;
use crate::domain::template::Template;
use crate::hub::Hub;
use crate::lifecycle::Health;
use crate::postgres::connect::{ConnectError, Target};
use crate::postgres::event_log::{EventLog, ReadError, unlogged_token};
use crate::postgres::identity::{Epoch, Identity};
use crate::postgres::listener::{ListenError, Listener, Signal};
use crate::postgres::migrations::{self, MigrateError};
use pace::{Next, Pace, Wake};
use payload::Payload;

pub struct Ingest {
    /// Where the log is read.
    pub database: Target,
    /// Where LISTEN is: a direct connection, where `database` goes through a pooler.
    pub listen: Target,
    pub wake: Wake,
    /// Between reads of a daemon that sleeps and is not woken.
    pub fallback: Duration,
    pub hub: Hub,
    pub health: watch::Sender<Health>,
    /// For whoever has to read tokens.
    pub identity: watch::Sender<Option<Arc<Identity>>>,
}

impl Ingest {
    /// Follows the database for ever, through every loss of the connection.
    pub async fn run(self) -> Infallible {
        let mut progress = Progress::default();
        let mut attempt = 0;
        loop {
            let error = match self.follow(&mut progress, &mut attempt).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            self.report(&error).await;
            tokio::time::sleep(backoff(attempt)).await;
            attempt += 1;
        }
    }

    /// LISTEN first, then read: what is committed after the read is announced, what was before is read.
    async fn follow(
        &self,
        progress: &mut Progress,
        attempt: &mut u32,
    ) -> Result<Infallible, IngestError> {
        let mut listener = Listener::connect(&self.listen).await?;
        let client = self.database.connect_spawned().await?;
        migrations::check(&client).await?;
        let identity = Arc::new(Identity::read(&client).await.map_err(ReadError::from)?);
        self.identity.send_replace(Some(Arc::clone(&identity)));
        let mut follower = self.follower(client, identity, progress).await?;
        follower.read().await?;
        self.ready().await;
        *attempt = 0;
        follower.follow(&mut listener).await
    }

    async fn follower<'a>(
        &'a self,
        client: Client,
        identity: Arc<Identity>,
        progress: &'a mut Progress,
    ) -> Result<Follower<'a>, IngestError> {
        let epoch = identity.epoch();
        let log = EventLog::new(client, Arc::clone(&identity)).await?;
        if progress.epoch.is_some_and(|known| known != epoch) {
            progress.position = None;
            self.hub.forget(ResetReason::Epoch).await;
        }
        progress.epoch = Some(epoch);
        self.hub.reset_unlogged(std::mem::take(&mut progress.unlogged)).await;
        if progress.position.is_none() {
            let start = log.start().await?;
            progress.position = Some(start.position.clone());
            self.hub.publish(start).await;
        }
        let pace = Pace::new(self.wake, self.fallback);
        Ok(Follower { hub: &self.hub, log, identity, progress, pace, checked: Instant::now() })
    }

    async fn ready(&self) {
        let before = self.health.send_replace(Health::Ready);
        if matches!(before, Health::Degraded(_)) {
            tracing::info!("the database is back");
            self.hub.announce(SystemEvent::Recovered).await;
        }
    }

    async fn report(&self, error: &IngestError) {
        let cause = describe(error);
        let before = self.health.send_replace(Health::Degraded(cause.clone()));
        if before.is_ready() {
            self.hub.announce(SystemEvent::Degraded).await;
        }
        if before != Health::Degraded(cause.clone()) {
            tracing::warn!(%cause, "cannot follow the database; trying again");
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

/// Follows the log over one pair of connections.
struct Follower<'a> {
    hub: &'a Hub,
    log: EventLog,
    identity: Arc<Identity>,
    progress: &'a mut Progress,
    pace: Pace,
    /// When the watches were last asked whether some of them never notify.
    checked: Instant,
}

impl Follower<'_> {
    async fn follow(&mut self, listener: &mut Listener) -> Result<Infallible, IngestError> {
        self.check_watches().await?;
        let mut next = Next::Read { after: Duration::ZERO };
        loop {
            next = match next {
                Next::Read { after } => self.read_or_wake(listener, after).await?,
                Next::TryLock => self.pace.tried(listener.try_lock().await?),
                // Reading first would be as right, and later for whoever waits for the event.
                Next::Release => {
                    let (released, read) = tokio::join!(listener.release(), self.read());
                    released?;
                    self.pace.read(read?)
                }
            };
        }
    }

    async fn read_or_wake(
        &mut self,
        listener: &mut Listener,
        after: Duration,
    ) -> Result<Next, IngestError> {
        let due = Instant::now() + after;
        match timeout_at(due, listener.next()).await {
            Err(_due) => {
                if self.checked.elapsed() >= WATCHES_CHECKED_EVERY {
                    self.check_watches().await?;
                }
                let found = self.read().await?;
                Ok(self.pace.read(found))
            }
            Ok(Signal::Woken) => Ok(self.pace.woken()),
            Ok(Signal::Notified(payload)) => {
                self.take_payloads(listener, payload).await?;
                Ok(Next::Read { after: due.saturating_duration_since(Instant::now()) })
            }
            Ok(Signal::Overrun) => {
                tracing::warn!("notifications came faster than they could be taken; some are gone");
                self.hub.reset_unlogged(self.progress.unlogged.clone()).await;
                Ok(Next::Read { after })
            }
            Ok(Signal::Lost) => Err(IngestError::Lost),
        }
    }

    /// Reads what became visible since the position; whether that was anything.
    async fn read(&mut self) -> Result<bool, IngestError> {
        let position = self.progress.position.clone().ok_or(IngestError::Lost)?;
        let mut reading = if position.is_complete() {
            self.log.read_new(position.upto).await?
        } else {
            self.log.read_rest(&position).await?
        };
        if reading.is_pruned() {
            drop(reading);
            return self.start_over().await;
        }
        let found = !reading.is_empty();
        if !found && reading.moved_nothing() {
            return Ok(false);
        }
        loop {
            let batch = reading.next_batch().await?;
            let position = batch.position.clone();
            let is_last = position.is_complete();
            self.hub.publish(batch).await;
            self.progress.position = Some(position);
            if is_last {
                return Ok(found);
            }
        }
    }

    /// The log lost what this node had not read: it was away for longer than events are kept.
    async fn start_over(&mut self) -> Result<bool, IngestError> {
        tracing::warn!("the log was pruned past what this node had read; every client is told");
        self.hub.forget(ResetReason::Pruned).await;
        let start = self.log.start().await?;
        self.progress.position = Some(start.position.clone());
        self.hub.publish(start).await;
        Ok(true)
    }

    /// Delivers the notify-only events that have arrived, in their order.
    async fn take_payloads(
        &mut self,
        listener: &mut Listener,
        first: String,
    ) -> Result<(), IngestError> {
        let mut events = Vec::new();
        events.extend(self.unlogged(&first).await?);
        while let Some(payload) = listener.next_payload() {
            events.extend(self.unlogged(&payload).await?);
        }
        self.hub.publish_unlogged(events).await;
        Ok(())
    }

    async fn unlogged(&self, payload: &str) -> Result<Option<Event>, IngestError> {
        match payload::read(payload, self.identity.notify_key(), unlogged_token) {
            Ok(Payload::Event(event)) => Ok(Some(*event)),
            Ok(Payload::Parked { xid, id }) => Ok(self.log.parked(xid, id).await?),
            Err(error) => {
                tracing::debug!(%error, "ignored");
                Ok(None)
            }
        }
    }

    async fn check_watches(&mut self) -> Result<(), IngestError> {
        self.checked = Instant::now();
        let watches = self.log.watches().await?;
        self.pace.set_polled_tables(watches.polled);
        self.progress.unlogged = watches.unlogged;
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum IngestError {
    #[error("the LISTEN connection was lost")]
    Lost,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Schema(#[from] MigrateError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the sleeping lock")]
    Lock(#[from] tokio_postgres::Error),
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

/// A watch that starts to need polling is found by then; until then its changes come with the fallback poll.
const WATCHES_CHECKED_EVERY: Duration = Duration::from_secs(1);

//! Follows the log over one pair of connections, until one of them is lost.
//!
//! In: signals of the listener, batches of the log. Out: batches to the hub. Invariant: the position moves only over
//! events that were handed to the hub; no wait for the server is without an end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::pace::{Next, Pace, Seen};
use super::payload::{self, Payload};
use super::replays::Replays;
use super::{IngestError, Progress, RightsWatch};
use crate::domain::event::Event;
use crate::domain::message::ResetReason;
use crate::hub::{History, Hub};
use crate::lifecycle::Pulse;
use crate::postgres::event_log::{EventLog, ReadError, unlogged_token};
use crate::postgres::identity::Identity;
use crate::postgres::listener::{Listener, Signal};
use crate::telemetry::metrics::Observer;
use crate::telemetry::notice::{Notice, Source};

/// Follows the log over one pair of connections.
pub(super) struct Follower<'a> {
    pub(super) hub: &'a Hub,
    pub(super) rights: &'a RightsWatch,
    pub(super) observer: &'a Observer,
    pub(super) pulse: &'a Pulse,
    pub(super) log: EventLog,
    pub(super) identity: Arc<Identity>,
    /// What whoever resumes on this connection's server is given.
    pub(super) history: Arc<dyn History>,
    pub(super) progress: &'a mut Progress,
    pub(super) pace: Pace,
    /// The notify-only events of this connection.
    pub(super) replays: Replays,
    /// When the watches were last asked whether some of them never notify.
    pub(super) checked: Instant,
}

impl Follower<'_> {
    /// Goes on where the last connection ended, or begins with the recent past.
    pub(super) async fn begin(&mut self, listener: &Listener) -> Result<(), IngestError> {
        match self.progress.epoch {
            Some(known) if self.identity.continues(known) => {
                self.hub.go_on(Arc::clone(&self.history)).await;
                self.read(listener).await?;
            }
            Some(_) => self.start_over(listener, Some(ResetReason::Epoch)).await?,
            None => self.start_over(listener, None).await?,
        }
        // Not before: a beginning that fails has to be made again.
        self.progress.epoch = Some(self.identity.epoch());
        self.own_up().await
    }

    /// Events that no log holds may have been missed: of every watch that there was, or has been since.
    async fn own_up(&mut self) -> Result<(), IngestError> {
        let before = self.progress.unlogged.clone();
        self.check_watches().await?;
        let mut lost = self.progress.unlogged.clone();
        lost.extend(
            before.into_iter().filter(|template| !self.progress.unlogged.contains(template)),
        );
        self.hub.reset_unlogged(lost).await;
        Ok(())
    }

    /// A new beginning: the past goes to the hub's memory and to nobody else.
    async fn start_over(
        &mut self,
        listener: &Listener,
        reason: Option<ResetReason>,
    ) -> Result<(), IngestError> {
        let session = self.log.session();
        let start = patiently(listener, session, self.pulse, self.log.start()).await?;
        let mut position = start.position.clone();
        let mut past = vec![start];
        let mut reading =
            patiently(listener, session, self.pulse, self.log.read(&position)).await?;
        while reading.goes_on(&position) {
            let batch = patiently(listener, session, self.pulse, reading.next_batch()).await?;
            position = batch.position.clone();
            past.push(batch);
        }
        drop(reading);
        self.hub.begin(past, Arc::clone(&self.history), reason).await;
        self.progress.position = Some(position);
        Ok(())
    }

    pub(super) async fn follow(
        &mut self,
        listener: &mut Listener,
    ) -> Result<Infallible, IngestError> {
        let mut next = Next::Read { after: Duration::ZERO };
        let mut mode = None;
        loop {
            if mode != Some(self.pace.mode()) {
                mode = Some(self.pace.mode());
                self.observer.note(&Notice::Mode(self.pace.mode()));
            }
            self.pulse.beat();
            next = match next {
                Next::Read { after } => match self.wait(listener, after).await? {
                    Waited::Due => self.read_when_due(listener).await?,
                    Waited::Told(next) => next,
                    Waited::Interrupted { left } => Next::Read { after: left },
                },
                Next::TryLock { after } => match self.wait(listener, after).await? {
                    Waited::Due => self.pace.tried(listener.try_lock().await?),
                    Waited::Told(next) => next,
                    Waited::Interrupted { left } => Next::TryLock { after: left },
                },
                Next::Release => {
                    listener.release().await?;
                    self.pace.released(now())
                }
            };
        }
    }

    /// Until the time has passed or the database says something.
    async fn wait(
        &mut self,
        listener: &mut Listener,
        after: Duration,
    ) -> Result<Waited, IngestError> {
        let due = Instant::now() + after;
        let signal = match listener.next().now_or_never() {
            Some(signal) => Ok(signal),
            // A timer of no time takes a millisecond.
            None if after.is_zero() => return Ok(Waited::Due),
            None => timeout_at(due, listener.next()).await,
        };
        match signal {
            Err(_due) => return Ok(Waited::Due),
            Ok(Signal::Woken) => return Ok(Waited::Told(self.pace.woken())),
            Ok(Signal::Released) => return Ok(Waited::Told(self.pace.heard_release(now()))),
            Ok(Signal::Lost) => return Err(IngestError::Lost),
            Ok(Signal::RightsChanged) => self.review(listener).await?,
            Ok(Signal::Notified(payload)) => self.take_payloads(listener, payload).await?,
            Ok(Signal::Overrun) => {
                self.observer.note(&Notice::Overrun);
                self.own_up().await?;
            }
        }
        Ok(Waited::Interrupted { left: due.saturating_duration_since(Instant::now()) })
    }

    async fn read_when_due(&mut self, listener: &Listener) -> Result<Next, IngestError> {
        let seen = self.read(listener).await?;
        // Behind the read: somebody may wait for what that finds.
        if self.checked.elapsed() >= WATCHES_CHECKED_EVERY {
            self.check_watches().await?;
        }
        Ok(self.pace.read(seen, now()))
    }

    /// Reads what became visible since the position.
    pub(super) async fn read(&mut self, listener: &Listener) -> Result<Seen, IngestError> {
        let position = self.progress.position.clone().ok_or(IngestError::Lost)?;
        let session = self.log.session();
        let mut reading =
            patiently(listener, session, self.pulse, self.log.read(&position)).await?;
        if reading.is_pruned() {
            drop(reading);
            self.observer.note(&Notice::Overtaken);
            self.start_over(listener, Some(ResetReason::Pruned)).await?;
            return Ok(Seen::default());
        }
        if !reading.is_empty() && self.rights.is_asked() {
            // Whoever lost a right before one of these was committed is not to get it.
            listener.catch_up().await?;
            self.review(listener).await?;
        }
        let mut position = position;
        while reading.goes_on(&position) {
            let batch = patiently(listener, session, self.pulse, reading.next_batch()).await?;
            position = batch.position.clone();
            self.note_read(Source::Log, batch.events.len(), batch.events.last().map(Arc::as_ref));
            self.hub.publish(batch).await;
            self.pulse.beat();
            self.progress.position = Some(position.clone());
        }
        Ok(Seen { transactions: reading.transactions(), writing: reading.writing() })
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
        self.note_read(Source::Notification, events.len(), events.last());
        self.hub.publish_unlogged(events).await;
        Ok(())
    }

    async fn unlogged(&mut self, payload: &str) -> Result<Option<Event>, IngestError> {
        match payload::read(payload, self.identity.notify_key(), unlogged_token) {
            Ok(Payload { xid, id, .. }) if !self.replays.is_new(xid, id) => {
                self.observer.note(&Notice::PayloadIgnored(&"it was sent before"));
                Ok(None)
            }
            Ok(Payload { event: Some(event), .. }) => Ok(Some(*event)),
            Ok(Payload { xid, id, event: None }) => Ok(self.log.parked(xid, id).await?),
            Err(error) => {
                self.observer.note(&Notice::PayloadIgnored(&error));
                Ok(None)
            }
        }
    }

    /// All rights, because what was said of them was not heard until now.
    pub(super) async fn review_all(&self, listener: &Listener) -> Result<(), IngestError> {
        Ok(self.rights.begin(self.hub, listener).await?)
    }

    async fn review(&self, listener: &Listener) -> Result<(), IngestError> {
        let changed = listener.take_rights();
        Ok(self.rights.change(self.hub, listener, changed).await?)
    }

    fn note_read(&self, source: Source, events: usize, newest: Option<&Event>) {
        let captured = newest.and_then(|event| humantime::parse_rfc3339(&event.at).ok());
        let age = captured.and_then(|at| SystemTime::now().duration_since(at).ok());
        self.observer.note(&Notice::Read { source, events, age });
    }

    async fn check_watches(&mut self) -> Result<(), IngestError> {
        self.checked = Instant::now();
        let watches =
            timeout(SILENCE, self.log.watches()).await.map_err(|_| IngestError::Silent)??;
        self.pace.set_polled_tables(watches.polled);
        self.progress.unlogged = watches.unlogged;
        Ok(())
    }
}

enum Waited {
    Due,
    /// What it said leads to this.
    Told(Next),
    /// By what has been dealt with; so much of the time is left.
    Interrupted {
        left: Duration,
    },
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// A large transaction takes the server long to sort; a connection that nobody is at the other end of takes for
/// ever. The connection that listens can tell which it is.
async fn patiently<T>(
    listener: &Listener,
    session: i32,
    pulse: &Pulse,
    read: impl Future<Output = Result<T, ReadError>>,
) -> Result<T, IngestError> {
    let mut read = pin!(read);
    loop {
        pulse.beat();
        if let Ok(done) = timeout(SILENCE, &mut read).await {
            return Ok(done?);
        }
        if !listener.is_at_work(session).await? {
            return Err(IngestError::Silent);
        }
    }
}

/// A watch that starts to need polling is found by then; until then its changes come with the fallback poll.
const WATCHES_CHECKED_EVERY: Duration = Duration::from_secs(10);

const SILENCE: Duration = Duration::from_secs(3);

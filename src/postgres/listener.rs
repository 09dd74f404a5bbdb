//! The one LISTEN connection.
//!
//! In: notifications. Out: [`Signal`]s. Invariant: the task that reads the socket does nothing else and waits for
//! nothing else, so that the server's notification queue never fills behind this daemon; and nothing is parsed here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, mpsc};
use tokio_postgres::{AsyncMessage, Client};

use super::connect::{ConnectError, Connection, Target};

pub struct Listener {
    client: Client,
    shared: Arc<Shared>,
    payloads: mpsc::Receiver<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Signal {
    /// Something was committed.
    Woken,
    /// An event of a notify-only watch.
    Notified(String),
    /// Payloads came faster than they were taken; some are gone.
    Overrun,
    /// The connection is gone.
    Lost,
}

#[derive(Default)]
struct Shared {
    changed: Notify,
    woken: AtomicBool,
    overrun: AtomicBool,
    lost: AtomicBool,
}

impl Listener {
    /// Connects and listens. What is committed after this returns is signalled.
    pub async fn connect(target: &Target) -> Result<Self, ListenError> {
        let (client, connection) = target.connect().await?;
        let shared = Arc::new(Shared::default());
        let (sender, payloads) = mpsc::channel(WAITING_PAYLOADS);
        tokio::spawn(read(connection, Arc::clone(&shared), sender));
        client.batch_execute(LISTEN).await?;
        Ok(Self { client, shared, payloads })
    }

    /// Waits for the next signal. Any number of wake-ups is one.
    pub async fn next(&mut self) -> Signal {
        loop {
            let changed = self.shared.changed.notified();
            if let Some(signal) = Self::poll(&self.shared, &mut self.payloads) {
                return signal;
            }
            changed.await;
        }
    }

    /// A payload that has already arrived.
    pub fn next_payload(&mut self) -> Option<String> {
        self.payloads.try_recv().ok()
    }

    /// Tries for the lock that tells writers to notify. Never waits for it: a waiting lock would hold up writers.
    pub async fn try_lock(&self) -> Result<bool, tokio_postgres::Error> {
        self.client.query_one(TRY_LOCK, &[&WAKE_LOCK]).await?.try_get(0)
    }

    pub async fn release(&self) -> Result<(), tokio_postgres::Error> {
        self.client.execute(RELEASE, &[&WAKE_LOCK]).await.map(drop)
    }

    fn poll(shared: &Shared, payloads: &mut mpsc::Receiver<String>) -> Option<Signal> {
        let take = |flag: &AtomicBool| flag.swap(false, Ordering::AcqRel);
        if let Ok(payload) = payloads.try_recv() {
            return Some(Signal::Notified(payload));
        }
        if take(&shared.overrun) {
            return Some(Signal::Overrun);
        }
        if take(&shared.woken) {
            return Some(Signal::Woken);
        }
        shared.lost.load(Ordering::Acquire).then_some(Signal::Lost)
    }
}

async fn read(mut connection: Connection, shared: Arc<Shared>, payloads: mpsc::Sender<String>) {
    while let Some(Ok(message)) = connection.next_message().await {
        if let AsyncMessage::Notification(notification) = message {
            if notification.payload().is_empty() {
                shared.woken.store(true, Ordering::Release);
            } else if payloads.try_send(notification.payload().to_owned()).is_err() {
                shared.overrun.store(true, Ordering::Release);
            }
            shared.changed.notify_one();
        }
    }
    shared.lost.store(true, Ordering::Release);
    shared.changed.notify_one();
}

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("LISTEN was refused")]
    Listen(#[from] tokio_postgres::Error),
}

/// Held while the daemon sleeps; the letters `rowcast` as a number. The capture functions know it too.
pub const WAKE_LOCK: i64 = i64::from_be_bytes(*b"\0rowcast");

const LISTEN: &str = "listen rowcast";
const TRY_LOCK: &str = "select pg_try_advisory_lock($1)";
const RELEASE: &str = "select pg_advisory_unlock($1)";

/// Payloads are under 8 kB each (PostgreSQL manual, NOTIFY), so this is 32 MB at most.
const WAITING_PAYLOADS: usize = 4096;

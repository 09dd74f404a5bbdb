//! The one LISTEN connection.
//!
//! In: notifications. Out: [`Signal`]s. Invariant: the task that reads the socket does nothing else and waits for
//! nothing else, so that the server's notification queue never fills behind this daemon; nothing is parsed here; and
//! a connection that has gone silent is noticed by its heartbeat.

mod proof;

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client};

use super::connect::{ConnectError, Connection, Target};
use super::error;
use super::revocations::{self, Horizon, Revocation};
use crate::domain::rights::Whose;

pub struct Listener {
    client: Arc<Client>,
    shared: Arc<Shared>,
    payloads: mpsc::Receiver<String>,
    /// Payloads that came while the way of notifications was proved.
    early: VecDeque<String>,
    /// Whether others can see that this node may sleep beside the one that holds the lock.
    is_beside: bool,
    heartbeat: JoinHandle<()>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Signal {
    /// Something was committed.
    Woken,
    /// A node has released the lock that tells writers to notify.
    Released,
    /// An event of a notify-only watch.
    Notified(String),
    /// Payloads came faster than they were taken; some are gone.
    Overrun,
    /// Rights have changed; [`Listener::take_rights`] says whose.
    RightsChanged,
    /// The connection is gone.
    Lost,
}

/// Who holds the lock that tells writers to notify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// This node, from now on.
    Mine,
    /// Another node: writers notify, and this one hears it too.
    Anothers,
    /// Nobody may: a transaction that saw everybody awake is still open.
    Free,
}

#[derive(Default)]
struct Shared {
    changed: Notify,
    woken: AtomicBool,
    released: AtomicBool,
    overrun: AtomicBool,
    lost: AtomicBool,
    rights: Mutex<RightsChanged>,
}

/// What was said of rights since somebody asked.
#[derive(Debug, Default)]
pub struct RightsChanged {
    /// Whose the application's function may judge differently now.
    pub judged: HashSet<Whose>,
    /// Whether `rowcast.revoke` was called.
    pub revoked: bool,
}

impl Listener {
    /// Connects and listens. What is committed after this returns is signalled.
    pub async fn connect(target: &Target) -> Result<Self, ListenError> {
        let (client, connection) = target.connect().await?;
        let shared = Arc::new(Shared::default());
        let (sender, payloads) = mpsc::channel(WAITING_PAYLOADS);
        tokio::spawn(read(connection, Arc::clone(&shared), sender));
        timeout(LISTENING, listen(&client)).await.map_err(|_| ListenError::Silent)??;
        let client = Arc::new(client);
        let heartbeat = tokio::spawn(beat(Arc::clone(&client), Arc::clone(&shared)));
        let early = VecDeque::new();
        Ok(Self { client, shared, payloads, early, is_beside: false, heartbeat })
    }

    /// Waits for the next signal. Any number of wake-ups is one.
    pub async fn next(&mut self) -> Signal {
        loop {
            let changed = self.shared.changed.notified();
            if let Some(payload) = self.early.pop_front() {
                return Signal::Notified(payload);
            }
            if let Some(signal) = Self::poll(&self.shared, &mut self.payloads) {
                return signal;
            }
            changed.await;
        }
    }

    /// Waits until what was said before now has been heard.
    pub async fn catch_up(&self) -> Result<(), ListenError> {
        let answer = timeout(SILENCE, self.client.simple_query("")).await;
        answer.map_err(|_| ListenError::Silent)?.map(drop).map_err(Into::into)
    }

    /// What was said of rights since the last call.
    pub fn take_rights(&self) -> RightsChanged {
        std::mem::take(&mut *self.shared.rights())
    }

    /// What `rowcast.revoke` said since.
    pub async fn revocations(
        &self,
        since: &Horizon,
    ) -> Result<(Vec<Revocation>, Horizon), ListenError> {
        let read = revocations::read(&self.client, since);
        Ok(timeout(SILENCE, read).await.map_err(|_| ListenError::Silent)??)
    }

    /// A payload that has already arrived.
    pub fn next_payload(&mut self) -> Option<String> {
        self.early.pop_front().or_else(|| self.payloads.try_recv().ok())
    }

    /// Tries for the lock that tells writers to notify. Never waits for it: a waiting lock would hold up writers.
    pub async fn try_lock(&mut self) -> Result<Lock, ListenError> {
        if self.ask(TRY_LOCK, WAKE_LOCK, Type::INT8).await? {
            return Ok(Lock::Mine);
        }
        // First be seen, then look: whoever releases the lock looks for those beside it afterwards.
        if !self.is_beside {
            self.is_beside = self.ask(TRY_BESIDE, BESIDE_LOCK, Type::INT8).await?;
        }
        let is_free = self.ask(TRY_SHARED, WAKE_LOCK, Type::INT8).await?;
        Ok(if is_free || !self.is_beside { Lock::Free } else { Lock::Anothers })
    }

    /// Releases the lock, and tells those that sleep beside it.
    pub async fn release(&self) -> Result<(), ListenError> {
        let release = self.client.batch_execute(RELEASE);
        Ok(timeout(SILENCE, release).await.map_err(|_| ListenError::Silent)??)
    }

    /// Whether the server is still at work for another session, however long that takes.
    pub async fn is_at_work(&self, session: i32) -> Result<bool, ListenError> {
        self.ask(IS_AT_WORK, session, Type::INT4).await
    }

    /// In one round trip: nothing is prepared for it.
    async fn ask<P: ToSql + Sync>(
        &self,
        query: &str,
        parameter: P,
        kind: Type,
    ) -> Result<bool, ListenError> {
        let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&parameter, kind)];
        let answer = self.client.query_typed_one(query, &parameters);
        let row = timeout(SILENCE, answer).await.map_err(|_| ListenError::Silent)??;
        Ok(row.try_get(0)?)
    }

    fn poll(shared: &Shared, payloads: &mut mpsc::Receiver<String>) -> Option<Signal> {
        let take = |flag: &AtomicBool| flag.swap(false, Ordering::AcqRel);
        if let Ok(payload) = payloads.try_recv() {
            return Some(Signal::Notified(payload));
        }
        if take(&shared.overrun) {
            return Some(Signal::Overrun);
        }
        if shared.rights().is_something() {
            return Some(Signal::RightsChanged);
        }
        if take(&shared.released) {
            return Some(Signal::Released);
        }
        if take(&shared.woken) {
            return Some(Signal::Woken);
        }
        shared.lost.load(Ordering::Acquire).then_some(Signal::Lost)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It holds the client, whose end is what ends the session.
        self.heartbeat.abort();
    }
}

/// Servers older than 14.21, 15.16, 16.12, 17.8 and 18.2 may refuse the first LISTEN while the notification queue
/// holds something of a transaction whose status was cleaned up; asking how full the queue is moves it on.
async fn listen(client: &Client) -> Result<(), ListenError> {
    match client.batch_execute(LISTEN).await {
        Err(error) if error::explain(&error).contains("could not access status of transaction") => {
            client.batch_execute(ADVANCE_QUEUE).await?;
            Ok(client.batch_execute(LISTEN).await?)
        }
        result => Ok(result?),
    }
}

async fn read(mut connection: Connection, shared: Arc<Shared>, payloads: mpsc::Sender<String>) {
    while let Some(Ok(message)) = connection.next_message().await {
        if let AsyncMessage::Notification(notification) = message {
            match (notification.channel(), notification.payload()) {
                ("rowcast_authorize", user) => shared.rights().judge_anew(user),
                ("rowcast_revoke", _) => shared.rights().revoked = true,
                ("rowcast_awake", _) => shared.released.store(true, Ordering::Release),
                (_, "") => shared.woken.store(true, Ordering::Release),
                (_, payload) if payloads.try_send(payload.to_owned()).is_ok() => {}
                _ => shared.overrun.store(true, Ordering::Release),
            }
            shared.changed.notify_one();
        }
    }
    shared.lose();
}

/// The server answers every second, or the connection counts as lost: TCP alone takes minutes to notice that
/// nobody is at the other end, and never notices a proxy that holds the line.
async fn beat(client: Arc<Client>, shared: Arc<Shared>) {
    while let Ok(Ok(_)) = timeout(SILENCE, client.simple_query("")).await {
        sleep(HEARTBEAT).await;
    }
    shared.lose();
}

impl RightsChanged {
    /// An empty payload means everyone.
    fn judge_anew(&mut self, user: &str) {
        if user.is_empty() || self.judged.len() >= MOST_USERS {
            self.judged.clear();
            self.judged.insert(Whose::Everyone);
        } else if !self.judged.contains(&Whose::Everyone) {
            self.judged.insert(Whose::User(user.into()));
        }
    }

    fn is_something(&self) -> bool {
        self.revoked || !self.judged.is_empty()
    }
}

impl Shared {
    fn rights(&self) -> MutexGuard<'_, RightsChanged> {
        self.rights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.changed.notify_one();
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the LISTEN connection")]
    Postgres(#[from] tokio_postgres::Error),
    #[error(
        "the LISTEN connection is silent: is something between here and the server in the way?"
    )]
    Silent,
    #[error(
        "LISTEN at {0} hears nothing: a pooler in transaction mode, such as PgBouncer, is in the way; set database.listen_url to a connection that goes straight to PostgreSQL"
    )]
    Deaf(String),
}

/// Held while the daemon sleeps; the letters `rowcast` as a number. The capture functions know it too.
pub const WAKE_LOCK: i64 = i64::from_be_bytes(*b"\0rowcast");

/// Held in shared mode by every node that may sleep beside the one that holds [`WAKE_LOCK`].
const BESIDE_LOCK: i64 = WAKE_LOCK + 1;

const LISTEN: &str = "\
listen rowcast; listen rowcast_awake; listen rowcast_authorize; listen rowcast_revoke";
const ADVANCE_QUEUE: &str = "select pg_notification_queue_usage()";
const TRY_LOCK: &str = "select pg_try_advisory_lock($1)";
const TRY_BESIDE: &str = "select pg_try_advisory_lock_shared($1)";
const TRY_SHARED: &str = "select pg_try_advisory_xact_lock_shared($1)";

/// Two statements: the lock is free before anybody is looked for.
const RELEASE: &str = "\
select pg_advisory_unlock(32210705904137076);
select pg_notify('rowcast_awake', '')
 where not pg_try_advisory_xact_lock(32210705904137077)";

const IS_AT_WORK: &str = "\
select exists (select
                 from pg_stat_activity
                where pid = $1
                  and state = 'active')";

/// More at a time than this are everyone.
const MOST_USERS: usize = 256;

/// Payloads are under 8 kB each (PostgreSQL manual, NOTIFY), so this is 32 MB at most.
const WAITING_PAYLOADS: usize = 4096;

/// Behind a long notification queue the first LISTEN has taken three seconds.
const LISTENING: Duration = Duration::from_secs(10);

const HEARTBEAT: Duration = Duration::from_secs(1);

/// With the heartbeat's interval, a line that is dead is noticed within three seconds.
const SILENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_that_releases_names_both_locks() {
        assert!(RELEASE.contains(&WAKE_LOCK.to_string()));
        assert!(RELEASE.contains(&BESIDE_LOCK.to_string()));
    }
}

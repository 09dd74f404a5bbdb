//! The past of channels, for clients that come back.
//!
//! In: requests of the hub. Out: pages of the log. Invariant: no transaction and no connection is held while a client
//! takes its time, and a page is complete or refused: what was pruned is never passed over in silence.

use std::sync::{Arc, Mutex};

use deadpool_postgres::{Object, Pool};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::domain::message::ResetReason;
use crate::domain::past::{Page, Start, Survey};
use crate::domain::position::Position;
use crate::hub::{History, Request};
use crate::postgres::identity::{Epoch, Identity, TokenError};
use crate::postgres::replay_log::{ReplayError, ReplayLog};
use crate::telemetry::metrics::Observer;
use crate::telemetry::notice::Notice;

/// Reads the log for those whom the hub's memory does not reach back for.
#[derive(Clone)]
pub struct LogHistory {
    pool: Pool,
    identity: watch::Receiver<Option<Arc<Identity>>>,
    /// The epoch that the pool's connections belong to.
    epoch: Arc<Mutex<Option<Epoch>>>,
    /// Bounds the reads at one time, so that a crowd that comes back leaves the database to others.
    turns: Arc<Semaphore>,
    observer: Observer,
    /// Where the pool's connections live; whoever asks may live elsewhere.
    runtime: Handle,
}

impl LogHistory {
    pub fn new(
        pool: Pool,
        identity: watch::Receiver<Option<Arc<Identity>>>,
        observer: Observer,
    ) -> Self {
        let turns = Arc::new(Semaphore::new(pool.status().max_size.div_ceil(2)));
        Self { pool, identity, epoch: Arc::default(), turns, observer, runtime: Handle::current() }
    }

    /// The position an event id stands for.
    pub fn position(&self, id: &str) -> Result<Position, ResetReason> {
        if id.starts_with("n.") {
            return Err(ResetReason::NotLogged);
        }
        let identity = self.identity.borrow().clone().ok_or(ResetReason::Epoch)?;
        identity.position(id).map_err(|error| match error {
            TokenError::Unreadable => ResetReason::BadPosition,
            TokenError::OtherEpoch => ResetReason::Epoch,
        })
    }

    async fn answer(self, request: Request) {
        let page = match self.page(&request).await {
            Ok(page) => Ok(page),
            Err(ReplayError::Pruned) => Err(ResetReason::Pruned),
            Err(error) => {
                self.observer.note(&Notice::HistoryUnread(&error));
                Err(ResetReason::Unavailable)
            }
        };
        request.reply.page(page).await;
    }

    async fn page(&self, request: &Request) -> Result<(Page, Option<Survey>), ReplayError> {
        let identity = self.identity.borrow().clone().ok_or(ReplayError::NoIdentity)?;
        let _turn = self.turns.acquire().await;
        let client = self.client(&identity).await?;
        let log = ReplayLog::new(&client, &identity, &request.wanted);
        match &request.start {
            Start::Newest(count) => {
                let page = log.newest(*count, &request.upto).await?;
                let events = page.events.iter().map(|event| request.wanted.channels(event).count());
                let messages = events.sum::<usize>() as u64;
                Ok((page, Some(Survey { messages, only: None })))
            }
            Start::Behind(position) => {
                let survey = match request.survey {
                    Some(compact) => Some(log.survey(position, &request.upto, compact).await?),
                    None => None,
                };
                let page = log.page(position, &request.upto).await?;
                log.check_floor(position).await?;
                Ok((page, survey))
            }
        }
    }
}

impl LogHistory {
    /// A connection to the server that is followed now; those to one that it has replaced are given up.
    async fn client(&self, identity: &Identity) -> Result<Object, ReplayError> {
        let known = self.epoch.lock().ok().and_then(|mut known| known.replace(identity.epoch()));
        if known != Some(identity.epoch()) {
            self.pool.retain(|_, _| false);
        }
        Ok(self.pool.get().await?)
    }
}

impl History for LogHistory {
    fn read(&self, request: Request) {
        self.runtime.spawn(self.clone().answer(request));
    }

    fn id(&self, position: &Position) -> Option<Box<str>> {
        let identity = self.identity.borrow().clone()?;
        Some(identity.tokens(&position.before, &position.upto).behind(position.last))
    }
}

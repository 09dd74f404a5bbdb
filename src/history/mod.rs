//! The past of channels, for clients that come back.
//!
//! In: requests of the hub. Out: pages of the log, and for a crowd whole stretches of it. Invariant: no transaction and
//! no connection is held while a client takes its time, and a page is complete or refused: what was pruned is never
//! passed over in silence.

mod shared;

use std::sync::{Arc, Mutex};

use deadpool_postgres::{Object, Pool};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::domain::message::ResetReason;
use crate::domain::past::{Backfill, Page, Start, Survey};
use crate::domain::position::Position;
use crate::hub::{BackfillRequest, History, Question, Request};
use crate::postgres::backfill;
use crate::postgres::identity::{Epoch, Identity, TokenError};
use crate::postgres::replay_log::{ReplayError, ReplayLog};
use crate::telemetry::metrics::Observer;
use crate::telemetry::notice::Notice;
use shared::Asked;

/// Reads the log for those whom the hub's memory does not reach back for.
#[derive(Clone)]
pub struct LogHistory {
    pool: Pool,
    identity: watch::Receiver<Option<Arc<Identity>>>,
    /// The epoch that the pool's connections belong to.
    epoch: Arc<Mutex<Option<Epoch>>>,
    /// Bounds the reads at one time, so that a crowd that comes back leaves the database to others.
    turns: Arc<Semaphore>,
    asked: Asked,
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
        let (epoch, asked, runtime) = (Arc::default(), Asked::default(), Handle::current());
        Self { pool, identity, epoch, turns, asked, observer, runtime }
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

    async fn answer(self, question: Question) {
        let page = self.page(&question).await.map_err(|error| self.reason(&error));
        for reply in self.asked.take(&question) {
            reply.page(page.clone()).await;
        }
    }

    async fn answer_crowd(self, request: BackfillRequest) {
        let backfill = self.stretch(&request).await.map_err(|error| self.reason(&error));
        request.reply.backfill(backfill).await;
    }

    /// What a client is told.
    fn reason(&self, error: &ReplayError) -> ResetReason {
        if matches!(error, ReplayError::Pruned) {
            return ResetReason::Pruned;
        }
        self.observer.note(&Notice::HistoryUnread(error));
        ResetReason::Unavailable
    }

    async fn page(&self, question: &Question) -> Result<(Page, Option<Survey>), ReplayError> {
        let identity = self.identity.borrow().clone().ok_or(ReplayError::NoIdentity)?;
        let _turn = self.turns.acquire().await;
        let client = self.client(&identity).await?;
        let Question { wanted, start, upto, survey } = question;
        let log = ReplayLog::new(&client, &identity, wanted);
        match start {
            Start::Newest(count) => {
                let page = log.newest(*count, upto).await?;
                let messages = wanted.messages(&page.events);
                Ok((page, Some(Survey { messages, only: None })))
            }
            Start::Behind(position) => {
                let page = log.page(position, upto).await?;
                let survey = match survey {
                    None => None,
                    // What is there in all is what is on the page.
                    Some(compact) if page.position.includes(upto) => {
                        Some(Survey::of(&page.events, wanted, *compact, &page.position))
                    }
                    Some(compact) => Some(log.survey(position, upto, *compact).await?),
                };
                log.check_floor(position).await?;
                Ok((page, survey))
            }
        }
    }

    async fn stretch(&self, request: &BackfillRequest) -> Result<Backfill, ReplayError> {
        let identity = self.identity.borrow().clone().ok_or(ReplayError::NoIdentity)?;
        let _turn = self.turns.acquire().await;
        let mut client = self.client(&identity).await?;
        let BackfillRequest { from, upto, room, .. } = request;
        backfill::read(&mut client, &identity, from, upto, *room).await
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
        let Request { question, reply } = request;
        if self.asked.add(&question, reply) {
            self.runtime.spawn(self.clone().answer(question));
        }
    }

    fn backfill(&self, request: BackfillRequest) {
        self.runtime.spawn(self.clone().answer_crowd(request));
    }

    fn id(&self, position: &Position) -> Option<Box<str>> {
        let identity = self.identity.borrow().clone()?;
        Some(identity.tokens(&position.before, &position.upto).behind(position.last))
    }
}

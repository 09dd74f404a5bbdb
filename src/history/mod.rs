//! The past of channels, for clients that come back.
//!
//! In: requests of the hub. Out: pages of the log, and for a crowd whole stretches of it. Invariant: no transaction and
//! no connection is held while a client takes its time, and a page is complete or refused: what was pruned is never
//! passed over in silence. A history is one epoch's, so that no place of another one is ever taken for one of its own.

mod shared;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::domain::message::ResetReason;
use crate::domain::past::{Backfill, Page, Start, Survey};
use crate::domain::position::Position;
use crate::hub::{BackfillRequest, History, Question, Request};
use crate::postgres::backfill;
use crate::postgres::identity::{Identity, TokenError};
use crate::postgres::pool::Pool;
use crate::postgres::replay_log::{ReplayError, ReplayLog};
use crate::telemetry::metrics::Observer;
use crate::telemetry::notice::Notice;
use shared::Asked;

/// What the histories of all epochs share.
#[derive(Clone)]
pub struct Histories {
    pool: Pool,
    /// Bounds the reads at one time, so that a crowd that comes back leaves the database to others.
    turns: Arc<Semaphore>,
    observer: Observer,
    /// Where the pool's connections live; whoever asks may live elsewhere.
    runtime: Handle,
}

impl Histories {
    pub fn new(pool: Pool, observer: Observer) -> Self {
        let turns = Arc::new(Semaphore::new(pool.max_size().div_ceil(2)));
        Self { pool, turns, observer, runtime: Handle::current() }
    }

    /// The history of the server that has just been connected to; who asks anything else of the pool asks it too.
    pub fn of(&self, identity: Arc<Identity>) -> Arc<dyn History> {
        self.pool.renew();
        Arc::new(LogHistory { shared: self.clone(), identity, asked: Asked::default() })
    }
}

/// Reads the log for those whom the hub's memory does not reach back for.
#[derive(Clone)]
struct LogHistory {
    shared: Histories,
    identity: Arc<Identity>,
    asked: Asked,
}

impl LogHistory {
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
        self.shared.observer.note(&Notice::HistoryUnread(error));
        ResetReason::Unavailable
    }

    async fn page(&self, question: &Question) -> Result<(Page, Option<Survey>), ReplayError> {
        let _turn = self.shared.turns.acquire().await;
        let client = self.shared.pool.get().await?;
        let Question { wanted, start, upto, survey } = question;
        let log = ReplayLog::new(&client, &self.identity, wanted);
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
        let _turn = self.shared.turns.acquire().await;
        let mut client = self.shared.pool.get().await?;
        let BackfillRequest { from, upto, room, .. } = request;
        backfill::read(&mut client, &self.identity, from, upto, *room).await
    }
}

impl History for LogHistory {
    fn read(&self, request: Request) {
        let Request { question, reply } = request;
        if self.asked.add(&question, reply) {
            self.shared.runtime.spawn(self.clone().answer(question));
        }
    }

    fn backfill(&self, request: BackfillRequest) {
        self.shared.runtime.spawn(self.clone().answer_crowd(request));
    }

    fn position(&self, id: &str) -> Result<Position, ResetReason> {
        if id.starts_with("n.") {
            return Err(ResetReason::NotLogged);
        }
        self.identity.position(id).map_err(|error| match error {
            TokenError::Unreadable => ResetReason::BadPosition,
            TokenError::OtherEpoch => ResetReason::Epoch,
        })
    }

    fn id(&self, position: &Position) -> Box<str> {
        self.identity.tokens(&position.before, &position.upto).behind(position.last)
    }
}

//! The past of a channel, for clients that come back.
//!
//! In: the position a client names. Out: what it has not seen, from the log, page by page at the client's own pace.
//! Invariant: no transaction and no connection is held while a client takes its time.

use std::sync::Arc;

use deadpool_postgres::Pool;
use tokio::sync::{Semaphore, watch};

use crate::domain::message::ResetReason;
use crate::domain::position::Position;
use crate::hub::{CatchUp, History};
use crate::postgres::identity::{Identity, TokenError};
use crate::postgres::replay_log::{Page, ReplayError, Wanted, count, read_page};

/// Reads the log for those whom the hub's memory does not reach back for.
#[derive(Clone)]
pub struct LogHistory {
    pool: Pool,
    identity: watch::Receiver<Option<Arc<Identity>>>,
    /// Bounds the reads at one time, so that a crowd that comes back leaves the database to others.
    turns: Arc<Semaphore>,
}

impl LogHistory {
    pub fn new(pool: Pool, identity: watch::Receiver<Option<Arc<Identity>>>) -> Self {
        let turns = Arc::new(Semaphore::new(pool.status().max_size.div_ceil(2)));
        Self { pool, identity, turns }
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

    async fn run(self, mut request: CatchUp) {
        match self.replay(&mut request).await {
            Ok(true) => request.replay.finish(request.upto).await,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "the log could not be read for a client that came back");
                request.replay.refuse(ResetReason::Unavailable).await;
            }
        }
    }

    /// `false` once nobody waits for it any more.
    async fn replay(&self, request: &mut CatchUp) -> Result<bool, ReplayError> {
        let identity = self.identity.borrow().clone().ok_or(ReplayError::NoIdentity)?;
        let wanted = Wanted::new(&request.pattern, request.user.as_deref());
        let total = self.count(request, &wanted).await?;
        request.replay.begin(total).await;
        let mut position = request.position.clone();
        while let Some(next) = position.towards(&request.upto) {
            let page = self.page(&identity, &next, &wanted).await?;
            if !page.events.is_empty() && !request.replay.send(&page.events).await {
                return Ok(false);
            }
            position = page.position;
        }
        Ok(true)
    }

    async fn count(&self, request: &CatchUp, wanted: &Wanted) -> Result<u64, ReplayError> {
        let _turn = self.turns.acquire().await;
        let client = self.pool.get().await?;
        count(&client, &request.position, &request.upto, wanted).await
    }

    async fn page(
        &self,
        identity: &Identity,
        position: &Position,
        wanted: &Wanted,
    ) -> Result<Page, ReplayError> {
        let _turn = self.turns.acquire().await;
        let client = self.pool.get().await?;
        read_page(&client, identity, position, wanted).await
    }
}

impl History for LogHistory {
    fn catch_up(&self, request: CatchUp) {
        tokio::spawn(self.clone().run(request));
    }
}

//! A pool of connections to a [`Target`].
//!
//! In: a target and a size. Out: connections that answered just now. Invariant: no wait is without an end, and no
//! connection goes out untested, so a server that is gone is noticed at the next use, and one that was replaced and still
//! answers when the pool is renewed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use deadpool_postgres::{Connect, Manager, ManagerConfig, RecyclingMethod, Runtime};
pub use deadpool_postgres::{Object, PoolError};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::{Client, Config, Error};

use super::connect::{ConnectError, Target};
use super::error::QueryError;

impl Target {
    /// Connects at the first use, not here.
    pub fn pool(&self, size: usize) -> Pool {
        let tested = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let manager = Manager::from_connect(Config::new(), Walk(self.clone()), tested);
        let wait = self.timeout * u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        let connections = deadpool_postgres::Pool::builder(manager)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(wait))
            .create_timeout(Some(wait + Duration::from_secs(1)))
            .recycle_timeout(Some(RECYCLE))
            .build()
            .expect("the runtime that timeouts need is named");
        Pool { connections, renewed: Arc::new(ArcSwap::from_pointee(Instant::now())) }
    }
}

/// Clones share the connections.
#[derive(Clone)]
pub struct Pool {
    connections: deadpool_postgres::Pool,
    /// No connection made before goes out.
    renewed: Arc<ArcSwap<Instant>>,
}

impl Pool {
    pub async fn get(&self) -> Result<Object, PoolError> {
        loop {
            let client = self.connections.get().await?;
            if Object::metrics(&client).created >= **self.renewed.load() {
                return Ok(client);
            }
            drop(Object::take(client));
        }
    }

    /// The server may be another one: whatever is asked from now on is asked on new connections.
    pub fn renew(&self) {
        self.renewed.store(Arc::new(Instant::now()));
    }

    /// Of how many connections at most.
    pub fn max_size(&self) -> usize {
        self.connections.status().max_size
    }

    pub fn close(&self) {
        self.connections.close();
    }
}

/// Why a question to the database has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    #[error("no connection to the database: {0}")]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("{}", Silent)]
    Silent,
}

#[derive(Debug, thiserror::Error)]
#[error("the database did not answer within {} s", PATIENCE.as_secs())]
pub struct Silent;

impl From<Error> for Unanswered {
    fn from(error: Error) -> Self {
        Self::Query(error.into())
    }
}

/// Asks on one of the pool's connections.
pub async fn ask<T>(
    pool: &Pool,
    question: impl AsyncFnOnce(&Object) -> Result<T, Error>,
) -> Result<T, Unanswered> {
    let client = pool.get().await?;
    let Ok(answer) = answered(question(&client)).await else {
        // Its answer may still come: nobody else shall get it.
        drop(Object::take(client));
        return Err(Unanswered::Silent);
    };
    Ok(answer?)
}

/// What becomes of a statement, unless nothing is heard of it.
pub(super) async fn answered<T>(statement: impl Future<Output = T>) -> Result<T, Silent> {
    timeout(PATIENCE, statement).await.map_err(|_elapsed| Silent)
}

struct Walk(Target);

impl Connect for Walk {
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        Box::pin(async {
            let (client, connection) =
                self.0.connect().await.map_err(ConnectError::into_postgres)?;
            Ok((client, tokio::spawn(connection.run())))
        })
    }
}

/// More than the session's statement timeout, which ends what is merely slow.
const PATIENCE: Duration = Duration::from_secs(10);

const RECYCLE: Duration = Duration::from_secs(2);

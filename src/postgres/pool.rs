//! A pool of connections to a [`Target`].
//!
//! In: a target and a size. Out: connections that answered just now. Invariant: no wait is without an end, and no
//! connection goes out untested, so a server that was replaced is noticed at the next use.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error};

use super::connect::{ConnectError, Target};

impl Target {
    /// Connects at the first use, not here.
    pub fn pool(&self, size: usize) -> Pool {
        let tested = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let manager = Manager::from_connect(Config::new(), Walk(self.clone()), tested);
        let wait = self.timeout * u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        Pool::builder(manager)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(wait))
            .create_timeout(Some(wait + Duration::from_secs(1)))
            .recycle_timeout(Some(RECYCLE))
            .build()
            .expect("the runtime that timeouts need is named")
    }
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

const RECYCLE: Duration = Duration::from_secs(2);

//! How the daemon is, asked of those who would hang.
//!
//! In: the hub, the pulses, the health. Out: vitals, or who does not go on. Invariant: nothing here answers for
//! anybody else: without the hub there are no vitals.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::hub::Hub;
use crate::lifecycle::{Health, Hung, Pulse, Watchdog};
use crate::telemetry::vitals::Vitals;

pub struct Signs {
    hub: Hub,
    health: watch::Receiver<Health>,
    watchdog: Watchdog,
    last: Vitals,
}

impl Signs {
    pub fn new(hub: Hub, ingest: Pulse, health: watch::Receiver<Health>) -> Self {
        let watchdog = Watchdog::new(hub.pulses(), ingest);
        Self { hub, health, watchdog, last: Vitals::default() }
    }

    /// Asks, and waits for an answer at most so long.
    pub async fn take(&mut self, patience: Duration) -> Result<Vitals, Hung> {
        let answer = timeout(patience, self.hub.vitals()).await.ok().flatten();
        let following = self.health.borrow().is_ready();
        self.watchdog.judge(Instant::now(), answer.is_some(), following)?;
        self.last = answer.unwrap_or(self.last);
        Ok(self.last)
    }

    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// The health as it changes, for whoever waits for that.
    pub fn watch(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }
}

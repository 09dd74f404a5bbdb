//! Whether those who do the work still do it.
//!
//! In: the pulses of the hub and of ingest, looked at from time to time. Out: a verdict. Invariant: nobody is taken
//! for hung who goes on working, however much there is to do, nor for waiting until the database is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Beats wherever its owner goes on with its work; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Who does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hung {
    #[error("the hub does not answer and deals with nothing")]
    Hub,
    #[error("ingest does not go on, though the database is there")]
    Ingest,
}

#[derive(Debug)]
pub struct Watchdog {
    hub: Vec<Watched>,
    ingest: Watched,
}

impl Watchdog {
    /// The hub has a pulse for each of its shards.
    pub fn new(hub: Vec<Pulse>, ingest: Pulse) -> Self {
        let hub = hub.into_iter().map(Watched::new).collect();
        Self { hub, ingest: Watched::new(ingest) }
    }

    /// `answered`: the hub, when it was asked. `following`: there is a connection to the database, which ingest has
    /// to use; without one it tries again at intervals of its own.
    pub fn judge(&mut self, now: Instant, answered: bool, following: bool) -> Result<(), Hung> {
        // Each is looked at, also behind one that stands still.
        let standing = self.hub.iter_mut().map(|shard| shard.moved(now)).filter(|moves| !moves);
        let hub_moves = standing.count() == 0;
        if self.ingest.moved(now) || !following {
            self.ingest.since = now;
        }
        if !answered && !hub_moves {
            return Err(Hung::Hub);
        }
        if now.duration_since(self.ingest.since) > INGEST_PATIENCE {
            return Err(Hung::Ingest);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Watched {
    pulse: Pulse,
    count: u64,
    /// When it was last seen to move.
    since: Instant,
}

impl Watched {
    fn new(pulse: Pulse) -> Self {
        Self { count: pulse.count(), pulse, since: Instant::now() }
    }

    fn moved(&mut self, now: Instant) -> bool {
        let count = self.pulse.count();
        let moved = count != self.count;
        if moved {
            (self.count, self.since) = (count, now);
        }
        moved
    }
}

/// Twice the longest wait of ingest for a server that is silent, after which it connects anew.
const INGEST_PATIENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    fn watchdog() -> (Watchdog, Pulse, Pulse) {
        let (hub, ingest) = (Pulse::default(), Pulse::default());
        (Watchdog::new(vec![hub.clone()], ingest.clone()), hub, ingest)
    }

    #[test]
    fn a_hub_that_has_much_to_do_is_not_taken_for_hung() {
        let (mut watchdog, hub, _) = watchdog();
        let now = Instant::now();
        assert_eq!(watchdog.judge(now, true, true), Ok(()));
        hub.beat();
        assert_eq!(watchdog.judge(now, false, true), Ok(()));
        assert_eq!(watchdog.judge(now, false, true), Err(Hung::Hub));
    }

    #[test]
    fn ingest_has_to_go_on_only_while_there_is_a_database() {
        let (mut watchdog, _, ingest) = watchdog();
        let late = |n| Instant::now() + INGEST_PATIENCE * n + Duration::from_secs(1);
        ingest.beat();
        assert_eq!(watchdog.judge(late(1), true, true), Ok(()));
        assert_eq!(watchdog.judge(late(3), true, false), Ok(()));
        assert_eq!(watchdog.judge(late(3), true, true), Ok(()));
        assert_eq!(watchdog.judge(late(5), true, true), Err(Hung::Ingest));
        ingest.beat();
        assert_eq!(watchdog.judge(late(5), true, true), Ok(()));
    }
}

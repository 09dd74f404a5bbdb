//! What everybody in a run shares: the plan, the clock, and the last arrival of each event.
//!
//! In: a plan. Out: microseconds since the run was made. Invariant: memory is 4 bytes an event, and a plan has a
//! bounded number of events.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::event::Mark;
use super::spread::Latencies;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    pub channel: String,
    pub run: String,
    pub subscribers: usize,
    /// Events in a second.
    pub rate: u32,
    pub duration: Duration,
    pub payload: u32,
    /// Connections that write.
    pub lanes: usize,
    pub listen_only: bool,
}

pub struct Scene {
    pub plan: Plan,
    pub mark: Mark,
    epoch: Instant,
    begin: OnceLock<u64>,
    /// The latency of the last arrival of each event, in microseconds; 0 where there was none.
    last: Box<[AtomicU32]>,
}

impl Plan {
    pub fn events(&self) -> u64 {
        if self.listen_only {
            return 0;
        }
        let millis = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX);
        millis.saturating_mul(self.rate.into()) / 1000
    }

    /// When an event is due, counted from the first.
    pub fn due(&self, number: u64) -> Duration {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Each is somebody else, so that no share of one user is used up.
    pub fn user(number: usize) -> String {
        format!("bench-{}", number + 1)
    }
}

impl Scene {
    pub fn new(plan: Plan) -> Self {
        let mark = Mark::new(&plan.run);
        let last = (0..plan.events()).map(|_| AtomicU32::new(0)).collect();
        Self { plan, mark, epoch: Instant::now(), begin: OnceLock::new(), last }
    }

    pub fn micros(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// From now on it counts; the first event is due.
    pub fn start(&self, now: Instant) {
        let _ = self.begin.set(self.micros(now));
    }

    /// Never, before the start.
    pub fn begin(&self) -> u64 {
        self.begin.get().copied().unwrap_or(u64::MAX)
    }

    pub fn note_last(&self, number: u64, latency: u64) {
        let slot = usize::try_from(number).ok().and_then(|number| self.last.get(number));
        if let Some(slot) = slot {
            let latency = u32::try_from(latency).unwrap_or(u32::MAX).max(1);
            slot.fetch_max(latency, Ordering::Relaxed);
        }
    }

    /// From when each event was due until the last subscriber had it.
    pub fn last_arrivals(&self) -> Latencies {
        let mut latencies = Latencies::new();
        let arrived = self.last.iter().map(|slot| slot.load(Ordering::Relaxed));
        arrived.filter(|latency| *latency > 0).for_each(|latency| latencies.record(latency.into()));
        latencies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rate: u32, millis: u64) -> Plan {
        Plan {
            channel: "bench:1".to_owned(),
            run: "1".to_owned(),
            subscribers: 1,
            rate,
            duration: Duration::from_millis(millis),
            payload: 256,
            lanes: 1,
            listen_only: false,
        }
    }

    #[test]
    fn the_events_of_a_second_are_spread_over_it() {
        assert_eq!(plan(100, 10_000).events(), 1_000);
        assert_eq!(plan(3, 1_500).events(), 4);
        let due: Vec<_> = (0..4).map(|number| plan(3, 1_500).due(number).as_millis()).collect();
        assert_eq!(due, [0, 333, 666, 1_000]);
        // Hours of them do not add up to an error.
        assert_eq!(plan(7, 1).due(7 * 3_600 * 24), Duration::from_hours(24));
    }

    #[test]
    fn the_last_arrival_is_the_latest_of_all_subscribers() {
        let scene = Scene::new(plan(2, 1_000));
        for (number, latency) in [(0, 700), (0, 900), (0, 800), (1, 0), (9, 5)] {
            scene.note_last(number, latency);
        }
        let spread = scene.last_arrivals().spread().unwrap();
        assert_eq!((spread.min, spread.max), (0.001, 0.9));
    }
}

//! What a run has measured, as `--json` prints it; docs/operations.md has the names.
//!
//! In: what was written, what was heard. Out: figures, and whether they are as promised. Invariant: what was not
//! measured is `null`, never 0.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::reader::Heard;
use super::scene::Scene;
use super::spread::{Spread, millis};
use super::tally::Tally;
use super::writer::Written;

#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub server: String,
    pub url: String,
    pub channel: String,
    pub listen_only: bool,
    pub interrupted: bool,
    pub seconds: f64,
    pub subscribers: Subscribers,
    /// `None` where nothing was written.
    pub events: Option<Events>,
    pub deliveries: Deliveries,
    pub latency_ms: LatencyMs,
    pub generator: Generator,
}

#[derive(Clone, Debug, Serialize)]
pub struct Subscribers {
    pub connected: u64,
    pub behind: u64,
    pub lost: u64,
    pub lost_by_code: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Events {
    pub asked: u64,
    pub sent: u64,
    pub held_back: u64,
    pub committed: u64,
    pub per_second: f64,
    pub payload_bytes: u32,
}

#[derive(Clone, Debug, Serialize)]
pub struct Deliveries {
    pub expected: Option<u64>,
    pub received: u64,
    pub missing: Option<u64>,
    pub repeated: Option<u64>,
    pub out_of_order: Option<u64>,
    pub per_second: f64,
    pub foreign: u64,
    pub lagged: u64,
    pub resets: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct LatencyMs {
    pub commit: Option<Spread>,
    pub delivery: Option<Spread>,
    pub last: Option<Spread>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Generator {
    pub late_ms: f64,
    pub cpu_seconds: f64,
}

/// What is said of a run beside its frames.
pub struct Circumstances {
    pub server: String,
    pub url: String,
    pub interrupted: bool,
    pub cpu: Duration,
}

impl Figures {
    pub fn new(scene: &Scene, about: Circumstances, written: &Written, heard: &Heard) -> Self {
        let is_writing = !scene.plan.listen_only;
        let received = sum(heard, Tally::received);
        let time = Duration::from_micros(heard.until.saturating_sub(scene.begin()));
        let committed: u64 = written.committed.iter().sum();
        let connected = heard.tallies.len() as u64;
        let when_writing = |count: u64| is_writing.then_some(count);
        Self {
            server: about.server,
            url: about.url,
            channel: scene.plan.channel.clone(),
            listen_only: scene.plan.listen_only,
            interrupted: about.interrupted,
            seconds: written.time.as_secs_f64(),
            subscribers: Subscribers {
                connected,
                // Who only listens waits for no end.
                behind: if is_writing { heard.behind } else { 0 },
                lost: heard.lost.values().sum(),
                lost_by_code: heard.lost.clone(),
            },
            events: is_writing.then(|| Events {
                asked: scene.plan.events(),
                sent: written.sent,
                held_back: written.held_back,
                committed,
                per_second: rate(committed, written.time),
                payload_bytes: scene.plan.payload,
            }),
            deliveries: Deliveries {
                expected: when_writing(committed * connected),
                received,
                missing: when_writing(sum(heard, |tally| tally.missing(&written.committed))),
                repeated: when_writing(sum(heard, Tally::repeated)),
                out_of_order: when_writing(sum(heard, Tally::out_of_order)),
                per_second: rate(received, time.max(written.time)),
                foreign: heard.foreign,
                lagged: heard.lagged,
                resets: heard.resets,
            },
            latency_ms: LatencyMs {
                commit: written.commits.spread(),
                delivery: heard.latencies.spread(),
                last: scene.last_arrivals().spread(),
            },
            generator: Generator {
                late_ms: millis(written.late),
                cpu_seconds: about.cpu.as_secs_f64(),
            },
        }
    }

    /// Whether nobody was lost, and each event reached each subscriber once and in order.
    pub fn is_as_promised(&self) -> bool {
        let (all, lost) = (&self.deliveries, Some(self.subscribers.lost));
        [lost, all.missing, all.repeated, all.out_of_order]
            .iter()
            .all(|count| count.unwrap_or(0) == 0)
    }
}

fn sum(heard: &Heard, count: impl Fn(&Tally) -> u64) -> u64 {
    heard.tallies.iter().map(count).sum()
}

#[allow(clippy::cast_precision_loss, reason = "a rate is no count")]
fn rate(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

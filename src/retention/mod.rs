//! Keeps the event log within `log.keep` and `log.max_bytes`.
//!
//! In: time. Out: rounds of retention, and log lines about them. Invariant: a round that fails is tried again and
//! harms nobody; every node runs this, and the database lets one of them work at a time.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::sleep;

use crate::postgres::pool::{Pool, Unanswered, ask};
use crate::postgres::retention::{Measures, Round, forget_revocations, maintain, measure};
use crate::telemetry::metrics::Observer;
use crate::telemetry::notice::Notice;

pub struct Retention {
    pub pool: Pool,
    pub keep: Duration,
    pub max_bytes: u64,
    /// No token lives longer, so no revocation has to be known for longer.
    pub token_life: Duration,
    pub observer: Observer,
}

impl Retention {
    /// A round every few seconds, for ever.
    pub async fn run(self) -> Infallible {
        let mut trouble = Trouble::default();
        loop {
            let round = self.round().await;
            if let Ok(round) = &round {
                self.tell(round);
            }
            if let Some(cause) = trouble.judge(round) {
                self.observer.note(&Notice::LogTrouble(&cause));
            }
            sleep(jittered(interval(self.keep))).await;
        }
    }

    async fn round(&self) -> Result<Round, Unanswered> {
        ask(&self.pool, async |client| {
            forget_revocations(client, self.token_life).await?;
            let round = maintain(client, self.keep, self.max_bytes).await?;
            let Measures { oldest: floor_age, queue_usage } = measure(client).await?;
            let bytes = round.bytes;
            self.observer.note(&Notice::LogMeasured { bytes, floor_age, queue_usage });
            Ok(round)
        })
        .await
    }

    fn tell(&self, round: &Round) {
        let Round { led, turned, removed, freed, bytes, waiting } = round;
        if let (parts @ 1.., freed, bytes) = (*removed, *freed, *bytes) {
            self.observer.note(&Notice::LogTrimmed { parts, freed, bytes });
        }
        tracing::debug!(led, turned, bytes, waiting, "a round of retention");
    }
}

/// What was wrong lately.
#[derive(Default)]
struct Trouble {
    cause: Option<String>,
    /// Rounds in a row that found something due and could not remove it.
    waits: u32,
}

impl Trouble {
    /// What is worth a warning: each cause once, and a wait only once it lasts, because a read is soon over.
    fn judge(&mut self, round: Result<Round, Unanswered>) -> Option<String> {
        let waiting = round.as_ref().is_ok_and(|round| round.waiting.is_some());
        self.waits = if waiting { self.waits.saturating_add(1) } else { 0 };
        let cause = match round {
            Ok(round) => round.waiting.filter(|_| self.waits >= LASTING),
            Err(error) => Some(error.to_string()),
        };
        let is_new = cause != self.cause;
        self.cause = cause;
        self.cause.clone().filter(|_| is_new)
    }
}

/// Short where little is kept, so that what is kept too long is a small part of it.
fn interval(keep: Duration) -> Duration {
    (keep / 64).clamp(Duration::from_secs(1), Duration::from_secs(10))
}

/// Up to a quarter more, so that nodes don't ask in step.
fn jittered(interval: Duration) -> Duration {
    let mut random = [0u8; 2];
    // Without randomness they ask in step, and all but one are told so.
    let _ = aws_lc_rs::rand::fill(&mut random);
    interval + (interval / 4) * u32::from(u16::from_le_bytes(random)) / u32::from(u16::MAX)
}

/// A minute or less.
const LASTING: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_told_once_and_a_wait_only_once_it_lasts() {
        let idle = |waiting: Option<&str>| {
            let waiting = waiting.map(Into::into);
            Ok(Round { led: true, turned: false, removed: 0, freed: 0, bytes: Some(0), waiting })
        };
        let mut trouble = Trouble::default();
        let told: Vec<_> = (0..20).map(|_| trouble.judge(idle(Some("a reader")))).collect();
        assert_eq!(told.iter().flatten().count(), 1);
        assert_eq!(told[5].as_deref(), Some("a reader"));
        assert_eq!(trouble.judge(idle(None)), None);
        assert_eq!(trouble.judge(idle(Some("a reader"))), None);
        assert!(trouble.judge(Err(Unanswered::Silent)).is_some());
        assert_eq!(trouble.judge(Err(Unanswered::Silent)), None);
        trouble.judge(idle(None));
        assert!(trouble.judge(Err(Unanswered::Silent)).is_some());
    }

    #[test]
    fn rounds_are_closer_where_little_is_kept_and_never_closer_than_a_second() {
        let seconds = |keep| interval(Duration::from_secs(keep)).as_secs();
        assert_eq!([1, 60, 320, 86_400].map(seconds), [1, 1, 5, 10]);
    }

    #[test]
    fn a_pause_is_at_least_the_interval_and_at_most_a_quarter_more() {
        let base = Duration::from_secs(8);
        for _ in 0..100 {
            let pause = jittered(base);
            assert!(pause >= base && pause <= base + base / 4, "{pause:?}");
        }
    }
}

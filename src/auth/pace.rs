//! How often the issuer is asked for its keys.
//!
//! In: when it was asked last, and what came of it. Out: whether it may be asked now, and when it is asked anyway.
//! Invariant: whatever tokens arrive, the issuer is asked by them once in `cooldown` at most.

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two rounds, a tenth more or less.
    pub refresh: Duration,
    /// The same after a round that failed.
    pub retry: Duration,
    /// A token with an unknown key has the issuer asked only so long after the last time.
    pub cooldown: Duration,
    /// How long such a token is kept waiting.
    pub patience: Duration,
    /// For one answer of the issuer, from the name's look-up to the last byte.
    pub deadline: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(300),
            retry: Duration::from_secs(30),
            cooldown: Duration::from_secs(10),
            patience: Duration::from_secs(3),
            deadline: Duration::from_secs(5),
        }
    }
}

impl Pace {
    pub(super) fn may_ask(&self, last: Instant, now: Instant) -> bool {
        now.saturating_duration_since(last) >= self.cooldown
    }

    /// `chance` spreads the nodes of a cluster, which were started together.
    pub(super) fn pause(&self, good: bool, chance: u8) -> Duration {
        let pause = if good { self.refresh } else { self.retry };
        pause.mul_f64(0.9 + 0.2 * f64::from(chance) / 255.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn however_tokens_arrive_the_issuer_is_asked_once_in_each_cooldown(
            gaps in prop::collection::vec(0_u64..15_000, 1..200)
        ) {
            let pace = Pace::default();
            let (mut now, mut asked) = (Instant::now(), vec![Instant::now()]);
            for gap in gaps {
                now += Duration::from_millis(gap);
                if pace.may_ask(asked[asked.len() - 1], now) {
                    asked.push(now);
                }
            }
            prop_assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= pace.cooldown));
            prop_assert!(now - asked[asked.len() - 1] < pace.cooldown);
        }

        #[test]
        fn rounds_are_a_tenth_apart_from_their_pace(good: bool, chance: u8) {
            let pace = Pace::default();
            let middle = if good { pace.refresh } else { pace.retry };
            let pause = pace.pause(good, chance);
            prop_assert!(pause >= middle.mul_f64(0.899) && pause <= middle.mul_f64(1.101));
        }
    }
}

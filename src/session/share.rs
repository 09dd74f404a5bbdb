//! How much one user, or one address, may do in a minute.
//!
//! In: who does something. Out: yes, or how long to wait. Invariant: who has been silent for a minute costs nothing.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Without a type for those who share, users: messages over all their connections of this node.
pub struct Share<K: Clone + Eq + Hash = Box<str>> {
    limiter: DefaultKeyedRateLimiter<K>,
    clock: DefaultClock,
    asked: AtomicU32,
}

impl<K: Clone + Eq + Hash> Share<K> {
    pub fn new(per_minute: NonZeroU32) -> Self {
        let limiter = RateLimiter::keyed(Quota::per_minute(per_minute));
        Self { limiter, clock: DefaultClock::default(), asked: AtomicU32::new(0) }
    }

    /// `Err` says when the next one is welcome.
    pub fn take(&self, who: impl Into<K>) -> Result<(), Duration> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&who.into()).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// How many are remembered.
    pub fn remembered(&self) -> usize {
        self.limiter.len()
    }
}

/// Questions between two looks for those who have their whole share again.
const FORGET_EVERY: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_have_their_whole_share_again_are_forgotten() {
        // One thousandth of a second gives back what one question took.
        let share = Share::<u64>::new(NonZeroU32::new(60_000).unwrap());
        for who in 0..u64::from(FORGET_EVERY - 1) {
            share.take(who).unwrap();
        }
        assert_eq!(share.remembered(), usize::try_from(FORGET_EVERY - 1).unwrap());
        let mut most = share.remembered();
        for who in 0..u64::from(20 * FORGET_EVERY) {
            let _ = share.take(1_000_000 + who);
            most = most.max(share.remembered());
        }
        assert!(most < 20 * usize::try_from(FORGET_EVERY).unwrap(), "nobody was ever forgotten");
    }
}

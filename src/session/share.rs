//! What one user may send, over all of their connections of this node.
//!
//! In: who sends. Out: yes, or how long to wait. Invariant: users who have been silent for a minute cost nothing.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

pub struct Share {
    limiter: DefaultKeyedRateLimiter<Box<str>>,
    clock: DefaultClock,
    asked: AtomicU32,
}

impl Share {
    pub fn new(messages_per_minute: NonZeroU32) -> Self {
        let limiter = RateLimiter::keyed(Quota::per_minute(messages_per_minute));
        Self { limiter, clock: DefaultClock::default(), asked: AtomicU32::new(0) }
    }

    /// `Err` says when the next message is welcome.
    pub fn take(&self, sender: &str) -> Result<(), Duration> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(&Box::from(sender))
            .map_err(|until| until.wait_time_from(self.clock.now()))
    }
}

/// Messages between two looks for users that have their whole share again.
const FORGET_EVERY: u32 = 4096;

//! Chance that can be repeated.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From `SEED`, or from the clock.
    pub fn seed() -> u64 {
        let clock = || {
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("it is later than 1970");
            u64::from(now.subsec_nanos())
        };
        std::env::var("SEED").map_or_else(|_| clock(), |seed| seed.parse().expect("a number"))
    }

    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Other dice that depend on these.
    pub fn fork(&mut self) -> Self {
        Self::new(self.next())
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.next() % sides
    }

    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.roll(to - from))
    }

    /// From 0 to 1.
    pub fn fraction(&mut self) -> f64 {
        self.millis(0, 1001).as_secs_f64()
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.roll(from.len() as u64)).expect("a small number")]
    }

    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
}

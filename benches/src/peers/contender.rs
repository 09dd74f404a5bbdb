//! One server with its subscribers and its publisher, and the two turns it takes.
//!
//! In: how many events, and how many of them at a time. Out: CPU time of a delivery. Invariant: all servers are
//! driven by the same loop; what does not arrive is counted, and ends the turns of that server.

use std::time::{Duration, Instant};

use super::process::Process;
use super::publisher::Publisher;
use crate::load::Load;
use crate::{Outcome, machine};

pub struct Contender {
    pub pid: u32,
    pub load: Load,
    publisher: Publisher,
    /// Ended with the rest; `None` where somebody else does it.
    _process: Option<Process>,
    /// What its clients had before the first event.
    first: u64,
    /// What they should have got since.
    expected: u64,
    stalled: bool,
}

impl Contender {
    pub fn new(pid: u32, load: Load, publisher: Publisher, process: Option<Process>) -> Self {
        let first = load.frames;
        Self { pid, load, publisher, _process: process, first, expected: 0, stalled: false }
    }

    /// Publishes so many events, of which so many may be under way, so many in one call. Returns the server's CPU
    /// time of a delivery in seconds, unless something did not arrive.
    pub fn turn(&mut self, events: u64, outstanding: u64, step: u64) -> Outcome<Option<f64>> {
        if self.stalled {
            return Ok(None);
        }
        let events = events / step * step;
        let (before, first, all) = (cpu(self.pid)?, self.load.frames, self.load.len() as u64);
        let (mut published, mut progress) = (0, (first, Instant::now()));
        while self.load.frames < first + events * all {
            let everywhere = (self.load.frames - first) / all;
            while published + step <= events.min(everywhere + outstanding) {
                self.publisher.publish(u32::try_from(step)?)?;
                published += step;
            }
            // It never falls asleep, as in `spin_until_frames`.
            self.load.pump(Duration::ZERO)?;
            if self.load.frames > progress.0 {
                progress = (self.load.frames, Instant::now());
            }
            if progress.1.elapsed() > PATIENCE {
                self.stalled = true;
                break;
            }
        }
        self.expected += published * all;
        let spent = cpu(self.pid)?.saturating_sub(before);
        Ok((!self.stalled).then(|| spent.as_secs_f64() / (events * all) as f64))
    }

    /// Messages that were published and did not arrive.
    pub fn missing(&mut self) -> Outcome<u64> {
        self.load.pump(Duration::from_millis(50))?;
        let got = self.load.frames - self.first;
        let missing = self.expected.checked_sub(got);
        Ok(missing.ok_or("clients got more than was sent to them")?)
    }
}

/// CPU time of a process and its children.
pub fn cpu(pid: u32) -> Outcome<Duration> {
    machine::family(pid).into_iter().map(machine::cpu).sum()
}

/// Resident memory of a process and its children, in KiB.
pub fn rss(pid: u32) -> Outcome<f64> {
    machine::family(pid).into_iter().map(machine::rss).sum()
}

/// A server that sends nothing for so long has lost something.
const PATIENCE: Duration = Duration::from_secs(10);

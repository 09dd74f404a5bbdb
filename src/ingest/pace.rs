//! When to read the log, and when to fall asleep.
//!
//! In: what a read found, how the try for the sleeping lock went, wake-ups, the time. Out: what to do next.
//! Invariant: asleep only while the lock is held, by this node or another, and the lock is taken only when no
//! transaction that saw every node awake is still open; the read after it finds what those committed.
//!
//! A writer takes the lock shared, and if it can't, some node sleeps and the writer notifies, which all nodes hear.
//! That is the quickest way for a change, and it makes commits wait for each other (NOTIFY takes a cluster-wide lock
//! over the flush of the WAL). So a node sleeps while commits come one by one, and is awake while they might come
//! together: then nobody notifies.

use std::time::{Duration, Instant};

use crate::postgres::listener::Lock;
use crate::telemetry::notice::Mode;

/// Who wakes the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wake {
    /// Writers notify while the daemon sleeps.
    #[default]
    Auto,
    /// Writers always notify: the lock is never released.
    Notify,
    /// Writers never notify: the lock is never taken.
    Poll,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read once this time has passed, or at a wake-up.
    Read { after: Duration },
    /// Try for the sleeping lock once this time has passed, without waiting for it; read at a wake-up.
    TryLock { after: Duration },
    /// Release the sleeping lock.
    Release,
}

/// What a read saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Transactions with events, about.
    pub transactions: u32,
    /// Events that others had written at that moment and not committed.
    pub writing: u32,
}

#[derive(Debug)]
pub struct Pace {
    wake: Wake,
    /// Whatever happens to notifications, nothing waits longer than this.
    fallback: Duration,
    /// Some watched table never notifies, so sleep would cost its changes the fallback poll.
    polled_tables: bool,
    /// Each transaction that is seen moves it on, as a leaky bucket is filled.
    busy_until: Instant,
    /// Between reads while the lock is not to be had.
    patience: Duration,
    mode: Mode,
}

impl Pace {
    pub const fn new(wake: Wake, fallback: Duration, now: Instant) -> Self {
        let (busy_until, patience, mode) = (now, BUSY, Mode::Awake);
        Self { wake, fallback, polled_tables: false, busy_until, patience, mode }
    }

    pub const fn set_polled_tables(&mut self, polled: bool) {
        self.polled_tables = polled;
    }

    pub const fn mode(&self) -> Mode {
        self.mode
    }

    pub fn read(&mut self, seen: Seen, now: Instant) -> Next {
        self.note(seen, now);
        let is_busy = now < self.busy_until;
        match (self.mode, self.wake) {
            (Mode::Asleep, Wake::Auto) if self.must_wake(now) => Next::Release,
            (Mode::Asleep, _) => Next::Read { after: self.asleep_interval() },
            (Mode::Beside, _) => Next::TryLock { after: self.asleep_interval() },
            (Mode::Awake, Wake::Auto | Wake::Poll) if is_busy => Next::Read { after: BUSY },
            (Mode::Awake, Wake::Poll) => Next::Read { after: POLL },
            (Mode::Awake, Wake::Auto) if self.polled_tables => Next::Read { after: POLL },
            (Mode::Awake, Wake::Auto | Wake::Notify) => Next::TryLock { after: Duration::ZERO },
        }
    }

    pub fn tried(&mut self, lock: Lock) -> Next {
        self.mode = match lock {
            Lock::Mine => Mode::Asleep,
            Lock::Anothers => Mode::Beside,
            Lock::Free => Mode::Awake,
        };
        match lock {
            // What was committed before the lock was taken, without a notification.
            Lock::Mine | Lock::Anothers => Next::Read { after: Duration::ZERO },
            Lock::Free => {
                let after = self.patience;
                self.patience = (after * 2).min(POLL);
                Next::Read { after }
            }
        }
    }

    /// A writer has notified.
    pub const fn woken(&self) -> Next {
        Next::Read { after: Duration::ZERO }
    }

    /// This node has released the lock: writers notify no more.
    pub fn released(&mut self, now: Instant) -> Next {
        self.mode = Mode::Awake;
        self.busy_until = now + FULL;
        Next::Read { after: Duration::ZERO }
    }

    /// Another node says that it has released the lock.
    pub fn heard_release(&mut self, now: Instant) -> Next {
        if self.mode == Mode::Beside { self.released(now) } else { self.woken() }
    }

    /// While commits wait for each other, those that write at the same moment count too: however slow the disk makes
    /// them, together they could be faster.
    fn note(&mut self, seen: Seen, now: Instant) {
        if seen.transactions > 0 {
            self.patience = BUSY;
            let is_awake = self.mode == Mode::Awake;
            let (waiting, most) = if is_awake { (0, LINGER) } else { (seen.writing, FULL) };
            let many = seen.transactions.saturating_add(waiting);
            let filled = self.busy_until.max(now) + EACH.saturating_mul(many);
            self.busy_until = filled.min(now + most);
        }
    }

    fn must_wake(&self, now: Instant) -> bool {
        self.polled_tables || now + FULL <= self.busy_until
    }

    const fn asleep_interval(&self) -> Duration {
        if self.polled_tables { POLL } else { self.fallback }
    }
}

/// Transactions that come faster than one in this time are many: it is four times what a flush takes on a slow
/// disk, so notifying takes a quarter of what the disk can do, and they wait for each other little.
const EACH: Duration = Duration::from_millis(4);

/// Ten at once are many too; and as long after the first of many the daemon tries to sleep.
const FULL: Duration = Duration::from_millis(40);

/// As long after very many, because they pause: to sleep costs the next ten of them a notification each.
const LINGER: Duration = Duration::from_millis(250);

/// Between reads while there is traffic. Timers round up, so these are two milliseconds apart at least.
const BUSY: Duration = Duration::from_millis(1);

/// Between reads where no writer notifies, and while a transaction that saw the daemon awake is open for long.
const POLL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;

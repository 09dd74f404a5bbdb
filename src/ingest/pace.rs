//! When to read the log, and when to fall asleep.
//!
//! In: what a read found, how the try for the sleeping lock went, wake-ups. Out: what to do next. Invariant:
//! asleep only while the lock is held, and the lock is taken only when no transaction that saw the daemon awake
//! is still open; the read after it finds what those committed.
//!
//! A writer takes the lock shared, and if it can't, the daemon sleeps and the writer notifies. So while the daemon
//! is busy nobody notifies, and NOTIFY's cluster-wide commit lock is never taken under load.

use std::time::Duration;

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
    /// Try for the sleeping lock, without waiting for it.
    TryLock,
    /// Release the sleeping lock, and read.
    Release,
}

#[derive(Debug)]
pub struct Pace {
    wake: Wake,
    /// Whatever happens to notifications, nothing waits longer than this.
    fallback: Duration,
    /// Some watched table never notifies, so sleep would cost its changes the fallback poll.
    polled_tables: bool,
    idle_reads: u32,
    locked: bool,
}

impl Pace {
    pub const fn new(wake: Wake, fallback: Duration) -> Self {
        Self { wake, fallback, polled_tables: false, idle_reads: 0, locked: false }
    }

    pub const fn set_polled_tables(&mut self, polled: bool) {
        self.polled_tables = polled;
    }

    pub const fn read(&mut self, found: bool) -> Next {
        self.idle_reads = if found { 0 } else { self.idle_reads.saturating_add(1) };
        if self.locked {
            return Next::Read { after: self.asleep_interval() };
        }
        match self.wake {
            Wake::Poll => Next::Read { after: self.busy_interval() },
            Wake::Notify => Next::TryLock,
            Wake::Auto if self.idle_reads < IDLE_READS || self.polled_tables => {
                Next::Read { after: self.busy_interval() }
            }
            Wake::Auto => Next::TryLock,
        }
    }

    pub const fn tried(&mut self, locked: bool) -> Next {
        self.locked = locked;
        if locked {
            // What was committed before the lock was taken, without a notification.
            Next::Read { after: Duration::ZERO }
        } else {
            Next::Read { after: WAITING_FOR_WRITERS }
        }
    }

    pub const fn woken(&mut self) -> Next {
        self.idle_reads = 0;
        if self.locked && matches!(self.wake, Wake::Auto) {
            self.locked = false;
            return Next::Release;
        }
        Next::Read { after: Duration::ZERO }
    }

    const fn busy_interval(&self) -> Duration {
        if self.idle_reads < IDLE_READS { BUSY } else { POLL }
    }

    const fn asleep_interval(&self) -> Duration {
        if self.polled_tables { POLL } else { self.fallback }
    }
}

/// Reads that find nothing before the daemon tries to sleep: about one idle 50th of a second.
const IDLE_READS: u32 = 8;

/// Between reads while there is traffic: a read of the log takes 0.04 ms, so 2 % of a core at most.
const BUSY: Duration = Duration::from_millis(2);

/// Between reads where no writer notifies.
const POLL: Duration = Duration::from_millis(20);

/// While a transaction that saw the daemon awake is still open, there may be a long one.
const WAITING_FOR_WRITERS: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const FALLBACK: Duration = Duration::from_secs(1);

    /// The database as far as the lock goes: open transactions, what they logged, who holds the lock.
    #[derive(Default)]
    struct Database {
        open: BTreeMap<u8, Transaction>,
        committed: u32,
        daemon_holds_lock: bool,
        notification: bool,
    }

    #[derive(Default)]
    struct Transaction {
        events: u32,
        holds_shared: bool,
        will_notify: bool,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(u8),
        Commit(u8),
        Rollback(u8),
        Daemon,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..4u8).prop_map(Step::Write),
            (0..4u8).prop_map(Step::Commit),
            (0..4u8).prop_map(Step::Rollback),
            Just(Step::Daemon),
            Just(Step::Daemon),
            Just(Step::Daemon),
        ]
    }

    impl Database {
        fn write(&mut self, transaction: u8) {
            let daemon_holds_lock = self.daemon_holds_lock;
            let transaction = self.open.entry(transaction).or_default();
            transaction.events += 1;
            if daemon_holds_lock {
                transaction.will_notify = true;
            } else {
                transaction.holds_shared = true;
            }
        }

        fn commit(&mut self, transaction: u8) {
            if let Some(done) = self.open.remove(&transaction) {
                self.committed += done.events;
                self.notification |= done.will_notify;
            }
        }

        fn try_lock(&mut self) -> bool {
            self.daemon_holds_lock = self.open.values().all(|open| !open.holds_shared);
            self.daemon_holds_lock
        }
    }

    /// The daemon as `ingest` runs it, one action a call.
    struct Daemon {
        pace: Pace,
        next: Next,
        read: u32,
    }

    impl Daemon {
        /// With no time passing, a sleeper acts only at a notification.
        fn act(&mut self, database: &mut Database) {
            if database.notification && matches!(self.next, Next::Read { .. }) {
                database.notification = false;
                self.next = self.pace.woken();
            }
            self.next = match self.next {
                Next::Read { after } if after >= FALLBACK => return,
                Next::Read { .. } => {
                    let found = database.committed > self.read;
                    self.read = database.committed;
                    self.pace.read(found)
                }
                Next::TryLock => self.pace.tried(database.try_lock()),
                Next::Release => {
                    database.daemon_holds_lock = false;
                    Next::Read { after: Duration::ZERO }
                }
            };
        }
    }

    proptest! {
        #[test]
        fn nothing_committed_waits_for_the_fallback_poll(
            steps in proptest::collection::vec(step(), 0..300)
        ) {
            for wake in [Wake::Auto, Wake::Notify, Wake::Poll] {
                let mut database = Database::default();
                let pace = Pace::new(wake, FALLBACK);
                let next = Next::Read { after: Duration::ZERO };
                let mut daemon = Daemon { pace, next, read: 0 };
                for step in &steps {
                    match step {
                        Step::Write(transaction) => database.write(*transaction),
                        Step::Commit(transaction) => database.commit(*transaction),
                        Step::Rollback(transaction) => { database.open.remove(transaction); }
                        Step::Daemon => daemon.act(&mut database),
                    }
                }
                for _ in 0..4 * IDLE_READS {
                    daemon.act(&mut database);
                }
                prop_assert_eq!(daemon.read, database.committed);
            }
        }
    }

    #[test]
    fn an_idle_daemon_sleeps_and_a_busy_one_does_not() {
        let mut pace = Pace::new(Wake::Auto, FALLBACK);
        for _ in 0..IDLE_READS - 1 {
            assert_eq!(pace.read(false), Next::Read { after: BUSY });
        }
        assert_eq!(pace.read(false), Next::TryLock);
        assert_eq!(pace.tried(true), Next::Read { after: Duration::ZERO });
        assert_eq!(pace.read(false), Next::Read { after: FALLBACK });
        assert_eq!(pace.woken(), Next::Release);
        assert_eq!(pace.read(true), Next::Read { after: BUSY });
    }
}

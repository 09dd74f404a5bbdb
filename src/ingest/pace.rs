//! When to read the log, and when to fall asleep.
//!
//! In: what a read found, how the try for the sleeping lock went, wake-ups. Out: what to do next. Invariant:
//! asleep only while the lock is held, by this node or another, and the lock is taken only when no transaction that
//! saw every node awake is still open; the read after it finds what those committed.
//!
//! A writer takes the lock shared, and if it can't, some node sleeps and the writer notifies, which all nodes hear.
//! So while they are busy nobody notifies, and NOTIFY's cluster-wide commit lock is never taken under load.

use std::time::Duration;

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
    mode: Mode,
}

impl Pace {
    pub const fn new(wake: Wake, fallback: Duration) -> Self {
        Self { wake, fallback, polled_tables: false, idle_reads: 0, mode: Mode::Awake }
    }

    pub const fn set_polled_tables(&mut self, polled: bool) {
        self.polled_tables = polled;
    }

    pub const fn mode(&self) -> Mode {
        self.mode
    }

    pub const fn read(&mut self, found: bool) -> Next {
        self.idle_reads = if found { 0 } else { self.idle_reads.saturating_add(1) };
        match (self.mode, self.wake) {
            (Mode::Asleep, _) => Next::Read { after: self.asleep_interval() },
            (Mode::Beside, _) if !found => Next::TryLock { after: self.asleep_interval() },
            (_, Wake::Poll) => Next::Read { after: self.busy_interval() },
            (_, Wake::Auto) if self.idle_reads < IDLE_READS || self.polled_tables => {
                self.mode = Mode::Awake;
                Next::Read { after: self.busy_interval() }
            }
            (_, Wake::Auto | Wake::Notify) => Next::TryLock { after: Duration::ZERO },
        }
    }

    pub const fn tried(&mut self, lock: Lock) -> Next {
        self.mode = match lock {
            Lock::Mine => Mode::Asleep,
            Lock::Anothers => Mode::Beside,
            Lock::Free => Mode::Awake,
        };
        match lock {
            // What was committed before the lock was taken, without a notification.
            Lock::Mine | Lock::Anothers => Next::Read { after: Duration::ZERO },
            Lock::Free => Next::Read { after: WAITING_FOR_WRITERS },
        }
    }

    pub const fn woken(&mut self) -> Next {
        self.idle_reads = 0;
        if matches!((self.mode, self.wake), (Mode::Asleep, Wake::Auto)) {
            self.mode = Mode::Awake;
            return Next::Release;
        }
        if matches!(self.mode, Mode::Beside) {
            self.mode = Mode::Awake;
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
const IDLE_READS: u32 = 10;

/// Between reads while there is traffic. Timers round up, so these are two milliseconds apart; a read takes the
/// server 0.06 ms, so 3 % of a core at most.
const BUSY: Duration = Duration::from_millis(1);

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
        sleeper: Option<usize>,
        beside: [bool; NODES],
        notified: [bool; NODES],
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
        Node(usize),
    }

    const NODES: usize = 3;

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..4u8).prop_map(Step::Write),
            (0..4u8).prop_map(Step::Commit),
            (0..4u8).prop_map(Step::Rollback),
            (0..NODES).prop_map(Step::Node),
            (0..NODES).prop_map(Step::Node),
            (0..NODES).prop_map(Step::Node),
            (0..NODES).prop_map(Step::Node),
        ]
    }

    impl Database {
        fn write(&mut self, transaction: u8) {
            let somebody_sleeps = self.sleeper.is_some();
            let transaction = self.open.entry(transaction).or_default();
            transaction.events += 1;
            if somebody_sleeps {
                transaction.will_notify = true;
            } else {
                transaction.holds_shared = true;
            }
        }

        fn commit(&mut self, transaction: u8) {
            if let Some(done) = self.open.remove(&transaction) {
                self.committed += done.events;
                if done.will_notify {
                    self.notified = [true; NODES];
                }
            }
        }

        fn try_lock(&mut self, node: usize) -> Lock {
            if self.sleeper.is_none() && self.open.values().all(|open| !open.holds_shared) {
                self.sleeper = Some(node);
                return Lock::Mine;
            }
            self.beside[node] = true;
            if self.sleeper.is_some() { Lock::Anothers } else { Lock::Free }
        }

        fn release(&mut self, node: usize) {
            assert_eq!(self.sleeper.take(), Some(node), "only the holder releases");
            let others = self.beside.iter().enumerate().any(|(other, is)| *is && other != node);
            if others {
                self.notified = [true; NODES];
            }
        }
    }

    /// A node as `ingest` runs it, one action a call.
    struct Node {
        pace: Pace,
        next: Next,
        read: u32,
    }

    impl Node {
        fn new(wake: Wake) -> Self {
            let next = Next::Read { after: Duration::ZERO };
            Self { pace: Pace::new(wake, FALLBACK), next, read: 0 }
        }

        /// With no time passing, a sleeper acts only at a notification.
        fn act(&mut self, number: usize, database: &mut Database) {
            if self.next != Next::Release && std::mem::take(&mut database.notified[number]) {
                self.next = self.pace.woken();
            }
            self.next = match self.next {
                Next::Read { after } | Next::TryLock { after } if after >= FALLBACK => return,
                Next::Read { .. } => self.read(database),
                Next::TryLock { .. } => self.pace.tried(database.try_lock(number)),
                Next::Release => {
                    database.release(number);
                    self.read(database)
                }
            };
        }

        fn read(&mut self, database: &Database) -> Next {
            let found = database.committed > self.read;
            self.read = database.committed;
            self.pace.read(found)
        }
    }

    proptest! {
        #[test]
        fn nothing_committed_waits_for_the_fallback_poll(
            steps in proptest::collection::vec(step(), 0..400),
            wakes in proptest::collection::vec(
                prop_oneof![3 => Just(Wake::Auto), 1 => Just(Wake::Notify), 1 => Just(Wake::Poll)],
                NODES..=NODES,
            ),
        ) {
            let mut database = Database::default();
            let mut nodes: Vec<_> = wakes.into_iter().map(Node::new).collect();
            for step in steps {
                match step {
                    Step::Write(transaction) => database.write(transaction),
                    Step::Commit(transaction) => database.commit(transaction),
                    Step::Rollback(transaction) => { database.open.remove(&transaction); }
                    Step::Node(number) => nodes[number].act(number, &mut database),
                }
            }
            for _ in 0..8 * IDLE_READS {
                for (number, node) in nodes.iter_mut().enumerate() {
                    node.act(number, &mut database);
                }
            }
            for node in &nodes {
                prop_assert_eq!(node.read, database.committed);
            }
        }
    }

    #[test]
    fn an_idle_daemon_sleeps_and_a_busy_one_does_not() {
        let mut pace = Pace::new(Wake::Auto, FALLBACK);
        for _ in 0..IDLE_READS - 1 {
            assert_eq!(pace.read(false), Next::Read { after: BUSY });
        }
        assert_eq!(pace.read(false), Next::TryLock { after: Duration::ZERO });
        assert_eq!(pace.tried(Lock::Mine), Next::Read { after: Duration::ZERO });
        assert_eq!(pace.read(false), Next::Read { after: FALLBACK });
        assert_eq!(pace.woken(), Next::Release);
        assert_eq!(pace.read(true), Next::Read { after: BUSY });
    }

    #[test]
    fn a_node_that_sleeps_beside_another_keeps_trying_for_the_lock() {
        let mut pace = Pace::new(Wake::Auto, FALLBACK);
        for _ in 0..IDLE_READS {
            pace.read(false);
        }
        assert_eq!(pace.tried(Lock::Anothers), Next::Read { after: Duration::ZERO });
        assert_eq!(pace.read(false), Next::TryLock { after: FALLBACK });
        assert_eq!(pace.tried(Lock::Anothers), Next::Read { after: Duration::ZERO });
        assert_eq!(pace.read(false), Next::TryLock { after: FALLBACK });
        assert_eq!(pace.woken(), Next::Read { after: Duration::ZERO });
        assert_eq!(pace.read(true), Next::Read { after: BUSY });
    }
}

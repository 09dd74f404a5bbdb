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
    /// Transactions that were writing at that moment, whatever it was.
    pub writing: u32,
    /// From the question to the beginning of the answer.
    pub took: Duration,
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
        let (busy_until, patience, mode) = (now, SHORTEST, Mode::Awake);
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
            (Mode::Awake, Wake::Auto | Wake::Poll) if is_busy => {
                Next::Read { after: busy_interval(seen.took) }
            }
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

    /// Those that write at the same moment count too: however slow the disk makes them, together they could be
    /// faster.
    fn note(&mut self, seen: Seen, now: Instant) {
        if seen.transactions > 0 {
            self.patience = SHORTEST;
            let together = seen.transactions.saturating_add(seen.writing);
            let filled = self.busy_until.max(now) + EACH.saturating_mul(together);
            self.busy_until = filled.min(now + FULL);
        }
    }

    fn must_wake(&self, now: Instant) -> bool {
        self.polled_tables || now + FULL <= self.busy_until
    }

    const fn asleep_interval(&self) -> Duration {
        if self.polled_tables { POLL } else { self.fallback }
    }
}

/// The share of the reads in the server's time is bounded by their own length, so a server that has no time to
/// spare is asked less often.
fn busy_interval(took: Duration) -> Duration {
    (took * 8).clamp(SHORTEST, LONGEST)
}

/// Transactions that come faster than one in this time are many: it is four times what a flush takes on a slow
/// disk, so notifying takes a quarter of what the disk can do, and they wait for each other little.
const EACH: Duration = Duration::from_millis(4);

/// Ten at once are many too; and as long after the last of many the daemon tries to sleep.
const FULL: Duration = Duration::from_millis(40);

/// Between reads while there is traffic. Timers round up, so these are two milliseconds apart at least.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(5);

/// Between reads where no writer notifies, and while a transaction that saw the daemon awake is open for long.
const POLL: Duration = Duration::from_millis(20);

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
        sleeper: Option<usize>,
        beside: [bool; NODES],
        notified: [bool; NODES],
        told_of_release: [bool; NODES],
        /// Transactions with events; events.
        committed: Committed,
    }

    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    struct Committed {
        transactions: u32,
        events: u32,
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
        Pass(u8),
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
            (0..30u8).prop_map(Step::Pass),
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
                self.committed.transactions += 1;
                self.committed.events += done.events;
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
                self.told_of_release = [true; NODES];
            }
        }
    }

    /// A node as `ingest` runs it, one action a call.
    struct Node {
        pace: Pace,
        next: Next,
        read: Committed,
    }

    impl Node {
        fn new(wake: Wake, now: Instant) -> Self {
            let next = Next::Read { after: Duration::ZERO };
            Self { pace: Pace::new(wake, FALLBACK, now), next, read: Committed::default() }
        }

        /// However much time passes, a sleeper acts only when it is told something.
        fn act(&mut self, number: usize, database: &mut Database, now: Instant) {
            if self.next != Next::Release {
                self.listen(number, database, now);
            }
            self.next = match self.next {
                Next::Read { after } | Next::TryLock { after } if after >= FALLBACK => return,
                Next::Read { .. } => self.read(database, now),
                Next::TryLock { .. } => self.pace.tried(database.try_lock(number)),
                Next::Release => {
                    database.release(number);
                    self.pace.released(now)
                }
            };
        }

        fn listen(&mut self, number: usize, database: &mut Database, now: Instant) {
            if std::mem::take(&mut database.notified[number]) {
                self.next = self.pace.woken();
            }
            if std::mem::take(&mut database.told_of_release[number]) {
                self.next = self.pace.heard_release(now);
            }
        }

        fn read(&mut self, database: &Database, now: Instant) -> Next {
            let transactions = database.committed.transactions - self.read.transactions;
            self.read = database.committed;
            let writing = u32::try_from(database.open.len()).unwrap();
            self.pace.read(Seen { transactions, writing, took: Duration::ZERO }, now)
        }
    }

    proptest! {
        #[test]
        fn nothing_committed_waits_for_the_fallback_poll(
            steps in proptest::collection::vec(step(), 0..600),
            wakes in proptest::collection::vec(
                prop_oneof![3 => Just(Wake::Auto), 1 => Just(Wake::Notify), 1 => Just(Wake::Poll)],
                NODES..=NODES,
            ),
        ) {
            let mut database = Database::default();
            let mut now = Instant::now();
            let mut nodes: Vec<_> = wakes.into_iter().map(|wake| Node::new(wake, now)).collect();
            for step in steps {
                match step {
                    Step::Write(transaction) => database.write(transaction),
                    Step::Commit(transaction) => database.commit(transaction),
                    Step::Rollback(transaction) => { database.open.remove(&transaction); }
                    Step::Node(number) => nodes[number].act(number, &mut database, now),
                    Step::Pass(milliseconds) => now += Duration::from_millis(milliseconds.into()),
                }
            }
            for _ in 0..100 {
                now += SHORTEST;
                for (number, node) in nodes.iter_mut().enumerate() {
                    node.act(number, &mut database, now);
                }
            }
            for node in &nodes {
                prop_assert_eq!(node.read, database.committed);
            }
        }
    }

    /// A node that has fallen asleep, alone.
    fn asleep(wake: Wake, now: Instant) -> Pace {
        let mut pace = Pace::new(wake, FALLBACK, now);
        assert_eq!(pace.read(Seen::default(), now), Next::TryLock { after: Duration::ZERO });
        assert_eq!(pace.tried(Lock::Mine), Next::Read { after: Duration::ZERO });
        assert_eq!(pace.read(Seen::default(), now), Next::Read { after: FALLBACK });
        pace
    }

    fn seen(transactions: u32, writing: u32) -> Seen {
        Seen { transactions, writing, took: Duration::ZERO }
    }

    #[test]
    fn commits_that_come_one_by_one_leave_it_asleep() {
        let mut now = Instant::now();
        let mut pace = asleep(Wake::Auto, now);
        for _ in 0..1000 {
            now += EACH;
            assert_eq!(pace.woken(), Next::Read { after: Duration::ZERO });
            assert_eq!(pace.read(seen(1, 0), now), Next::Read { after: FALLBACK });
        }
    }

    #[test]
    fn commits_that_come_faster_wake_it_until_they_end() {
        let mut now = Instant::now();
        let mut pace = asleep(Wake::Auto, now);
        let mut last = Next::Read { after: FALLBACK };
        while last == (Next::Read { after: FALLBACK }) {
            now += EACH / 2;
            last = pace.read(seen(1, 0), now);
        }
        assert_eq!(last, Next::Release);
        pace.released(now);
        for _ in 0..1000 {
            now += EACH / 2;
            assert_eq!(pace.read(seen(1, 0), now), Next::Read { after: SHORTEST });
        }
        assert_eq!(pace.read(seen(0, 9), now + FULL / 2), Next::Read { after: SHORTEST });
        assert_eq!(pace.read(seen(0, 9), now + FULL), Next::TryLock { after: Duration::ZERO });
    }

    #[test]
    fn commits_that_wait_for_each_other_wake_it_at_once() {
        let now = Instant::now();
        let mut pace = asleep(Wake::Auto, now);
        assert_eq!(pace.read(seen(1, 31), now), Next::Release);
        let mut pace = asleep(Wake::Notify, now);
        assert_eq!(pace.read(seen(1, 31), now), Next::Read { after: FALLBACK });
    }

    #[test]
    fn a_server_that_answers_late_is_asked_less_often() {
        let now = Instant::now();
        let mut pace = asleep(Wake::Auto, now);
        pace.released(now);
        let took = Duration::from_micros(250);
        assert_eq!(pace.read(Seen { took, ..seen(1, 0) }, now), Next::Read { after: took * 8 });
        let took = Duration::from_secs(1);
        assert_eq!(pace.read(Seen { took, ..seen(1, 0) }, now), Next::Read { after: LONGEST });
    }

    #[test]
    fn a_lock_that_is_not_to_be_had_is_tried_for_less_and_less_often() {
        let now = Instant::now();
        let mut pace = Pace::new(Wake::Auto, FALLBACK, now);
        let pauses = [1, 2, 4, 8, 16, 20, 20].map(Duration::from_millis);
        for after in pauses {
            assert_eq!(pace.tried(Lock::Free), Next::Read { after });
            assert_eq!(pace.read(seen(0, 1), now), Next::TryLock { after: Duration::ZERO });
        }
    }

    #[test]
    fn a_node_that_sleeps_beside_another_keeps_trying_for_the_lock() {
        let now = Instant::now();
        let mut pace = Pace::new(Wake::Auto, FALLBACK, now);
        for _ in 0..3 {
            assert_eq!(pace.tried(Lock::Anothers), Next::Read { after: Duration::ZERO });
            assert_eq!(pace.read(Seen::default(), now), Next::TryLock { after: FALLBACK });
        }
        assert_eq!(pace.woken(), Next::Read { after: Duration::ZERO });
        assert_eq!(pace.read(seen(1, 0), now), Next::TryLock { after: FALLBACK });
        assert_eq!(pace.heard_release(now), Next::Read { after: Duration::ZERO });
        assert_eq!(pace.read(seen(1, 0), now), Next::Read { after: SHORTEST });
    }

    #[test]
    fn a_table_that_never_notifies_keeps_it_awake() {
        let now = Instant::now();
        let mut pace = asleep(Wake::Auto, now);
        pace.set_polled_tables(true);
        assert_eq!(pace.read(Seen::default(), now), Next::Release);
        pace.released(now);
        let now = now + FULL;
        assert_eq!(pace.read(Seen::default(), now), Next::Read { after: POLL });
    }
}

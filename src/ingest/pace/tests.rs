//! The pace of one node, and of several around a database that knows transactions and the lock.
//!
//! In: random steps of writers and nodes, and time. Out: assertions. Invariant: no node has to wait for the fallback
//! poll to see what was committed.

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
        self.pace.read(Seen { transactions, writing }, now)
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
        for _ in 0..400 {
            now += BUSY;
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
    Seen { transactions, writing }
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
        assert_eq!(pace.read(seen(1, 0), now), Next::Read { after: BUSY });
    }
    now += LINGER / 2;
    assert_eq!(pace.read(seen(0, 9), now), Next::Read { after: BUSY });
    assert_eq!(pace.read(seen(0, 9), now + LINGER), Next::TryLock { after: Duration::ZERO });
}

#[test]
fn one_commit_among_many_others_wakes_it_for_a_moment_only() {
    let now = Instant::now();
    let mut pace = asleep(Wake::Auto, now);
    assert_eq!(pace.read(seen(1, 31), now), Next::Release);
    pace.released(now);
    assert_eq!(pace.read(seen(1, 31), now), Next::Read { after: BUSY });
    let soon = now + FULL + EACH;
    assert_eq!(pace.read(seen(0, 31), soon), Next::TryLock { after: Duration::ZERO });
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
    assert_eq!(pace.read(seen(1, 0), now), Next::Read { after: BUSY });
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

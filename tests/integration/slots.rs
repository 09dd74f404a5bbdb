//! A reader that looks into the slots that may hold something new, and into no others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rowcast::domain::position::Position;
use rowcast::postgres::event_log::EventLog;
use rowcast::postgres::identity::{EpochPolicy, Identity};
use rowcast::postgres::retention::maintain;
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::harness::Database;

#[tokio::test]
async fn a_slot_that_holds_nothing_new_is_not_looked_into() {
    let db = Database::migrated().await;
    let mut reader = Reader::new(&db).await;
    emit(&db.client().await, "first").await;
    assert_eq!(reader.read().await, ["first"]);
    let other = db.client().await;
    other
        .batch_execute("begin; lock table rowcast.event_7 in access exclusive mode")
        .await
        .expect("nobody reads it");
    emit(&db.client().await, "second").await;
    let read = timeout(DEADLINE, reader.read()).await;
    assert_eq!(read.expect("nobody waits for the lock"), ["second"]);
}

#[tokio::test]
async fn what_a_long_transaction_wrote_before_the_ring_was_turned_is_found_after() {
    let db = Database::migrated().await;
    let (client, long) = (db.client().await, db.client().await);
    let mut reader = Reader::new(&db).await;
    long.batch_execute("begin").await.unwrap();
    emit(&long, "late").await;
    for event in ["one", "two", "three"] {
        emit(&client, event).await;
        assert_eq!(reader.read().await, [event]);
        turn(&client).await;
        assert_eq!(reader.read().await, [""; 0]);
    }
    long.batch_execute("commit").await.unwrap();
    assert_eq!(reader.read().await, ["late"]);
}

#[tokio::test]
async fn a_turn_is_noticed_by_the_next_read_be_it_written_down_or_not() {
    let db = Database::migrated().await;
    let client = db.client().await;
    let mut reader = Reader::new(&db).await;
    // The last of them without a round between them, and all the way round.
    for turn in [1, 2, 3, 5, 17, 16] {
        emit(&client, "before").await;
        client
            .batch_execute(&format!("select setval('rowcast.event_slot_seq', {turn})"))
            .await
            .unwrap();
        emit(&client, "behind").await;
        assert_eq!(reader.read().await, ["before", "behind"]);
        emit(&client, "later").await;
        assert_eq!(reader.read().await, ["later"]);
        if turn < 5 {
            maintain(&client, HOUR, PLENTY).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_others_have_written_and_not_committed_is_counted() {
    let db = Database::migrated().await;
    let mut reader = Reader::new(&db).await;
    let (client, waiting) = (db.client().await, db.client().await);
    emit(&client, "first").await;
    reader.read().await;
    assert_eq!(reader.writing, 0);
    client.batch_execute("begin").await.unwrap();
    emit(&client, "second").await;
    waiting.batch_execute("begin").await.unwrap();
    emit(&waiting, "third").await;
    emit(&waiting, "fourth").await;
    client.batch_execute("commit").await.unwrap();
    assert_eq!(reader.read().await, ["second"]);
    assert_eq!(reader.writing, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_that_turns_under_writers_keeps_nothing_from_the_reader() {
    let db = Database::migrated().await;
    let mut reader = Reader::new(&db).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut work = Vec::new();
    for number in 0..4 {
        work.push(tokio::spawn(write(db.client().await, number, Arc::clone(&stop))));
    }
    let (ring, stopped) = (db.client().await, Arc::clone(&stop));
    work.push(tokio::spawn(async move {
        let _stop = Stop(stopped);
        // As many as there are slots to turn to.
        for _ in 0..10 {
            turn(&ring).await;
            ring.batch_execute("select pg_sleep(0.05)").await.unwrap();
        }
    }));
    while !work.iter().all(tokio::task::JoinHandle::is_finished) {
        reader.read().await;
    }
    for done in work {
        done.await.expect("nothing fails");
    }
    reader.read().await;
    let rows = db.client().await.query("select id from rowcast.event", &[]).await.unwrap();
    let logged: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(reader.seen, logged);
}

/// Transactions of no length and of several turns.
async fn write(client: Client, number: u32, stop: Arc<AtomicBool>) {
    let mut step = number;
    while !stop.load(Ordering::Acquire) {
        let length = if step.is_multiple_of(29) { 0.2 } else { f64::from(step % 3) / 1000.0 };
        let sql = format!(
            "begin; select rowcast.emit('a', 'x'); select pg_sleep({length}); select rowcast.emit('a', 'y'); commit"
        );
        client.batch_execute(&sql).await.expect("an application's write never fails");
        step += 1;
    }
}

/// Stops the writers, also when what drops it has failed.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

struct Reader {
    log: EventLog,
    position: Position,
    seen: BTreeSet<i64>,
    writing: u32,
}

impl Reader {
    async fn new(db: &Database) -> Self {
        let client = db.client().await;
        // As the daemon's own sessions have it.
        client.batch_execute("set jit = off").await.unwrap();
        let identity = Identity::read(&client, EpochPolicy::Strict).await.unwrap();
        let log = EventLog::new(client, Arc::new(identity)).await.unwrap();
        let position = log.start().await.unwrap().position;
        let mut reader = Self { log, position, seen: BTreeSet::new(), writing: 0 };
        reader.read().await;
        reader
    }

    /// The names of what is new.
    async fn read(&mut self) -> Vec<String> {
        let mut ops = Vec::new();
        let mut reading = self.log.read(&self.position).await.unwrap();
        assert!(!reading.is_pruned());
        while reading.goes_on(&self.position) {
            let batch = reading.next_batch().await.unwrap();
            self.position = batch.position;
            for event in batch.events {
                assert!(self.seen.insert(event.logged.unwrap().id), "twice: {event:?}");
                ops.push(event.op.to_string());
            }
        }
        self.writing = reading.writing();
        ops
    }
}

async fn emit(client: &Client, event: &str) {
    client.execute("select rowcast.emit('a', $1)", &[&event]).await.unwrap();
}

/// New events go into another slot from here on.
async fn turn(client: &Client) {
    maintain(client, HOUR, PLENTY).await.unwrap();
    let old = "update rowcast.slot set opened_at = opened_at - interval '20 minutes'";
    client.batch_execute(old).await.unwrap();
    // Not while the slot is empty, or autovacuum has its list.
    let turned = timeout(DEADLINE, async {
        while !maintain(client, HOUR, PLENTY).await.unwrap().turned {
            client.batch_execute("select pg_sleep(0.01)").await.unwrap();
        }
    });
    turned.await.expect("the ring turns");
}

const HOUR: Duration = Duration::from_secs(3600);
const PLENTY: u64 = 1 << 40;
const DEADLINE: Duration = Duration::from_secs(30);

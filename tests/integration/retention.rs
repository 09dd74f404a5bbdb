//! The log within its limits: what goes, what stays, what the floor says of it, and that no writer notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rowcast::postgres::event_log::{EventLog, ReadError};
use rowcast::postgres::identity::{EpochPolicy, Identity};
use rowcast::postgres::migrations::{MIGRATIONS, migrate};
use rowcast::postgres::retention::{Round, maintain};
use tokio_postgres::Client;

use crate::harness::{Database, World, logged, until};

const HOUR: Duration = Duration::from_secs(3600);
const PLENTY: u64 = 1 << 40;

/// Far above anything that happens when it works.
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_is_older_than_keep_goes_and_the_floor_is_exact() {
    let log = Log::new().await;
    log.emit("old").await;
    log.emit("oldest but one").await;
    let newest: i64 = log.number("select max(xid::text::bigint) from rowcast.event").await;
    log.turn().await;
    log.emit("young").await;
    log.settle().await;
    assert_eq!(log.round(HOUR, PLENTY).await.removed, 0);
    assert_eq!(log.floor().await, 0);
    log.age("2 hours").await;
    let round = log.round(HOUR, PLENTY).await;
    assert_eq!((round.removed, round.waiting), (1, None));
    assert!(round.freed > 0);
    assert_eq!(logged(&log.db).await, ["young {a} row 1"]);
    assert_eq!(log.floor().await, newest + 1);
}

#[tokio::test]
async fn the_slot_that_is_written_to_is_never_emptied() {
    let log = Log::new().await;
    log.emit("here").await;
    log.round(HOUR, PLENTY).await;
    log.age("9 hours").await;
    assert_eq!(log.round(Duration::ZERO, 0).await.removed, 0);
    assert_eq!(logged(&log.db).await.len(), 1);
    // Of a quiet database it is closed once its time is over, and goes like all others.
    log.settle().await;
    assert_eq!(log.round(Duration::ZERO, PLENTY).await.removed, 1);
    assert_eq!(logged(&log.db).await.len(), 0);
}

#[tokio::test]
async fn an_empty_log_costs_no_transaction_id_and_no_turn() {
    let log = Log::new().await;
    log.round(HOUR, PLENTY).await;
    log.age("9 hours").await;
    log.client.batch_execute("begin").await.unwrap();
    let round = log.round(HOUR, PLENTY).await;
    let own = log.client.query_one("select pg_current_xact_id_if_assigned() is null", &[]).await;
    log.client.batch_execute("commit").await.unwrap();
    assert!(own.unwrap().get::<_, bool>(0) && !round.turned);
}

#[tokio::test]
async fn the_oldest_goes_while_the_log_is_too_large() {
    let log = Log::new().await;
    let large = "insert into rowcast.event (op, channels, row) select 'large', '{a}', to_json(repeat(md5(n::text), 30)) from generate_series(1, 1000) n";
    let limit = 4 << 20;
    let mut removed = 0;
    for _ in 0..30 {
        log.client.batch_execute(large).await.unwrap();
        log.settle().await;
        let round = log.round(HOUR, limit).await;
        removed += round.removed;
        // Beyond the limit is what came since.
        assert!(round.bytes.unwrap() < 6 << 20, "{round:?}");
    }
    assert!(removed > 10, "{removed}");
    let kept = log.number("select sum(pg_total_relation_size(relid))::bigint from pg_partition_tree('rowcast.event')").await;
    assert!((2 << 20..6 << 20).contains(&kept), "{kept}");
    log.is_honest().await;
}

#[tokio::test]
async fn a_long_writer_is_waited_for_and_what_it_commits_late_is_kept_as_long_as_all_else() {
    let log = Log::new().await;
    let long = log.db.client().await;
    long.batch_execute("begin; select rowcast.emit('a', 'late', '1')").await.unwrap();
    log.emit("other").await;
    log.turn().await;
    log.round(HOUR, PLENTY).await;
    log.age("2 hours").await;
    log.writes_go_on().await;
    let round = log.round(HOUR, PLENTY).await;
    assert_eq!(round.removed, 0);
    assert!(round.waiting.unwrap().contains("still open"));
    log.writes_go_on().await;
    long.batch_execute("commit").await.expect("an application's write never fails");
    log.settle().await;
    assert_eq!(log.round(HOUR, PLENTY).await.removed, 0);
    let late = "select count(*) from rowcast.event where op = 'late'";
    assert_eq!(log.number(late).await, 1);
    log.age("2 hours").await;
    assert!(log.round(HOUR, PLENTY).await.removed > 0);
    assert_eq!(log.number(late).await, 0);
}

#[tokio::test]
async fn the_floor_stays_below_the_oldest_open_transaction() {
    let log = Log::new().await;
    let long = log.db.client().await;
    let begun = "select pg_current_xact_id()::text::bigint";
    long.batch_execute("begin").await.unwrap();
    let oldest: i64 = long.query_one(begun, &[]).await.unwrap().get(0);
    log.emit("newer").await;
    log.turn().await;
    for _ in 0..3 {
        log.age("2 hours").await;
        log.round(HOUR, 0).await;
    }
    assert!(log.floor().await <= oldest);
    long.batch_execute("select rowcast.emit('a', 'late', '1'); commit").await.unwrap();
    log.is_honest().await;
}

#[tokio::test]
async fn a_long_reader_delays_the_removal_and_nobody_else() {
    let log = Log::new().await;
    log.emit("old").await;
    log.turn().await;
    log.settle().await;
    log.age("2 hours").await;
    let reader = log.db.client().await;
    reader.batch_execute("begin; select count(*) from rowcast.event").await.unwrap();
    let others = async {
        for _ in 0..50 {
            log.writes_go_on().await;
            log.reads_go_on().await;
        }
    };
    let (round, ()) = tokio::join!(log.round(HOUR, PLENTY), others);
    assert_eq!(round.removed, 0);
    assert!(round.waiting.unwrap().contains("being read"));
    assert_eq!(log.floor().await, 0, "nothing went, so nothing is missing");
    reader.batch_execute("commit").await.unwrap();
    assert_eq!(log.round(HOUR, PLENTY).await.removed, 1);
}

#[tokio::test]
async fn one_session_at_a_time_does_it_and_another_takes_over_at_once() {
    let log = Log::new().await;
    let leader = log.db.client().await;
    leader.batch_execute("begin; select rowcast.maintain('1 hour', 1000000000)").await.unwrap();
    let round = log.round(HOUR, PLENTY).await;
    assert_eq!(
        round,
        Round { led: false, turned: false, removed: 0, freed: 0, bytes: None, waiting: None }
    );
    leader.batch_execute("commit").await.unwrap();
    assert!(log.round(HOUR, PLENTY).await.led);
}

#[tokio::test]
async fn a_turn_that_nobody_wrote_down_loses_nothing() {
    let log = Log::new().await;
    log.emit("first").await;
    log.round(HOUR, PLENTY).await;
    // A round that moved the ring and was then rolled back, and a ring that went all the way round.
    for turn in [1, 13, 25, 24] {
        log.client
            .batch_execute(&format!(
                "begin; select setval('rowcast.event_slot_seq', {turn}); rollback"
            ))
            .await
            .unwrap();
        log.emit("next").await;
        for _ in 0..3 {
            assert_eq!(log.round(HOUR, PLENTY).await.removed, 0);
        }
    }
    assert_eq!(logged(&log.db).await.len(), 5);
    assert_eq!(log.number("select count(*) from rowcast.slot where closed_at is null").await, 1);
}

#[tokio::test]
async fn what_an_older_version_logged_ages_like_all_else() {
    let db = Database::empty().await;
    db.batch_execute(MIGRATIONS[0].sql()).await;
    db.batch_execute(
        "insert into rowcast.migration (version, name) values (1, '0001_schema');
         insert into rowcast.event (op, channels) select 'before', '{a}' from generate_series(1, 10)",
    )
    .await;
    migrate(&mut db.client().await).await.unwrap();
    let log = Log { client: db.client().await, db };
    log.emit("after").await;
    log.round(HOUR, PLENTY).await;
    log.settle().await;
    assert_eq!(logged(&log.db).await.len(), 11);
    log.age("2 hours").await;
    assert_eq!(log.round(HOUR, PLENTY).await.removed, 1);
    assert_eq!(logged(&log.db).await, ["after {a} row 1"]);
    log.is_honest().await;
}

#[tokio::test]
async fn a_floor_that_a_dump_brought_from_another_server_is_taken_back() {
    let log = Log::new().await;
    log.client.batch_execute("update rowcast.floor set xid = '9000000000000000'").await.unwrap();
    log.round(HOUR, PLENTY).await;
    assert_eq!(log.floor().await, 0);
}

#[tokio::test]
async fn a_limit_that_makes_no_sense_is_refused() {
    let log = Log::new().await;
    for arguments in ["'-1 s', 1", "'1 s', -1", "null, 1", "'1 s', null"] {
        let refused =
            log.client.batch_execute(&format!("select rowcast.maintain({arguments})")).await;
        let error = refused.expect_err(arguments);
        assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some("RC009"));
    }
}

/// Every event of a writer is in a ledger as well, so what is missing shows.
const LEDGER: &str = "
    create table ledger (id int generated always as identity primary key,
                         at timestamptz not null default clock_timestamp(),
                         xid xid8 not null default pg_current_xact_id(), filler text);
    select rowcast.watch('ledger')";

#[tokio::test(flavor = "multi_thread")]
async fn by_time_nothing_young_goes_under_concurrent_writers() {
    let keep = Duration::from_secs(1);
    let young = "select count(*) from ledger l where l.at > clock_timestamp() - interval '0.9 s'
                    and not exists (select from rowcast.event e where e.xid = l.xid and (e.key->>'id')::int = l.id)";
    under_writers(keep, PLENTY, young).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_size_the_log_stays_small_under_concurrent_writers() {
    let (rounds, largest) = under_writers(HOUR, 2 << 20, "select 0::bigint").await;
    // What came since the last round, and the slot that was being written to.
    assert!(largest < 5 << 20, "{largest} bytes in {rounds} rounds");
}

/// Rounds without a pause while six writers write; `fault` counts what must not be.
async fn under_writers(keep: Duration, max_bytes: u64, fault: &str) -> (u32, i64) {
    let log = Log::new().await;
    log.db.batch_execute(LEDGER).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..6 {
        writers.spawn(writer(log.db.client().await, number, Arc::clone(&stop)));
    }
    let deadline = Instant::now() + DEADLINE;
    let (mut rounds, mut removed, mut largest) = (0, 0, 0);
    while rounds < 300 || removed < 5 {
        assert!(Instant::now() < deadline, "{rounds} rounds, {removed} removed");
        let round = log.round(keep, max_bytes).await;
        removed += round.removed;
        rounds += 1;
        // While somebody's transaction is open, the log may have to grow.
        if round.waiting.is_none() {
            largest = largest.max(round.bytes.unwrap());
        }
        // Each looks through the whole ledger.
        if rounds % 10 == 0 {
            assert_eq!(log.number(fault).await, 0);
            log.is_honest().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended.expect("an application's write never fails");
    }
    log.is_honest().await;
    assert_eq!(
        log.number("select count(*) from pg_inherits where inhparent = 'rowcast.event'::regclass")
            .await,
        13
    );
    assert_eq!(log.number("select count(*) from rowcast.event_default").await, 0);
    (rounds, largest)
}

/// Short, long, rolled back; a lock it would have to wait for is an error.
async fn writer(client: Client, number: u32, stop: Arc<AtomicBool>) {
    client.batch_execute("set lock_timeout = '1 s'").await.unwrap();
    let mut step = 0;
    while !stop.load(Ordering::Relaxed) {
        let dice = (number * 7919 + step * 104_729) % 97;
        let insert = "insert into ledger (filler) select repeat(md5(n::text), 10) from generate_series(1, 5) n;";
        let sql = match dice % 10 {
            0 => format!("begin; {insert} rollback"),
            1 => format!("begin; savepoint s; {insert} rollback to s; {insert} commit"),
            2 => format!("begin; {insert} select pg_sleep(0.{:02}); {insert} commit", dice % 30),
            _ => insert.to_owned(),
        };
        client.batch_execute(&sql).await.expect("an application's write never fails");
        step += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_keeps_the_log_within_its_limits() {
    let world = World::with(
        "policy = [{ channel = \"*\", allow = [\"subscribe\"] }]\n[log]\nkeep = \"60s\"\nmax_bytes = \"1MiB\"",
    )
    .await;
    let mut client = world.subscriber("ada", &["a"]).await;
    world.sql("select rowcast.emit('a', 'old', '1')").await;
    assert_eq!(client.next().await["type"], "change");
    let log = Log { client: world.db.client().await, db: world.db };
    let old = "select count(*) from rowcast.event where op = 'old'";
    until("the daemon removes what is too old", async || {
        log.age("2 minutes").await;
        (log.number(old).await == 0).then_some(())
    })
    .await;
    assert!(log.floor().await > 0);
    log.emit("new").await;
    assert_eq!(client.next().await["type"], "change");
    world.daemon.stop().await;
}

struct Log {
    db: Database,
    client: Client,
}

impl Log {
    async fn new() -> Self {
        let db = Database::migrated().await;
        Self { client: db.client().await, db }
    }

    async fn emit(&self, event: &str) {
        self.client.execute("select rowcast.emit('a', $1, '1')", &[&event]).await.unwrap();
    }

    async fn round(&self, keep: Duration, max_bytes: u64) -> Round {
        maintain(&self.client, keep, max_bytes).await.expect("a round succeeds")
    }

    /// New events go into another slot from here on.
    async fn turn(&self) {
        self.round(HOUR, PLENTY).await;
        self.age("20 minutes").await;
        assert!(self.round(HOUR, PLENTY).await.turned);
    }

    /// Nobody writes to what was closed any more. Other tests' transactions on the same server count too, so it may take a moment.
    async fn settle(&self) {
        let open =
            "select count(*) from rowcast.slot where closed_at is not null and settled_at is null";
        until("every transaction ends", async || {
            self.round(HOUR, PLENTY).await;
            (self.number(open).await == 0).then_some(())
        })
        .await;
    }

    /// Makes the log older than it is.
    async fn age(&self, by: &str) {
        let age = format!(
            "update rowcast.slot
                set opened_at = opened_at - interval '{by}', closed_at = closed_at - interval '{by}', settled_at = settled_at - interval '{by}'"
        );
        self.client.batch_execute(&age).await.unwrap();
    }

    /// A write of somebody who does not wait for locks.
    async fn writes_go_on(&self) {
        self.goes_on("select rowcast.emit('b', 'meanwhile', '1')").await;
    }

    /// The same of a reader of the whole log.
    async fn reads_go_on(&self) {
        self.goes_on("select count(*) from rowcast.event").await;
    }

    async fn goes_on(&self, sql: &str) {
        let client = self.db.client().await;
        client.batch_execute("set lock_timeout = '100 ms'").await.unwrap();
        client.batch_execute(sql).await.expect("nobody waits");
    }

    async fn number(&self, sql: &str) -> i64 {
        match self.client.query_one(sql, &[]).await {
            Ok(row) => row.get(0),
            Err(error) => panic!("{error:?} in: {sql}"),
        }
    }

    async fn floor(&self) -> i64 {
        self.number("select xid::text::bigint from rowcast.floor").await
    }

    /// Of what is in the ledger, everything from the floor on is in the log.
    async fn is_honest(&self) {
        self.client
            .batch_execute("create table if not exists ledger (id int, xid xid8)")
            .await
            .unwrap();
        let missing = "select count(*) from ledger l where l.xid >= (select xid from rowcast.floor)
                          and not exists (select from rowcast.event e where e.xid = l.xid and (e.key->>'id')::int = l.id)";
        assert_eq!(self.number(missing).await, 0);
        let above = "select count(*) from rowcast.floor where xid > pg_snapshot_xmin(pg_current_snapshot())";
        assert_eq!(self.number(above).await, 0);
    }
}

/// What a dump brings from a server that was further on would be new with every read.
#[tokio::test]
async fn events_of_another_server_are_noticed_before_anything_is_read() {
    let db = Database::migrated().await;
    let check = async || {
        let client = db.client().await;
        let identity = Identity::read(&client, EpochPolicy::Strict).await.unwrap();
        EventLog::new(client, Arc::new(identity)).await.unwrap().check_own().await
    };
    db.batch_execute("select rowcast.emit('a', 'own')").await;
    check().await.unwrap();
    db.batch_execute(
        "insert into rowcast.event (op, channels, xid) values ('x', '{a}', '9999999999')",
    )
    .await;
    assert!(matches!(check().await, Err(ReadError::Foreign)));
    db.batch_execute("truncate rowcast.event").await;
    check().await.unwrap();
}

//! Advisory locks have no rights: any role can hold any of them.

use std::time::Duration;

use rowcast::postgres::migrations::migrate;
use rowcast::postgres::retention::maintain;
use rowcast::postgres::scratch::ScratchCluster;
use tokio::time::timeout;

use super::Attacker;
use crate::harness::{Database, options};

#[tokio::test]
async fn nobody_keeps_the_log_from_being_pruned() {
    let attacker = Attacker::new().await;
    let client = attacker.client().await;
    // Every number near ours, in both modes.
    client
        .batch_execute(
            "select pg_advisory_lock(32210705904137076 + n) from generate_series(0, 20) n",
        )
        .await
        .unwrap();
    let round =
        maintain(&attacker.db.client().await, Duration::from_secs(60), 1 << 30).await.unwrap();
    assert!(round.led);
}

#[tokio::test]
async fn a_node_that_sleeps_beside_another_is_not_in_the_way_of_an_upgrade() {
    let attacker = Attacker::new().await;
    let client = attacker.db.client().await;
    client.batch_execute("select pg_advisory_lock(32210705904137076), pg_advisory_lock_shared(32210705904137077)").await.unwrap();
    let mut installer = attacker.db.client().await;
    timeout(Duration::from_secs(20), migrate(&mut installer))
        .await
        .expect("nobody waits for a node that sleeps")
        .unwrap();
}

#[tokio::test]
async fn a_full_lock_table_fails_no_write_that_would_have_succeeded_unwatched() {
    let small = [("max_connections", "20"), ("max_locks_per_transaction", "16")];
    let mut options = options();
    options.settings.extend(small.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let cluster = ScratchCluster::start(options).await.expect("the server starts");
    let db = Database::alone(&cluster).await;
    db.batch_execute(
        "create table plain (n int primary key); create table by_statement (n int primary key); create table by_row (n int primary key);
         select rowcast.watch('by_statement'); select rowcast.watch('by_row', capture => 'row')",
    )
    .await;
    let (writer, hog) = (db.client().await, db.client().await);
    let insert = |table, n: u32| format!("insert into {table} values ({n})");
    for n in 0..7 {
        for table in ["plain", "by_statement", "by_row"] {
            writer.batch_execute(&insert(table, n)).await.unwrap();
        }
    }
    for n in 1.. {
        if hog.batch_execute(&format!("select pg_advisory_lock({n})")).await.is_err() {
            break;
        }
    }
    // Room is made lock by lock: there is a point where the write has its own and the wake-up finds none.
    let mut written = 0;
    for n in 7..30 {
        if writer.batch_execute(&insert("plain", n)).await.is_ok() {
            for table in ["by_statement", "by_row"] {
                writer
                    .batch_execute(&insert(table, n))
                    .await
                    .unwrap_or_else(|error| panic!("{table}: {error:?}"));
            }
            written += 1;
        }
        hog.batch_execute(&format!("select pg_advisory_unlock({})", n - 6)).await.unwrap();
    }
    assert!((1..23).contains(&written), "it was full at first, and not at last: {written}");
    let logged: i64 =
        writer.query_one("select count(*) from rowcast.event", &[]).await.unwrap().get(0);
    assert_eq!(logged, 2 * (7 + written), "none is missing from the log");
}

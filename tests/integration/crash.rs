//! The server goes down and comes back, with clients connected all the time.

use rowcast::postgres::scratch::{ScratchCluster, ScratchOptions, StopMode};
use serde_json::Value;

use crate::harness::{Client, Database, OPEN, World, options};

/// A server that keeps to itself what it need not write, until somebody commits.
async fn lazy_server() -> ScratchCluster {
    let lazy = [("synchronous_commit", "on"), ("wal_writer_delay", "10s"), ("autovacuum", "off")];
    let mut options: ScratchOptions = options();
    options.settings.extend(lazy.map(|(name, value)| (name.to_owned(), value.to_owned())));
    ScratchCluster::start(options).await.expect("the server starts")
}

async fn next_row(client: &mut Client) -> Value {
    client.skip_to(|message| message["type"] == "change").await["row"]["id"].clone()
}

/// PostgreSQL hands out again the ids of transactions of which nothing reached the disk. A reader that had them
/// down as seen would never deliver what their next owners write.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_gets_the_id_of_one_lost_in_a_crash_is_delivered() {
    let cluster = lazy_server().await;
    let world = World::on(Database::alone(&cluster).await, OPEN).await;
    world
        .sql("create table item (id int primary key); select rowcast.watch('item', array['items'])")
        .await;
    let mut client = world.subscriber("ana", &["items"]).await;
    world.sql("insert into item values (1)").await;
    let before = client.next().await["id"].as_str().unwrap().to_owned();

    let session = world.db.client().await;
    session.batch_execute("begin; insert into item values (2)").await.unwrap();
    let lost: String =
        session.query_one("select pg_current_xact_id()::text", &[]).await.unwrap().get(0);
    session.batch_execute("rollback").await.unwrap();
    wait_for_a_read(&session).await;
    cluster.restart(StopMode::Immediate).await.expect("the server comes back");

    let session = world.db.client().await;
    let insert = "insert into item values (3) returning pg_current_xact_id()::text";
    let again: String = session.query_one(insert, &[]).await.unwrap().get(0);
    assert_eq!(again, lost, "the server did what this test is about");
    // The change may come before the news that the database is back, which everybody gets who is there.
    let mut heard = [client.next().await, client.next().await, client.next().await];
    heard.sort_by_key(|message| message["event"].as_str().map(str::to_owned));
    assert_eq!(heard[0]["row"]["id"], 3, "{heard:?}");
    assert_eq!((&heard[1]["event"], &heard[2]["event"]), (&"degraded".into(), &"recovered".into()));
    let mut back = world.client("ana").await;
    assert_eq!(back.resume("items", &before).await["replayed"], 1);
    assert_eq!(next_row(&mut back).await, 3);
    world.daemon.stop().await;
    cluster.stop().await;
}

/// Until the daemon has read the log once more.
async fn wait_for_a_read(session: &tokio_postgres::Client) {
    let reads = "select bool_or(query_start > $1) from pg_stat_activity
                  where application_name = 'rowcast' and query like '%pg_current_snapshot%'";
    let now: std::time::SystemTime =
        session.query_one("select clock_timestamp()", &[]).await.unwrap().get(0);
    while session.query_one(reads, &[&now]).await.unwrap().get::<_, Option<bool>>(0) != Some(true) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_stay_connected_through_restarts_and_miss_nothing() {
    let cluster = lazy_server().await;
    let world = World::on(Database::alone(&cluster).await, OPEN).await;
    world
        .sql("create table item (id int primary key); select rowcast.watch('item', array['items'])")
        .await;
    let mut client = world.subscriber("ana", &["items"]).await;
    for (round, mode) in (0..6).zip([StopMode::Fast, StopMode::Immediate].into_iter().cycle()) {
        world.sql(&format!("insert into item values ({round})")).await;
        cluster.restart(mode).await.expect("the server comes back");
        world.sql(&format!("insert into item values ({round} + 100)")).await;
        assert_eq!(next_row(&mut client).await, round);
        assert_eq!(next_row(&mut client).await, round + 100);
    }
    world.daemon.stop().await;
    cluster.stop().await;
}

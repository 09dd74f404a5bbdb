//! The server goes down and comes back, with clients connected all the time.

use rowcast::postgres::scratch::{ScratchCluster, ScratchOptions, StopMode};
use serde_json::{Value, json};

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

    // Whatever else the server writes in between takes the id; then the next one will do.
    let mut crashes = 1;
    while !crash_and_write_again(&world, &cluster).await {
        crashes += 1;
        assert!(crashes < 10, "the server never handed out an id again");
        let row = client.skip_to(|message| message["type"] == "change").await;
        assert_eq!(row["row"]["id"], 3);
        world.sql("delete from item where id = 3").await;
        client.skip_to(|message| message["op"] == "delete").await;
    }
    let row = client.skip_to(|message| message["type"] == "change").await;
    assert_eq!(row["row"]["id"], 3);
    let mut back = world.client("ana").await;
    back.send(json!({ "type": "subscribe", "channel": "items", "after": before })).await;
    let ok = back.skip_to(|message| message["type"] == "ok").await;
    assert_eq!(
        (&ok["recovered"], &ok["replayed"]),
        (&json!(true), &json!(2 * crashes - 1)),
        "{ok}"
    );
    world.daemon.stop().await;
    cluster.stop().await;
}

/// Loses a transaction in a crash and writes another one; whether that got the same id.
async fn crash_and_write_again(world: &World, cluster: &ScratchCluster) -> bool {
    let session = world.db.client().await;
    session.batch_execute("begin; insert into item values (2)").await.unwrap();
    let id = "select pg_current_xact_id()::text";
    let lost: String = session.query_one(id, &[]).await.unwrap().get(0);
    session.batch_execute("rollback").await.unwrap();
    // What is seen first may be its look at the watches, with the read before it.
    wait_for_a_statement(&session).await;
    wait_for_a_statement(&session).await;
    cluster.restart(StopMode::Immediate).await.expect("the server comes back");
    let session = world.db.client().await;
    let insert = "insert into item values (3) returning pg_current_xact_id()::text";
    session.query_one(insert, &[]).await.unwrap().get::<_, String>(0) == lost
}

/// Until the daemon has read the log once more, or looked at the watches, which it does behind a read.
async fn wait_for_a_statement(session: &tokio_postgres::Client) {
    let reads = "select bool_or(query_start > $1) from pg_stat_activity
                  where application_name = 'rowcast'
                    and (query like '%pg_current_snapshot%' or query like '%from rowcast.watched%')";
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

//! Crowds that wait for a read of the log while the line breaks, another server takes over, or the log is pruned.

use std::net::SocketAddr;

use rowcast::app::Daemon;
use rowcast::postgres::scratch::ScratchCluster;
use serde_json::{Value, json};

use crate::crowd::{
    CROWD, expect_missed, facts, gather, hold_reads, long_log, next, place, resume_all,
    until_a_read_waits,
};
use crate::fail_over::{both, pair};
use crate::harness::{Client, Database, Fault, OPEN, Proxy, World, cluster, options};
use crate::resume::id;

/// The past can't be had: the answer says so, and then why.
async fn expect_refused(client: &mut Client, reason: &str) {
    let ok = next(client).await;
    assert_eq!((&ok["recovered"], &ok["replayed"]), (&json!(false), &json!(0)), "{ok}");
    assert_eq!(next(client).await, reset(reason));
}

/// Told once to start over: with the answer, or behind some of what it missed, where a shard asked the other server for
/// that before the node had noticed.
async fn expect_start_over(client: &mut Client, missed: &[Value]) {
    let ok = next(client).await;
    let replayed = if ok["recovered"] == true { missed } else { &[] };
    assert_eq!(ok["replayed"], replayed.len(), "{ok}");
    let mut replayed = replayed.iter();
    loop {
        let message = next(client).await;
        if message["type"] != "change" {
            return assert_eq!(message, reset("epoch"));
        }
        let expected = replayed.next().expect("no more than was missed");
        assert_eq!(facts(&[message]), facts(std::slice::from_ref(expected)));
    }
}

fn reset(reason: &str) -> Value {
    json!({ "type": "reset", "channel": "items", "reason": reason })
}

fn behind(proxy: &Proxy, db: &Database, server: SocketAddr) -> (String, String) {
    let url = format!("postgres://postgres@{}/{}", proxy.address(), db.name());
    let direct = format!("postgres://postgres@{server}/{}", db.name());
    (url, format!("database.listen_url = \"{direct}\"\n{OPEN}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_read_that_breaks_off_or_goes_silent_is_told_and_comes_back_later() {
    tokio::join!(
        lose_read(Fault::Reset, CROWD),
        lose_read(Fault::Mute, CROWD),
        // Who comes alone is read for alone.
        lose_read(Fault::Mute, 1),
    );
}

async fn lose_read(fault: Fault, size: usize) {
    let world = World::start().await;
    let changes = long_log(&world).await;
    let server = SocketAddr::from(([127, 0, 0, 1], cluster().await.port()));
    let proxy = Proxy::to(server).await;
    let (url, settings) = behind(&proxy, &world.db, server);
    let node = Daemon::start(&World::config(&url, &settings), None).await.unwrap();
    let mut crowd = gather(&world, &node, size).await;
    let held = hold_reads(&world.db).await;
    resume_all(&mut crowd, &changes).await;
    until_a_read_waits(&world.db).await;
    proxy.set(fault);
    for client in &mut crowd {
        expect_refused(client, "unavailable").await;
    }
    held.batch_execute("commit").await.unwrap();
    proxy.set(Fault::None);
    // What was committed since the answer comes, and comes once.
    for row in [1000, 1001] {
        world.sql(&format!("insert into item values ({row})")).await;
        for client in &mut crowd {
            assert_eq!(next(client).await["row"]["id"], row, "{fault:?}");
        }
    }
    let mut witness = world.client("ana").await;
    witness.resume("items", id(changes.last().unwrap())).await;
    let changes = [changes, witness.changes(2).await].concat();
    let mut back = gather(&world, &node, size).await;
    resume_all(&mut back, &changes).await;
    for (number, client) in back.iter_mut().enumerate() {
        expect_missed(client, &changes[place(number) + 1..]).await;
    }
    node.stop().await;
    world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_waits_while_another_server_takes_over_is_told_once_to_start_over() {
    let (zombie, standby) = pair(false, "").await;
    // Nobody gives up before the other server is found.
    let url = format!("{}&options=-c%20statement_timeout%3D0", both(&zombie, &standby));
    let world = World::at(Database::at(zombie.url("postgres")), &url, OPEN).await;
    let changes = long_log(&world).await;
    let node = world.another_node().await;
    let mut crowd = gather(&world, &node, CROWD).await;
    let mut live = world.client_of(&node, "ana").await;
    live.subscribe("items").await;
    let held = hold_reads(&world.db).await;
    resume_all(&mut crowd, &changes).await;
    until_a_read_waits(&world.db).await;
    standby.promote().await.unwrap();
    for (number, client) in crowd.iter_mut().enumerate() {
        expect_start_over(client, &changes[place(number) + 1..]).await;
    }
    assert_eq!(next(&mut live).await, reset("epoch"));
    held.batch_execute("commit").await.unwrap();
    let here = Database::at(standby.url("postgres"));
    here.batch_execute("insert into item values (1000)").await;
    for client in crowd.iter_mut().chain([&mut live]) {
        assert_eq!(next(client).await["row"]["id"], 1000);
    }
    node.stop().await;
    world.daemon.stop().await;
    zombie.stop().await;
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_crowd_that_waits_those_whose_past_is_pruned_meanwhile_are_told_once() {
    // A server of its own: on a shared one, transactions of other tests are older than what is pruned here.
    let cluster = ScratchCluster::start(options()).await.expect("the server starts");
    let world = World::on(Database::alone(&cluster).await, OPEN).await;
    let changes = long_log(&world).await;
    let node = world.another_node().await;
    let mut crowd = gather(&world, &node, CROWD).await;
    let held = hold_reads(&world.db).await;
    resume_all(&mut crowd, &changes).await;
    until_a_read_waits(&world.db).await;
    // All of the first transaction, and of the five behind it.
    let gone = 30;
    let prune = format!(
        "with gone as (delete from rowcast.event where id <= {gone} returning xid)
         update rowcast.floor set xid = (select (max(xid::text::int8) + 1)::text::xid8 from gone);
         commit"
    );
    held.batch_execute(&prune).await.unwrap();
    for (number, client) in crowd.iter_mut().enumerate() {
        if place(number) + 1 < gone {
            expect_refused(client, "pruned").await;
        } else {
            expect_missed(client, &changes[place(number) + 1..]).await;
        }
    }
    world.sql("insert into item values (1000)").await;
    for client in &mut crowd {
        assert_eq!(next(client).await["row"]["id"], 1000);
    }
    node.stop().await;
    world.daemon.stop().await;
    cluster.stop().await;
}

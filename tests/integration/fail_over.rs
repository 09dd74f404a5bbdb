//! Servers that take over from each other, with and without everything that was committed.

use rowcast::postgres::scratch::{ScratchCluster, ScratchOptions, StopMode};
use serde_json::json;

use crate::crowd::{hold_reads, until_a_read_waits};
use crate::harness::{Database, OPEN, World, options, until_true};
use crate::outages::{TABLE, until_row};

/// A primary on which this was done and a standby of it, both over TCP; with what the primary waits for.
pub async fn pair(synchronous: bool, sql: &str) -> (ScratchCluster, ScratchCluster) {
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut settings = options().settings;
    settings.push(setting("synchronous_commit", "on"));
    let primary = ScratchCluster::start(ScratchOptions { settings: settings.clone(), ..options() });
    let primary = primary.await.expect("the primary starts");
    Database::alone(&primary).await.batch_execute(sql).await;
    primary.shut_down(StopMode::Fast).await.expect("it runs");
    // Or somebody else takes its port.
    let seat = std::net::TcpListener::bind(("127.0.0.1", primary.port())).expect("it is free now");
    let standby = ScratchOptions { standby_of: Some(primary.as_primary()), settings, ..options() };
    let standby = ScratchCluster::start(standby).await.expect("the standby starts");
    drop(seat);
    primary.start_again().await.expect("the primary is back");
    let follows = "select exists (select from pg_stat_wal_receiver where status = 'streaming')";
    let behind = Database::at(standby.url("postgres")).client().await;
    until_true(&behind, "the standby follows", follows).await;
    if synchronous {
        let admin = Database::at(primary.url("postgres"));
        admin.batch_execute("alter system set synchronous_standby_names = '*'").await;
        admin.batch_execute("select pg_reload_conf()").await;
    }
    (primary, standby)
}

pub fn both(primary: &ScratchCluster, standby: &ScratchCluster) -> String {
    let (one, other) = (primary.port(), standby.port());
    format!("postgres://postgres@127.0.0.1:{one},127.0.0.1:{other}/postgres?connect_timeout=1")
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fail_over_clients_start_over_or_go_on_where_that_is_trusted() {
    for trusted in [false, true] {
        let (primary, standby) = pair(true, TABLE).await;
        let policy = if trusted { "trust" } else { "strict" };
        let settings = format!("database.epoch_policy = \"{policy}\"\n{OPEN}");
        let db = Database::at(primary.url("postgres"));
        let mut world = World::at(db, &both(&primary, &standby), &settings).await;
        let mut client = world.subscriber("ana", &["items"]).await;
        world.sql("insert into item values (1)").await;
        let before = client.next().await["id"].as_str().unwrap().to_owned();
        world.sql("insert into item values (2)").await;
        until_row(&mut client, 2).await;

        primary.shut_down(StopMode::Immediate).await.unwrap();
        standby.promote().await.unwrap();
        world.db = Database::at(standby.url("postgres"));
        world.sql("insert into item values (3)").await;
        let reset = json!({ "type": "reset", "channel": "items", "reason": "epoch" });
        if trusted {
            assert_eq!(until_row(&mut client, 3).await.0, [3]);
        } else {
            // Whoever reads the tables now finds the third row in them.
            client.skip_to(|message| *message == reset).await;
        }
        world.sql("insert into item values (4)").await;
        let (rows, said) = until_row(&mut client, 4).await;
        assert!(rows.iter().all(|row| *row > 2), "{policy}: {rows:?}");
        assert!(!said.contains(&reset), "{policy}: {said:?}");

        let mut back = world.client("ana").await;
        let ok = back.resume("items", &before).await;
        assert_eq!(ok["recovered"], trusted, "{policy}: {ok}");
        if trusted {
            assert_eq!(until_row(&mut back, 4).await.0, [2, 3, 4]);
        } else {
            assert_eq!(back.next().await, reset);
        }
        // An id of the new server is good in any case.
        world.sql("insert into item values (5)").await;
        let newest = client.skip_to(|message| message["row"]["id"] == 5).await;
        let mut back = world.client("ana").await;
        let ok = back.resume("items", newest["id"].as_str().unwrap()).await;
        assert_eq!((&ok["recovered"], &ok["replayed"]), (&json!(true), &json!(0)), "{policy}");
        world.daemon.stop().await;
        primary.stop().await;
        standby.stop().await;
    }
}

/// While a node finds out what it missed at the new server, what it says is of the old one.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_told_while_another_server_takes_over_is_none_of_the_new_one() {
    let (primary, standby) = pair(true, TABLE).await;
    let db = Database::at(primary.url("postgres"));
    let mut world = World::at(db, &both(&primary, &standby), OPEN).await;
    let mut client = world.subscriber("ana", &["items"]).await;
    world.sql("insert into item values (1)").await;
    until_row(&mut client, 1).await;
    // Outlives the server, and keeps whoever takes over from beginning.
    world.sql("begin; lock table rowcast.revocation; prepare transaction 'held'").await;
    primary.shut_down(StopMode::Immediate).await.unwrap();
    standby.promote().await.unwrap();
    world.db = Database::at(standby.url("postgres"));
    let waits = "
        select exists (select from pg_locks
                        where relation = 'rowcast.revocation'::regclass and mode = 'AccessShareLock' and not granted)";
    until_true(&world.db.client().await, "the daemon waits", waits).await;
    let mut early = world.client("ana").await;
    early.send(json!({ "type": "subscribe", "channel": "items", "history": 1 })).await;
    let ok = early.skip_to(|message| message["type"] == "ok").await;
    let change = early.skip_to(|message| message["type"] == "change").await;
    world.sql("commit prepared 'held'").await;
    let reset = json!({ "type": "reset", "channel": "items", "reason": "epoch" });
    early.skip_to(|message| *message == reset).await;
    for place in [&ok["position"], &change["id"]] {
        let mut back = world.client("ana").await;
        back.send(json!({ "type": "subscribe", "channel": "items", "after": place })).await;
        let ok = back.skip_to(|message| message["type"] == "ok").await;
        assert_eq!(ok["recovered"], false, "{ok}");
        assert_eq!(back.skip_to(|message| message["type"] != "system").await, reset);
    }
    world.daemon.stop().await;
    primary.stop().await;
    standby.stop().await;
}

/// The stand-by never hears of the last commit. What was delivered of it did not happen, and ids come again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stand_by_that_lacks_commits_makes_everybody_start_over() {
    let (primary, standby) = pair(false, TABLE).await;
    let db = Database::at(primary.url("postgres"));
    let mut world = World::at(db, &both(&primary, &standby), OPEN).await;
    let mut client = world.subscriber("ana", &["items"]).await;
    world.sql("insert into item values (1)").await;
    until_row(&mut client, 1).await;
    let behind = Database::at(standby.url("postgres")).client().await;
    let has = "select exists (select from item where id = 1)";
    until_true(&behind, "the standby has the row", has).await;
    behind.batch_execute("alter system set primary_conninfo = ''").await.unwrap();
    behind.batch_execute("select pg_reload_conf()").await.unwrap();
    let alone = "select not exists (select from pg_stat_wal_receiver)";
    until_true(&behind, "the standby receives no more", alone).await;
    world.sql("insert into item values (2)").await;
    until_row(&mut client, 2).await;
    primary.shut_down(StopMode::Immediate).await.unwrap();
    standby.promote().await.unwrap();
    world.db = Database::at(standby.url("postgres"));
    let reset = json!({ "type": "reset", "channel": "items", "reason": "epoch" });
    client.skip_to(|message| *message == reset).await;
    world.sql("insert into item values (3)").await;
    assert_eq!(until_row(&mut client, 3).await.0, [3]);
    let rows = world.db.client().await.query("select id from item order by id", &[]).await.unwrap();
    let rows: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(rows, [1, 3], "the second never happened here");
    world.daemon.stop().await;
    primary.stop().await;
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_was_replaced_and_still_answers_is_left() {
    let (zombie, standby) = pair(false, TABLE).await;
    let db = Database::at(standby.url("postgres"));
    let url = format!("{}&options=-c%20statement_timeout%3D0", both(&zombie, &standby));
    let world = World::at(db, &url, OPEN).await;
    let mut client = world.subscriber("ana", &["items"]).await;
    let there = Database::at(zombie.url("postgres"));
    there.batch_execute("insert into item values (1)").await;
    until_row(&mut client, 1).await;
    // So that connections for reading the past are there too.
    let history = json!({ "type": "subscribe", "channel": "items", "history": 9 });
    assert_eq!(client.ask(history.clone()).await["replayed"], 1);
    until_row(&mut client, 1).await;
    // And one that is given back only later.
    let held = hold_reads(&there).await;
    let mut other = world.client("ana").await;
    other.send(history.clone()).await;
    until_a_read_waits(&there).await;

    standby.promote().await.unwrap();
    let reset = json!({ "type": "reset", "channel": "items", "reason": "epoch" });
    client.skip_to(|message| *message == reset).await;
    world.sql("insert into item values (2)").await;
    assert_eq!(until_row(&mut client, 2).await.0, [2]);
    for read in 0..3 {
        client.send(history.clone()).await;
        let ok = client.skip_to(|message| message["type"] == "ok").await;
        assert_eq!(ok["replayed"], 2, "read {read} is of the server that was replaced");
        until_row(&mut client, 2).await;
        if read == 0 {
            held.batch_execute("commit").await.unwrap();
            let over = "select not exists (select from pg_locks where relation = 'rowcast.event_7'::regclass)";
            until_true(&there.client().await, "the read is over", over).await;
        }
    }
    world.daemon.stop().await;
    zombie.stop().await;
    standby.stop().await;
}

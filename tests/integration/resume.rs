//! Clients that come back: everything they missed, in order, once, on any node.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Client, World};

const TABLE: &str = "
    create table item (id int primary key, owner text, version int not null default 0);
    select rowcast.watch('item', array['items', 'item:{id}']);
    create table secret (id int primary key, owner text);
    select rowcast.watch('secret', array['items'], users => array['{owner}']);";

async fn world() -> World {
    let world = World::start().await;
    world.sql(TABLE).await;
    world
}

fn id(change: &Value) -> &str {
    change["id"].as_str().expect("every change has an id")
}

fn rows(changes: &[Value]) -> Vec<i64> {
    changes.iter().map(|change| change["row"]["id"].as_i64().unwrap()).collect()
}

/// An event to resume behind, and nobody connected after it.
async fn seen_one(world: &World) -> String {
    let mut client = world.subscriber("ana", &["items"]).await;
    world.sql("insert into item values (1)").await;
    id(&client.next().await).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_follows_the_answer_and_then_comes_what_is_new() {
    let world = world().await;
    let after = seen_one(&world).await;
    world.sql("insert into item values (2); insert into item values (3), (4)").await;
    // Everybody has these by now, so that they are in the past for whoever comes back.
    let mut witness = world.subscriber("ana", &["item:5"]).await;
    world.sql("insert into item values (5)").await;
    witness.next().await;

    let mut client = world.client("ana").await;
    let ok = client.resume("items", &after).await;
    assert_eq!((&ok["recovered"], &ok["replayed"]), (&json!(true), &json!(4)), "{ok}");
    assert_eq!(ok["position"], after, "what follows is not behind the client yet");
    assert_eq!(rows(&client.changes(4).await), [2, 3, 4, 5]);
    world.sql("insert into item values (6)").await;
    assert_eq!(rows(&client.changes(1).await), [6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_never_saw_the_events_reads_them_from_the_log() {
    let world = world().await;
    let after = seen_one(&world).await;
    world.sql("insert into item select n from generate_series(2, 1000) n").await;
    world.sql("insert into secret values (1, 'ben'), (2, 'ana')").await;

    let node = world.another_node().await;
    let mut client = world.client_of(&node, "ana").await;
    let ok = client.resume("items", &after).await;
    assert_eq!((&ok["recovered"], &ok["replayed"]), (&json!(true), &json!(1000)), "{ok}");
    let changes = client.changes(1000).await;
    assert_eq!(rows(&changes[..999]), (2..=1000).collect::<Vec<_>>());
    assert_eq!(
        (&changes[999]["table"], &changes[999]["row"]["id"]),
        (&json!("public.secret"), &json!(2))
    );
    world.sql("insert into item values (1001)").await;
    assert_eq!(rows(&client.changes(1).await), [1001]);

    let mut again = world.client_of(&node, "ana").await;
    let ok = again.resume("item:*", id(&changes[500])).await;
    assert_eq!(ok["replayed"], 499, "{ok}");
    assert_eq!(rows(&again.changes(499).await), (503..=1001).collect::<Vec<_>>());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_was_open_all_the_time_is_not_behind_anybody() {
    let world = world().await;
    let long = world.db.client().await;
    long.batch_execute("begin; insert into item values (100)").await.unwrap();
    let after = seen_one(&world).await;
    world.sql("insert into item values (2)").await;
    long.batch_execute("commit").await.unwrap();

    let node = world.another_node().await;
    for daemon in [&node, &world.daemon] {
        let mut client = world.client_of(daemon, "ana").await;
        let ok = client.resume("items", &after).await;
        assert_eq!(ok["replayed"], 2, "{ok}");
        let seen: BTreeSet<_> = rows(&client.changes(2).await).into_iter().collect();
        assert_eq!(seen, [2, 100].into());
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_means_nothing_here_is_said_and_the_channel_goes_on_from_now() {
    let world = world().await;
    world.sql("create table loose (id int primary key); select rowcast.watch('loose', array['loose'], log => false)").await;
    let elsewhere = seen_one(&self::world().await).await;
    let mut client = world.subscriber("ana", &["loose"]).await;
    world.sql("insert into loose values (1)").await;
    let unlogged = id(&client.next().await).to_owned();

    for (after, reason) in [
        ("nonsense", "bad_position"),
        (unlogged.as_str(), "not_logged"),
        (elsewhere.as_str(), "epoch"),
    ] {
        let ok = client.resume("items", after).await;
        assert_eq!((&ok["recovered"], &ok["replayed"]), (&json!(false), &json!(0)));
        let reset = client.next().await;
        assert_eq!(reset, json!({ "type": "reset", "channel": "items", "reason": reason }));
    }
    world.sql("insert into item values (9)").await;
    assert_eq!(rows(&client.changes(1).await), [9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_cut_a_hundred_times_between_two_nodes_gets_every_event_once() {
    let world = world().await;
    let mut node = world.another_node().await;
    let start = seen_one(&world).await;
    let writers: Vec<_> = {
        let mut writers = Vec::new();
        for number in 0..4 {
            writers.push(tokio::spawn(write(world.db.client().await, number)));
        }
        writers
    };

    let mut after = start;
    let mut seen = BTreeSet::new();
    let mut last_version = std::collections::BTreeMap::new();
    for cut in 0..100 {
        if cut % 25 == 24 {
            // A node without any memory takes the place of the other.
            node.stop().await;
            node = world.another_node().await;
        }
        let daemon = if cut % 2 == 0 { &world.daemon } else { &node };
        let mut client = world.client_of(daemon, "ana").await;
        let ok = client.resume("items", &after).await;
        assert_eq!(ok["recovered"], true, "{ok}");
        let wanted = 1 + cut * 7 % 23;
        for change in take(&mut client, wanted).await {
            after = id(&change).to_owned();
            let (row, version) =
                (change["row"]["id"].as_i64().unwrap(), change["row"]["version"].as_i64().unwrap());
            assert!(seen.insert((row, version)), "version {version} of row {row} came twice");
            let before = last_version.insert(row, version).unwrap_or(-1);
            assert!(version > before, "version {version} of row {row} came after {before}");
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let mut client = world.client("ana").await;
    client.resume("items", &after).await;
    let query =
        "select (row->>'id')::bigint, (row->>'version')::bigint from rowcast.event where id > 1";
    let logged = world.db.client().await.query(query, &[]).await.unwrap();
    let logged: BTreeSet<(i64, i64)> = logged.iter().map(|row| (row.get(0), row.get(1))).collect();
    while seen.len() < logged.len() {
        let change = client.next().await;
        let version = change["row"]["version"].as_i64().unwrap();
        assert!(seen.insert((change["row"]["id"].as_i64().unwrap(), version)), "{change}");
    }
    assert_eq!(seen, logged);
    node.stop().await;
}

/// As many changes as wanted, or fewer where the writers are done.
async fn take(client: &mut Client, wanted: usize) -> Vec<Value> {
    let mut changes = Vec::new();
    while changes.len() < wanted {
        match tokio::time::timeout(std::time::Duration::from_millis(300), client.next()).await {
            Ok(change) => changes.push(change),
            Err(_quiet) => break,
        }
    }
    changes
}

async fn write(client: tokio_postgres::Client, number: i64) {
    for step in 0..300 {
        let row = 1000 + (number * 31 + step * 17) % 12;
        let pause = f64::from(u8::try_from((number * 13 + step * 7) % 9).unwrap()) / 1000.0;
        let sql = format!(
            "begin; insert into item values ({row}) on conflict (id) do update set version = item.version + 1;
             select pg_sleep({pause}); {}", if step % 11 == 0 { "rollback" } else { "commit" });
        client.batch_execute(&sql).await.expect("an application's write never fails");
    }
}

//! Clients that come back: everything they missed, in order, once, on any node.

use std::collections::BTreeSet;

use rowcast::postgres::scratch::ScratchCluster;
use serde_json::{Value, json};

use crate::harness::{Client, Database, OPEN, World, options};

pub const TABLE: &str = "
    create table item (id int primary key, owner text, version int not null default 0);
    select rowcast.watch('item', array['items', 'item:{id}']);
    create table secret (id int primary key, owner text);
    select rowcast.watch('secret', array['items'], users => array['{owner}']);";

pub async fn world() -> World {
    let world = World::start().await;
    world.sql(TABLE).await;
    world
}

pub fn id(change: &Value) -> &str {
    change["id"].as_str().expect("every change has an id")
}

pub fn rows(changes: &[Value]) -> Vec<i64> {
    changes.iter().map(|change| change["row"]["id"].as_i64().unwrap()).collect()
}

/// An event to resume behind, and nobody connected after it.
pub async fn seen_one(world: &World) -> String {
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
    // More than a node reads in advance when it starts.
    world.sql("insert into secret select n, 'eve' from generate_series(100, 12000) n").await;
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
async fn a_node_that_starts_remembers_what_was_before() {
    let world = world().await;
    let after = seen_one(&world).await;
    world.sql("insert into item select n from generate_series(2, 50) n").await;
    let node = world.another_node().await;
    // Nobody could read it from the log any more.
    world.sql("truncate rowcast.event").await;
    let mut client = world.client_of(&node, "ana").await;
    let ok = client.resume("items", &after).await;
    assert_eq!((&ok["recovered"], &ok["replayed"]), (&json!(true), &json!(49)), "{ok}");
    assert_eq!(rows(&client.changes(49).await), (2..=50).collect::<Vec<_>>());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_was_missed_only_the_newest_change_of_each_row_comes_where_that_is_asked_for() {
    let world = world().await;
    let after = seen_one(&world).await;
    world
        .sql(
            "insert into item values (2), (3), (4);
             update item set version = 5 where id in (1, 2);
             delete from item where id in (3, 1);
             update item set version = 6 where id = 2;
             select rowcast.emit('items', 'done')",
        )
        .await;
    let mut memory = world.client("ana").await;
    let node = world.another_node().await;
    // More than this node reads in advance when it starts: it has to ask the log.
    world.sql("insert into secret select n, 'eve' from generate_series(100, 12000) n").await;
    let log = world.another_node().await;
    for client in [
        &mut memory,
        &mut world.client_of(&node, "ana").await,
        &mut world.client_of(&log, "ana").await,
    ] {
        let request =
            json!({ "type": "subscribe", "channel": "items", "after": after, "compact": true });
        let ok = client.ask(request).await;
        assert_eq!((&ok["recovered"], &ok["replayed"]), (&json!(true), &json!(4)), "{ok}");
        let changes = client.changes(4).await;
        let what = |change: &Value| {
            (change["op"].as_str().unwrap().to_owned(), change["key"]["id"].as_i64())
        };
        let changes: Vec<_> = changes.iter().map(what).collect();
        let expected =
            [("insert", Some(4)), ("delete", Some(1)), ("update", Some(2)), ("done", None)];
        assert_eq!(changes, expected.map(|(op, id)| (op.to_owned(), id)));
    }
    node.stop().await;
    log.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_events_come_first_where_they_are_asked_for() {
    let world = world().await;
    let early = seen_one(&world).await;
    world.sql("insert into item select n from generate_series(2, 30) n; insert into secret values (1, 'ben')").await;
    let mut witness = world.subscriber("ana", &["item:31"]).await;
    world.sql("insert into item values (31)").await;
    witness.next().await;

    let mut client = world.client("ana").await;
    let history = |count| json!({ "type": "subscribe", "channel": "items", "history": count });
    let ok = client.ask(history(5)).await;
    assert_eq!((&ok["recovered"], &ok["replayed"]), (&json!(true), &json!(5)), "{ok}");
    let changes = client.changes(5).await;
    assert_eq!(rows(&changes), [27, 28, 29, 30, 31]);
    world.sql("insert into item values (32)").await;
    assert_eq!(rows(&client.changes(1).await), [32]);

    // Cut in the middle of them, or before the first, a client misses nothing.
    for (after, first) in [(id(&changes[1]), 29), (ok["position"].as_str().unwrap(), 27)] {
        let mut again = world.client("ana").await;
        let ok = again.resume("items", after).await;
        assert_eq!(ok["replayed"], 33 - first, "{ok}");
        let missed = again.changes(usize::try_from(33 - first).unwrap()).await;
        assert_eq!(rows(&missed), (first..=32).collect::<Vec<_>>());
    }
    let ok = client.ask(history(1000)).await;
    assert_eq!(ok["replayed"], 32, "{ok}");
    assert_eq!(rows(&client.changes(32).await), (1..=32).collect::<Vec<_>>());

    // Resuming is possible, so nothing else is sent; and where it is not, the last events come instead.
    let both = |after: &str| json!({ "type": "subscribe", "channel": "items", "after": after, "history": 2 });
    assert_eq!(client.ask(both(&early)).await["replayed"], 31);
    client.changes(31).await;
    let ok = client.ask(both("nonsense")).await;
    assert_eq!((&ok["recovered"], &ok["replayed"]), (&json!(false), &json!(2)), "{ok}");
    assert_eq!(client.next().await["reason"], "bad_position");
    assert_eq!(rows(&client.changes(2).await), [31, 32]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_was_pruned_is_said_and_one_above_the_floor_is_not() {
    // A server of its own: on a shared one, transactions of other tests are older than what is pruned here.
    let cluster = ScratchCluster::start(options()).await.expect("the server starts");
    let world = World::on(Database::alone(&cluster).await, OPEN).await;
    world.sql(TABLE).await;
    let old = seen_one(&world).await;
    world.sql("insert into item select n from generate_series(2, 9) n").await;
    let young = {
        let mut client = world.client("ana").await;
        client.resume("items", &old).await;
        id(client.changes(8).await.last().unwrap()).to_owned()
    };
    world
        .sql(
            "insert into secret select n, 'eve' from generate_series(100, 12000) n;
             with gone as (delete from rowcast.event where id <= 9 returning xid)
             update rowcast.floor set xid = (select (max(xid::text::int8) + 1)::text::xid8 from gone)",
        )
        .await;
    let node = world.another_node().await;
    let mut client = world.client_of(&node, "ana").await;
    let ok = client.resume("items", &old).await;
    assert_eq!((&ok["recovered"], &ok["replayed"]), (&json!(false), &json!(0)), "{ok}");
    let reset = client.next().await;
    assert_eq!(reset, json!({ "type": "reset", "channel": "items", "reason": "pruned" }));
    world.sql("insert into item values (10)").await;
    assert_eq!(rows(&client.changes(1).await), [10]);
    let ok = client.resume("items", &young).await;
    assert_eq!((&ok["recovered"], &ok["replayed"]), (&json!(true), &json!(1)), "{ok}");
    node.stop().await;
    world.daemon.stop().await;
    cluster.stop().await;
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

pub async fn write(client: tokio_postgres::Client, number: i64) {
    for step in 0..300 {
        let row = 1000 + (number * 31 + step * 17) % 12;
        let pause = f64::from(u8::try_from((number * 13 + step * 7) % 9).unwrap()) / 1000.0;
        let sql = format!(
            "begin; insert into item values ({row}) on conflict (id) do update set version = item.version + 1;
             select pg_sleep({pause}); {}", if step % 11 == 0 { "rollback" } else { "commit" });
        client.batch_execute(&sql).await.expect("an application's write never fails");
    }
}

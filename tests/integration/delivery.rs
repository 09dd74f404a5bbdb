//! A row change on its way to the subscribers who may see it, and to nobody else.

use std::collections::HashSet;

use rowcast::telemetry::refusals::Refused;
use serde_json::{Value, json};

use crate::harness::World;

const ORDERS: &str = "
    create table orders (id int primary key, org int, owner text, status text, note text);";

async fn orders(watch: &str) -> World {
    let world = World::start().await;
    world.sql(&format!("{ORDERS} select rowcast.watch('orders', {watch});")).await;
    world
}

fn ops(changes: &[Value]) -> Vec<&str> {
    changes.iter().map(|change| change["op"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_arrives_with_its_key_its_row_and_what_changed() {
    let world = orders("array['orders']").await;
    let mut client = world.subscriber("ana", &["orders"]).await;
    world.sql("insert into orders values (1, 7, 'ana', 'new')").await;
    world.sql("update orders set status = 'sent', org = 8").await;
    world.sql("delete from orders").await;
    world.sql("truncate orders").await;

    let changes = client.changes(4).await;

    assert_eq!(ops(&changes), ["insert", "update", "delete", "truncate"]);
    assert_eq!(changes[0]["table"], "public.orders");
    assert_eq!(changes[0]["key"], json!({ "id": 1 }));
    let row = json!({ "id": 1, "org": 8, "owner": "ana", "status": "sent", "note": null });
    assert_eq!(changes[1]["row"], row);
    assert_eq!(changes[1]["changed"], json!(["org", "status"]));
    assert_eq!((&changes[2]["old"], changes[2].get("row")), (&json!({ "id": 1 }), None));
    let ids: HashSet<_> = changes.iter().map(|change| change["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audience_gets_its_rows_and_nobody_else_does() {
    let world = orders("array['orders'], users => array['{owner}']").await;
    let mut ana = world.subscriber("ana", &["orders"]).await;
    let mut other_device = world.subscriber("ana", &["orders"]).await;
    let mut ben = world.subscriber("ben", &["orders"]).await;
    world.sql("insert into orders values (1, 7, 'ana'), (2, 7, 'ben'), (3, 7, null)").await;
    // For both, so that what came before it is all there was.
    world.sql("select rowcast.emit('orders', 'end')").await;

    for (client, id) in [(&mut ana, 1), (&mut other_device, 1), (&mut ben, 2)] {
        let changes = client.changes(2).await;
        assert_eq!((&changes[0]["row"]["id"], &changes[1]["op"]), (&json!(id), &json!("end")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_arrives_in_order_and_what_was_rolled_back_never() {
    let world = orders("array['orders:{id}', 'all']").await;
    let mut client = world.subscriber("ana", &["all"]).await;
    world
        .sql(
            "begin;
             insert into orders values (1, 7, 'ana', 'a');
             savepoint s; update orders set status = 'lost'; rollback to s;
             update orders set status = 'b';
             insert into orders values (2);
             commit;
             begin; insert into orders values (9); rollback;
             select rowcast.emit('all', 'end')",
        )
        .await;

    let changes = client.changes(4).await;

    assert_eq!(ops(&changes), ["insert", "update", "insert", "end"]);
    assert_eq!(changes[1]["row"]["status"], "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_any_kind_arrives_as_it_was_written() {
    let world = orders("array['orders']").await;
    let mut client = world.subscriber("ana", &["orders"]).await;
    let note = "\"quoted\" \\ \u{2028}\u{2029} 🐘 </script>\n\t".repeat(600);
    let session = world.db.client().await;
    session.execute("insert into orders (id, note) values (1, $1)", &[&note]).await.unwrap();

    assert_eq!(client.next().await["row"]["note"], note);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_covers_what_is_below_it_and_each_channel_comes_once() {
    let world = orders("array['orders', 'orders:{id}', 'org:{org}']").await;
    let mut below = world.subscriber("ana", &["orders:*", "orders:1"]).await;
    let mut both = world.subscriber("ana", &["orders", "org:7"]).await;
    world.sql("insert into orders values (1, 7); select rowcast.emit('org:7', 'end')").await;
    world.sql("select rowcast.emit('orders:1', 'end')").await;

    let channels = |changes: &[Value]| -> Vec<String> {
        changes.iter().map(|change| change["channel"].as_str().unwrap().to_owned()).collect()
    };
    let changes = below.changes(2).await;
    assert_eq!(
        (channels(&changes), ops(&changes)),
        (vec!["orders:1".into(); 2], vec!["insert", "end"])
    );
    let changes = both.changes(3).await;
    assert_eq!(channels(&changes), ["orders", "org:7", "org:7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_of_many_rows_arrives_whole_and_in_order() {
    let world = orders("array['orders']").await;
    let mut client = world.subscriber("ana", &["orders"]).await;
    world.sql("insert into orders select n, 7, 'ana', repeat('x', 200) from generate_series(1, 20000) n").await;

    // A busy machine may make this client one that lags; it gets everything all the same.
    let mut ids = Vec::new();
    while ids.len() < 20_000 {
        let change = client.skip_to(|message| message["type"] != "lagged").await;
        ids.push(change["row"]["id"].as_i64().unwrap_or_else(|| panic!("{change}")));
    }
    assert_eq!(ids, (1..=20_000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsubscribed_channel_falls_silent_at_once() {
    let world = orders("array['orders']").await;
    let mut client = world.subscriber("ana", &["orders", "other"]).await;
    let ok = client.ask(json!({ "type": "unsubscribe", "ref": "u", "channel": "orders" })).await;
    assert_eq!(ok, json!({ "type": "ok", "ref": "u", "channel": "orders" }));
    world.sql("insert into orders values (1); select rowcast.emit('other', 'end')").await;

    assert_eq!(client.next().await["op"], "end");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_the_applications_own_arrive_with_their_data() {
    let world = World::start().await;
    let mut client = world.subscriber("ana", &["doc:9"]).await;
    let mut ben = world.subscriber("ben", &["doc:9"]).await;
    world
        .sql(
            "select rowcast.emit('doc:9', 'progress', '{\"pct\": 40.0}', users => array['ana']);
             select set_config('rowcast.user', '7', false), set_config('rowcast.origin', 'tab', false);
             select rowcast.emit('doc:9', 'done', '12345678901234567890.5')",
        )
        .await;

    let changes = client.changes(2).await;
    assert_eq!(
        (&changes[0]["op"], &changes[0]["row"]),
        (&json!("progress"), &json!({ "pct": 40.0 }))
    );
    assert_eq!((&changes[1]["user"], &changes[1]["origin"]), (&json!("7"), &json!("tab")));
    assert_eq!(ben.next().await["op"], "done");
}

/// A setting that was made for one transaction is empty in the next one of its session, and that is nobody.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_wrote_is_forgotten_with_the_transaction() {
    for log in [true, false] {
        let world = orders(&format!("array['orders'], log => {log}")).await;
        let mut client = world.subscriber("ana", &["orders"]).await;
        let session = world.db.client().await;
        let said = "begin; set local rowcast.\"user\" = '7'; set local rowcast.origin = 'tab'; insert into orders values (1); commit";
        session.batch_execute(said).await.unwrap();
        session.batch_execute("insert into orders values (2)").await.unwrap();
        let changes = client.changes(2).await;
        let who = |at: usize| [&changes[at]["user"], &changes[at]["origin"]];
        assert_eq!(who(0), [&json!("7"), &json!("tab")], "log => {log}");
        assert_eq!(who(1), [&json!(null); 2], "log => {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notify_only_events_arrive_whatever_their_size_and_forged_ones_do_not() {
    let world = orders("array['orders'], log => false").await;
    let mut client = world.subscriber("ana", &["orders"]).await;
    world
        .sql(
            "insert into orders values (1, 7, 'ana', 'small');
             insert into orders values (2, 7, 'ana', 'large', repeat('x', 20000));
             select pg_notify('rowcast', '{\"op\":\"forged\",\"channels\":[\"orders\"]}');
             select pg_notify('rowcast', '1' || repeat('0', 32) || '{\"op\":\"forged\",\"channels\":[\"orders\"]}');
             insert into orders values (3, 7, 'ana', 'last')",
        )
        .await;

    let changes = client.changes(3).await;

    let ids: Vec<_> = changes.iter().map(|change| change["row"]["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!(changes[1]["row"]["note"].as_str().unwrap().len(), 20_000);
    let logged = world.db.client().await;
    let count = "select count(*) from rowcast.event where not parked";
    assert_eq!(logged.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_listen_connection_is_told_to_those_whose_events_no_log_holds() {
    let world = World::start().await;
    // The daemon has not asked for these watches before its connection is lost.
    world
        .sql(&format!(
            "{ORDERS} select rowcast.watch('orders', array['orders', 'orders:{{id}}'], log => false);
             create table kept (id int); select rowcast.watch('kept', array['kept'])"
        ))
        .await;
    let mut loose = world.subscriber("ana", &["orders:*"]).await;
    let mut kept = world.subscriber("ben", &["kept"]).await;
    world
        .sql(
            "select pg_terminate_backend(pid) from pg_stat_activity
              where datname = current_database() and application_name = 'rowcast'",
        )
        .await;
    let reset = loose.skip_to(|message| message["type"] == "reset").await;
    assert_eq!(reset, json!({ "type": "reset", "channel": "orders:*", "reason": "not_logged" }));
    world.sql("insert into kept values (1)").await;
    let mut skipped = Vec::new();
    while let message = kept.next().await
        && message["type"] != "change"
    {
        skipped.push(message["type"].clone());
    }
    assert!(!skipped.contains(&json!("reset")), "{skipped:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_while_the_connections_are_down_is_delivered_once_they_are_back() {
    let world = orders("array['orders']").await;
    let mut client = world.subscriber("ana", &["orders"]).await;
    let session = world.db.client().await;
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity
                 where datname = current_database() and pid <> pg_backend_pid()";
    for round in 0..5 {
        session.execute(kill, &[]).await.unwrap();
        session.execute("insert into orders values ($1)", &[&round]).await.unwrap();
    }
    session.execute("select rowcast.emit('orders', 'end')", &[]).await.unwrap();

    let mut ids = Vec::new();
    loop {
        let message = client.next().await;
        match (message["type"].as_str().unwrap(), message["op"].as_str()) {
            ("change", Some("end")) => break,
            ("change", _) => ids.push(message["row"]["id"].as_i64().unwrap()),
            ("system", _) => {}
            _ => panic!("{message}"),
        }
    }
    assert_eq!(ids, [0, 1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_harms_nobody_and_is_caught_up_once_it_reads() {
    let world = orders("array['orders']").await;
    let mut stuck = world.subscriber("ana", &["orders"]).await;
    let mut good = world.subscriber("ben", &["orders"]).await;
    let session = world.db.client().await;
    // More than the queue bound and what the kernel's buffers of a loopback socket hold together.
    for id in 0..400 {
        let row = "insert into orders (id, note) values ($1, repeat('x', 100000))";
        session.execute(row, &[&id]).await.unwrap();
        assert_eq!(good.next().await["row"]["id"], id);
    }
    let mut seen = Vec::new();
    let mut lagged = 0;
    while seen.len() < 400 {
        let message = stuck.next().await;
        match message["type"].as_str().unwrap() {
            "lagged" => lagged += 1,
            "change" => seen.push(message["row"]["id"].as_i64().unwrap()),
            _ => panic!("{message}"),
        }
    }
    assert_eq!(seen, (0..400).collect::<Vec<_>>());
    assert!(lagged > 0);
    assert!(world.daemon.observer().refused(Refused::QueueBytes) > 0);
    session.execute("insert into orders (id) values (400)", &[]).await.unwrap();
    assert_eq!(stuck.next().await["row"]["id"], 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_changes_hands_is_gone_for_the_one_and_new_for_the_other() {
    for capture in ["row", "statement"] {
        let world = orders(&format!(
            "array['orders'], users => array['{{owner}}'], capture => '{capture}'"
        ))
        .await;
        let mut ana = world.subscriber("ana", &["orders"]).await;
        let mut ben = world.subscriber("ben", &["orders"]).await;
        world
            .sql(
                "insert into orders values (1, 7, 'ana'), (2, 7, 'ana'), (3, 7, null);
                 update orders set owner = 'ben', note = 'for ben only' where id = 1;
                 update orders set owner = 'ben', note = 'for ben only' where id > 1;
                 update orders set status = 'kept';
                 select rowcast.emit('orders', 'end')",
            )
            .await;

        let seen = ana.changes(5).await;
        assert_eq!(ops(&seen), ["insert", "insert", "delete", "delete", "end"], "{capture}");
        assert!(!json!(seen).to_string().contains("for ben only"), "{capture}: {seen:?}");
        let seen = ben.changes(7).await;
        let expected = ["insert", "insert", "insert", "update", "update", "update", "end"];
        assert_eq!(ops(&seen), expected, "{capture}");
        assert_eq!(seen[3]["changed"], json!(["status"]));
    }
}

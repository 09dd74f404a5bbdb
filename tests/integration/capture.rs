//! What a watch writes into the log for each kind of write, the same by row and by statement.

use crate::harness::{Database, forget, logged, psql};

const CAPTURES: [&str; 2] = ["row", "statement"];

#[tokio::test]
async fn each_write_is_an_event_of_its_own_kind() {
    for db in watched("channels => array['orders', 'orders:{id}', 'org:{org}']").await {
        db.batch_execute("insert into orders values (1, 7, 3, 'new', 1.50)").await;
        db.batch_execute("update orders set status = 'sent'").await;
        db.batch_execute("delete from orders").await;
        db.batch_execute("truncate orders").await;
        assert_eq!(
            logged(&db).await,
            [
                r#"insert {orders,orders:1,org:7} key {"id":1} row {"id":1,"org":7,"owner":3,"status":"new","total":1.50}"#,
                r#"update {orders,orders:1,org:7} key {"id":1} row {"id":1,"org":7,"owner":3,"status":"sent","total":1.50} changed {status}"#,
                r#"delete {orders,orders:1,org:7} key {"id":1} old {"id":1}"#,
                "truncate {orders}",
            ]
        );
    }
}

#[tokio::test]
async fn many_rows_of_one_statement_are_as_many_events() {
    for db in watched("columns => array['status']").await {
        db.batch_execute(
            "insert into orders select n, 1, 1, 'new', 0 from generate_series(1, 1000) n",
        )
        .await;
        db.batch_execute("update orders set status = 'b' where id <= 500").await;
        db.batch_execute("delete from orders").await;
        let counts = "select string_agg(format('%s %s', op, n), ', ' order by op) from (select op, count(*) n, count(distinct key::text) from rowcast.event group by op) x";
        let counted: String = db.client().await.query_one(counts, &[]).await.unwrap().get(0);
        assert_eq!(counted, "delete 1000, insert 1000, update 500");
    }
}

#[tokio::test]
async fn an_update_that_changes_no_watched_column_says_nothing() {
    for db in watched("columns => array['status']").await {
        db.batch_execute("insert into orders values (1, 7, 3, 'new', 1)").await;
        forget(&db).await;
        db.batch_execute("update orders set status = status").await;
        db.batch_execute("update orders set total = 2").await;
        assert_eq!(logged(&db).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_row_that_leaves_a_channel_is_told_there_and_one_that_changes_hands_is_gone_for_the_old_users()
 {
    let asked =
        "channels => array['org:{org}'], users => array['{owner}'], columns => array['status']";
    for db in watched(asked).await {
        db.batch_execute("insert into orders values (1, 7, 3, 'new', 1)").await;
        forget(&db).await;
        db.batch_execute("update orders set org = 8").await;
        db.batch_execute("update orders set owner = 4").await;
        db.batch_execute("update orders set org = null, owner = null").await;
        db.batch_execute("update orders set status = 'lost'").await;
        db.batch_execute("update orders set org = 9").await;
        let (key, row) = (r#"key {"id":1}"#, r#"row {"status":"new"}"#);
        assert_eq!(
            logged(&db).await,
            [
                format!("update {{org:8,org:7}} to {{3}} {key} {row} changed {{}}"),
                format!("delete {{org:8}} to {{3}} {key} old {{\"id\":1}}"),
                format!("insert {{org:8}} to {{4}} {key} {row}"),
                format!("delete {{org:8}} to {{4}} {key} old {{\"id\":1}}"),
                // In no channel then, so told to nobody; then in one, but without an owner for nobody's eyes.
                r#"update {org:9} to {} key {"id":1} row {"status":"lost"} changed {}"#.to_owned(),
            ]
        );
    }
}

#[tokio::test]
async fn a_value_that_could_forge_a_channel_leaves_that_channel_out() {
    let db = Database::migrated().await;
    db.batch_execute("create table room (id int primary key, name text, tag text)").await;
    db.batch_execute("select rowcast.watch('room', channels => array['all', 'room:{name}', 'both:{name}:{tag}'])").await;
    let client = db.client().await;
    let names = [
        "ok-1_@.Z",
        "a:b",
        "",
        "a b",
        "a\n",
        "é",
        "*",
        "x\u{2028}",
        &"n".repeat(195),
        &"n".repeat(196),
    ];
    for (id, name) in (1..).zip(names) {
        let insert = "insert into room values ($1, $2, 't')";
        client.execute(insert, &[&id, &name]).await.unwrap();
    }
    let sent = "select channels[2:] from rowcast.event order by id";
    let rows = client.query(sent, &[]).await.unwrap();
    let sent: Vec<Vec<String>> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(sent[0], ["room:ok-1_@.Z", "both:ok-1_@.Z:t"]);
    assert!(sent[1..8].iter().all(Vec::is_empty), "{sent:?}");
    assert_eq!(sent[8][0].len(), 200);
    // 195 bytes fit behind "room:", and not between "both:" and ":t".
    assert_eq!(sent[8].len(), 1);
    assert!(sent[9].is_empty());
}

#[tokio::test]
async fn no_value_reaches_the_reserved_channels() {
    let db = Database::migrated().await;
    db.batch_execute("create table room (id int primary key, name text)").await;
    db.batch_execute("select rowcast.watch('room', channels => array['{name}', 'row{name}'])")
        .await;
    db.batch_execute("insert into room values (1, 'rowcast'), (2, 'cast'), (3, 'chat')").await;
    assert_eq!(
        logged(&db).await,
        [
            r#"insert {rowrowcast} key {"id":1} row {"id":1,"name":"rowcast"}"#,
            r#"insert {cast} key {"id":2} row {"id":2,"name":"cast"}"#,
            r#"insert {chat,rowchat} key {"id":3} row {"id":3,"name":"chat"}"#,
        ]
    );
}

#[tokio::test]
async fn one_channel_named_by_two_templates_is_named_once() {
    for db in watched("channels => array['n:{org}', 'n:{owner}'], columns => array['id']").await {
        db.batch_execute("insert into orders values (1, 5, 5, 'new', 1)").await;
        assert_eq!(logged(&db).await, [r#"insert {n:5} key {"id":1} row {"id":1}"#]);
    }
}

#[tokio::test]
async fn a_changed_key_is_one_row_gone_and_another_come() {
    for db in watched("columns => array['id']").await {
        db.batch_execute("insert into orders values (1, 7, 3, 'new', 1), (2, 7, 3, 'new', 1)")
            .await;
        forget(&db).await;
        db.batch_execute("update orders set id = 9 where id = 1").await;
        assert_eq!(
            logged(&db).await,
            [
                r#"delete {orders} key {"id":1} old {"id":1}"#,
                r#"insert {orders} key {"id":9} row {"id":9}"#
            ]
        );
        forget(&db).await;
        db.batch_execute("update orders set id = id + 100").await;
        let mut lines = logged(&db).await;
        lines.sort();
        assert_eq!(
            lines,
            [
                r#"delete {orders} key {"id":2} old {"id":2}"#,
                r#"delete {orders} key {"id":9} old {"id":9}"#,
                r#"insert {orders} key {"id":102} row {"id":102}"#,
                r#"insert {orders} key {"id":109} row {"id":109}"#,
            ]
        );
    }
}

#[tokio::test]
async fn a_condition_decides_and_a_missing_side_counts_as_nulls() {
    for db in
        watched("condition => 'new.status is distinct from old.status', columns => array['id']")
            .await
    {
        db.batch_execute("insert into orders values (1, 7, 3, null, 1)").await;
        db.batch_execute("insert into orders values (2, 7, 3, 'new', 1)").await;
        db.batch_execute("update orders set total = 2").await;
        db.batch_execute("update orders set id = id").await;
        db.batch_execute("delete from orders where id = 1").await;
        db.batch_execute("delete from orders where id = 2").await;
        assert_eq!(
            logged(&db).await,
            [
                r#"insert {orders} key {"id":2} row {"id":2}"#,
                r#"delete {orders} key {"id":2} old {"id":2}"#
            ]
        );
    }
}

#[tokio::test]
async fn a_row_that_alone_fits_the_condition_hides_no_other_row_of_its_statement() {
    let asked =
        "condition => 'coalesce(new.total > old.total, true)', columns => array['id', 'total']";
    for db in watched(asked).await {
        db.batch_execute("insert into orders (id, total) values (1, 100), (2, 1)").await;
        forget(&db).await;
        db.batch_execute("update orders set id = id % 2 * 2 + id, total = 50 - id % 2 * 49").await;
        db.batch_execute("update orders set id = id + 2, total = total + 1 where id = 2").await;
        let mut lines = logged(&db).await;
        lines[..3].sort();
        assert_eq!(
            lines,
            [
                r#"delete {orders} key {"id":1} old {"id":1}"#,
                r#"insert {orders} key {"id":3} row {"id":3,"total":1.00}"#,
                r#"update {orders} key {"id":2} row {"id":2,"total":50.00} changed {total}"#,
                r#"delete {orders} key {"id":2} old {"id":2}"#,
                r#"insert {orders} key {"id":4} row {"id":4,"total":51.00}"#,
            ]
        );
    }
}

#[tokio::test]
async fn the_old_row_comes_along_where_asked() {
    for db in watched("old => true, columns => array['id', 'status']").await {
        db.batch_execute("insert into orders values (1, 7, 3, 'new', 1)").await;
        db.batch_execute("update orders set status = 'b'").await;
        db.batch_execute("delete from orders").await;
        assert_eq!(
            logged(&db).await,
            [
                r#"insert {orders} key {"id":1} row {"id":1,"status":"new"}"#,
                r#"update {orders} key {"id":1} row {"id":1,"status":"b"} old {"id":1,"status":"new"} changed {status}"#,
                r#"delete {orders} key {"id":1} old {"id":1,"status":"b"}"#,
            ]
        );
    }
}

#[tokio::test]
async fn the_writer_says_who_and_from_where() {
    let db = &watched("").await[1];
    let mut client = db.client().await;
    let transaction = client.transaction().await.unwrap();
    transaction
        .batch_execute("set local rowcast.\"user\" = '7'; set local rowcast.origin = 'tab-1'; insert into orders values (1)")
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    client.batch_execute("insert into orders values (2)").await.unwrap();
    let rows =
        client.query(r#"select "user", origin from rowcast.event order by id"#, &[]).await.unwrap();
    let said: Vec<(Option<&str>, Option<&str>)> =
        rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(said, [(Some("7"), Some("tab-1")), (Some(""), Some(""))]);
}

#[tokio::test]
async fn only_the_kinds_of_write_asked_for_are_told() {
    for db in watched("ops => array['update'], columns => array['id', 'status']").await {
        db.batch_execute("insert into orders values (1, 7, 3, 'new', 1)").await;
        db.batch_execute("update orders set status = 'b'").await;
        db.batch_execute("delete from orders; truncate orders").await;
        assert_eq!(logged(&db).await.len(), 1);
    }
}

#[tokio::test]
async fn a_truncate_is_told_to_channels_that_need_no_row() {
    let db = &watched("channels => array['orders', 'org:{org}']").await[0];
    db.batch_execute("truncate orders").await;
    assert_eq!(logged(db).await, ["truncate {orders}"]);
    // An audience taken from rows cannot be known without one.
    db.batch_execute("select rowcast.watch('orders', users => array['{owner}'])").await;
    db.batch_execute("truncate orders").await;
    assert_eq!(logged(db).await.len(), 1);
}

#[tokio::test]
async fn copy_merge_upsert_and_cascades_are_writes_like_any_other() {
    let db = Database::migrated().await;
    db.batch_execute(
        "create table parent (id int primary key);
         create table child (id int primary key, parent int references parent on delete cascade on update cascade);
         select rowcast.watch('child'); select rowcast.watch('parent');
         insert into parent values (1), (2); insert into child values (1, 1), (2, 1);
         truncate rowcast.event;
         insert into child values (1, 2), (3, 2) on conflict (id) do update set parent = excluded.parent",
    )
    .await;
    let mut lines = logged(&db).await;
    lines.sort();
    assert_eq!(
        lines,
        [
            r#"insert {child} key {"id":3} row {"id":3,"parent":2}"#,
            r#"update {child} key {"id":1} row {"id":1,"parent":2} changed {parent}"#,
        ]
    );
    forget(&db).await;
    db.batch_execute("delete from parent where id = 2").await;
    let mut lines = logged(&db).await;
    lines.sort();
    assert_eq!(
        lines,
        [
            r#"delete {child} key {"id":1} old {"id":1}"#,
            r#"delete {child} key {"id":3} old {"id":3}"#,
            r#"delete {parent} key {"id":2} old {"id":2}"#,
        ]
    );
    forget(&db).await;
    psql(db.url(), "copy child from stdin;\n7\t1\n8\t1\n\\.\n").unwrap();
    assert_eq!(logged(&db).await.len(), 2);
    if db.version().await >= 15 {
        forget(&db).await;
        db.batch_execute(
            "merge into child c using (values (7), (9)) v (id) on c.id = v.id
             when matched then delete when not matched then insert values (v.id, 1)",
        )
        .await;
        let mut lines = logged(&db).await;
        lines.sort();
        assert_eq!(lines[0], r#"delete {child} key {"id":7} old {"id":7}"#);
        assert_eq!(lines[1], r#"insert {child} key {"id":9} row {"id":9,"parent":1}"#);
    }
}

#[tokio::test]
async fn what_is_rolled_back_never_happened() {
    for db in watched("columns => array['id']").await {
        db.batch_execute(
            "begin; insert into orders values (1); savepoint a; insert into orders values (2); rollback to a;
             insert into orders values (3); commit; begin; insert into orders values (4); rollback",
        )
        .await;
        let lines = [
            r#"insert {orders} key {"id":1} row {"id":1}"#,
            r#"insert {orders} key {"id":3} row {"id":3}"#,
        ];
        assert_eq!(logged(&db).await, lines);
        let xids = "select count(distinct xid) from rowcast.event";
        let xids: i64 = db.client().await.query_one(xids, &[]).await.unwrap().get(0);
        assert_eq!(xids, 1, "the log holds top-level transactions, not savepoints");
    }
}

#[tokio::test]
async fn a_one_row_write_takes_no_transaction_id_of_its_own() {
    for db in watched("").await {
        db.batch_execute(
            "begin; insert into orders values (1); update orders set total = 1; update orders set id = 2;
             delete from orders; commit",
        )
        .await;
        // Written in a subtransaction, a row would bear that one's id.
        let own = "select count(*) from rowcast.event where xmin::text::bigint <> xid::text::bigint % (2::bigint ^ 32)::bigint";
        let own: i64 = db.client().await.query_one(own, &[]).await.unwrap().get(0);
        assert_eq!((own, logged(&db).await.len()), (0, 5));
    }
}

#[tokio::test]
async fn a_notify_only_event_travels_signed_and_leaves_no_log() {
    let db = Database::migrated().await;
    db.batch_execute("create table t (id int primary key, body text); select rowcast.watch('t', channels => array['t:{id}'], log => false)").await;
    let heard = heard(&db, "insert into t values (1, 'é'); update t set id = 2; delete from t;");
    assert_eq!(heard.len(), 4, "{heard:?}");
    for payload in &heard {
        assert_eq!(signed(&db, payload).await, *payload);
    }
    let (first, ops) = (&heard[0][33..], ["insert", "delete", "insert", "delete"]);
    let event: serde_json::Value = serde_json::from_str(first).unwrap();
    assert_eq!(event["channels"], serde_json::json!(["t:1"]));
    assert_eq!(event["row"], serde_json::json!({"id": 1, "body": "é"}));
    assert!(
        event["id"].is_i64()
            && event["xid"].is_string()
            && event["at"].as_str().unwrap().ends_with('Z'),
        "{first}"
    );
    for (payload, op) in heard.iter().zip(ops) {
        assert!(payload.contains(&format!("\"op\":\"{op}\"")), "{payload}");
    }
    assert_eq!(logged(&db).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_notify_only_event_that_does_not_fit_is_parked() {
    let db = Database::migrated().await;
    db.batch_execute("create table t (id int primary key, body text); select rowcast.watch('t', columns => array['body'], log => false)").await;
    let heard = heard(&db, "insert into t values (1, repeat('é', 4000));");
    assert_eq!(signed(&db, &heard[0]).await, heard[0]);
    let parked: serde_json::Value = serde_json::from_str(&heard[0][33..]).unwrap();
    let stored = db
        .client()
        .await
        .query_one("select id::text, xid::text from rowcast.event where parked", &[])
        .await
        .unwrap();
    assert_eq!(
        parked,
        serde_json::json!({"parked": stored.get::<_, &str>(0), "xid": stored.get::<_, &str>(1)})
    );
    assert!(logged(&db).await[0].ends_with("parked"));
}

#[tokio::test]
async fn writers_wake_the_daemon_only_while_it_sleeps() {
    let db = Database::migrated().await;
    db.batch_execute("create table t (id int primary key); select rowcast.watch('t')").await;
    let writes = "insert into t values (1); begin; insert into t values (2); insert into t values (3); commit; insert into t select 1 where false;";
    assert_eq!(heard(&db, writes), Vec::<String>::new(), "nobody sleeps, so nobody is woken");
    let sleeper = db.client().await;
    sleeper.batch_execute("select pg_advisory_lock(32210705904137076)").await.unwrap();
    let woken = heard(
        &db,
        "delete from t where id = 1; begin; delete from t where id = 2; delete from t; commit; delete from t; select rowcast.emit('a', 'b');",
    );
    assert_eq!(woken, ["", "", ""], "once for each transaction that logged something");
    db.batch_execute("select rowcast.watch('t', wake => 'poll')").await;
    assert_eq!(heard(&db, "insert into t values (9);"), Vec::<String>::new());
}

/// The payloads that a session hears which listens and then runs this.
fn heard(db: &Database, script: &str) -> Vec<String> {
    let heard = psql(db.url(), &format!("listen rowcast;\n{script}\nselect 1;")).unwrap();
    heard
        .lines()
        .filter_map(|line| line.strip_prefix("Asynchronous notification \"rowcast\" "))
        .map(|rest| {
            let quoted = rest
                .strip_prefix("with payload \"")
                .and_then(|rest| rest.split_once("\" received from server process"));
            quoted.map_or_else(String::new, |(payload, _)| payload.to_owned())
        })
        .collect()
}

/// The payload that this one's JSON must have, worked out from the key apart from the functions that made it.
async fn signed(db: &Database, payload: &str) -> String {
    let sql = "select '1' || encode(substr(sha256(key || sha256(key || convert_to($1, 'UTF8'))), 1, 16), 'hex') || $1 from rowcast.identity";
    db.client().await.query_one(sql, &[&&payload[33..]]).await.unwrap().get(0)
}

/// A table of orders watched by row, and one watched by statement.
async fn watched(arguments: &str) -> Vec<Database> {
    let mut databases = Vec::new();
    for capture in CAPTURES {
        let db = Database::migrated().await;
        let comma = if arguments.is_empty() { "" } else { ", " };
        db.batch_execute(&format!(
            "create table orders (id int primary key, org int, owner int, status text, total numeric(10, 2));
             select rowcast.watch('orders', {arguments}{comma}capture => '{capture}')"
        ))
        .await;
        databases.push(db);
    }
    databases
}

//! The commands of a DBA, through the program as it is shipped.

use serde_json::{Value, json};

use crate::harness::{Database, Outcome, psql, rowcast};

#[tokio::test]
async fn migrate_installs_and_says_what_it_found() {
    let db = Database::empty().await;
    let first = rowcast(db.url(), &["migrate"]);
    assert!(first.code == 0 && first.stderr.contains("is installed"), "{first:?}");
    let second = rowcast(db.url(), &["migrate"]);
    assert!(second.code == 0 && second.stderr.contains("already"), "{second:?}");
    assert_eq!((first.stdout, second.stdout), (String::new(), String::new()));
}

#[tokio::test]
async fn what_migrate_prints_psql_runs() {
    let db = Database::empty().await;
    psql(db.url(), &printed(&db, &["migrate", "--print"])).unwrap();
    assert!(rowcast(db.url(), &["migrate"]).stderr.contains("already"));
}

#[tokio::test]
async fn a_watch_takes_every_option() {
    let db = with_orders().await;
    done(&rowcast(db.url(), ALL_OPTIONS));
    let expected = json!([{
        "table": "public.orders",
        "channels": ["orders", "orders:{id}"],
        "users": ["{owner}"],
        "columns": ["id", "owner", "total"],
        "except": ["secret"],
        "ops": ["insert", "update"],
        "condition": "new.total is distinct from old.total",
        "old": true,
        "log": false,
        "capture": "row",
        "wake": "poll",
        "rls": false,
        "drift": null,
    }]);
    let mut watches = watches(&db);
    let triggers = watches[0].as_object_mut().unwrap().remove("triggers").unwrap();
    assert_eq!(triggers.as_array().unwrap().len(), 2, "{triggers}");
    assert_eq!(watches, expected);
}

#[tokio::test]
async fn what_watch_prints_does_the_same_in_psql() {
    for options in [&["watch", "orders"][..], ALL_OPTIONS] {
        let (direct, by_psql) = (with_orders().await, with_orders().await);
        done(&rowcast(direct.url(), options));
        psql(by_psql.url(), &printed(&by_psql, &[options, &["--print"]].concat())).unwrap();
        assert_eq!(watches(&by_psql), watches(&direct));
        assert_ne!(watches(&direct), json!([]));
    }
}

#[tokio::test]
async fn a_watched_table_writes_events_until_it_is_unwatched() {
    let db = with_orders().await;
    done(&rowcast(db.url(), &["watch", "orders", "--channel", "org:{owner}", "--user", "owner"]));
    db.batch_execute("insert into orders values (1, 'ana', 2, '')").await;
    let client = db.client().await;
    let event = client.query_one("select channels, users from rowcast.event", &[]).await.unwrap();
    let (channels, users): (Vec<String>, Vec<String>) = (event.get(0), event.get(1));
    assert_eq!((channels, users), (vec!["org:ana".into()], vec!["ana".into()]));
    let done_with = rowcast(db.url(), &["unwatch", "orders"]);
    assert!(done_with.code == 0 && done_with.stderr.contains("public.orders"), "{done_with:?}");
    db.batch_execute("insert into orders values (2, 'ana', 2, '')").await;
    assert_eq!(events(&db).await, 1);
    assert_eq!(watches(&db), json!([]));
}

#[tokio::test]
async fn what_unwatch_prints_does_the_same_in_psql() {
    let db = with_orders().await;
    done(&rowcast(db.url(), &["watch", "orders"]));
    psql(db.url(), &printed(&db, &["unwatch", "orders", "--print"])).unwrap();
    db.batch_execute("insert into orders values (1, 'ana', 2, '')").await;
    assert_eq!((events(&db).await, watches(&db)), (0, json!([])));
}

#[tokio::test]
async fn tables_are_named_as_sql_names_them() {
    let db = Database::migrated().await;
    db.batch_execute(
        "create schema app; create table app.note (id int primary key); \
         create table \"we\"\"ird'; t\" (id int primary key)",
    )
    .await;
    for name in ["app.note", "\"we\"\"ird'; t\""] {
        done(&rowcast(db.url(), &["watch", name, "--channel", "all"]));
    }
    let names: Vec<_> =
        watches(&db).as_array().unwrap().iter().map(|w| w["table"].clone()).collect();
    assert_eq!(names, ["app.note", "public.\"we\"\"ird'; t\""]);
    let missing = rowcast(db.url(), &["watch", "note"]);
    assert!(missing.code == 1 && missing.stderr.contains("schema.table"), "{missing:?}");
}

#[tokio::test]
async fn watches_shows_what_goes_where_and_what_has_drifted() {
    let db = with_orders().await;
    let none = rowcast(db.url(), &["watches"]);
    assert!(none.stdout.is_empty() && none.stderr.contains("no table is watched"), "{none:?}");
    done(&rowcast(db.url(), &["watch", "orders", "--channel", "orders:{id}"]));
    let shown = rowcast(db.url(), &["watches"]).stdout;
    assert!(shown.starts_with("public.orders\n") && shown.contains("orders:{id}"), "{shown}");
    assert!(!shown.contains("drift"), "{shown}");
    db.batch_execute("alter table orders disable trigger rowcast_900_insert").await;
    let shown = rowcast(db.url(), &["watches"]).stdout;
    assert!(shown.contains("drift") && shown.contains("rowcast_900_insert is disabled"), "{shown}");
}

#[tokio::test]
async fn a_watch_outlives_its_table_in_the_list() {
    let db = with_orders().await;
    done(&rowcast(db.url(), &["watch", "orders"]));
    db.batch_execute("drop table orders").await;
    let listed = watches(&db);
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert!(listed[0]["drift"].is_string(), "{listed}");
}

#[tokio::test]
async fn an_emitted_event_keeps_every_digit_and_its_audience() {
    let db = Database::migrated().await;
    let data = r#"{"n": 12345678901234567890.10}"#;
    done(&rowcast(db.url(), &["emit", "doc:9", "progress", data, "--user", "7", "--user", "8"]));
    done(&rowcast(db.url(), &["emit", "doc:9", "said", "\"hello\""]));
    let query = "select op, channels, users, \"row\"::text from rowcast.event order by id";
    let rows = db.client().await.query(query, &[]).await.unwrap();
    let sent: Vec<Sent> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
    let channel = || vec!["doc:9".to_owned()];
    assert_eq!(
        sent,
        [
            ("progress".into(), channel(), Some(vec!["7".into(), "8".into()]), data.into()),
            ("said".into(), channel(), None, "\"hello\"".into()),
        ]
    );
}

#[tokio::test]
async fn uninstall_asks_first_and_then_leaves_the_table_alone() {
    let db = with_orders().await;
    done(&rowcast(db.url(), &["watch", "orders"]));
    let asked = rowcast(db.url(), &["uninstall"]);
    assert!(asked.code == 1 && asked.stderr.contains("--yes"), "{asked:?}");
    assert_ne!(watches(&db), json!([]));
    done(&rowcast(db.url(), &["uninstall", "--yes"]));
    db.batch_execute("insert into orders values (1, 'ana', 2, '')").await;
    let gone = rowcast(db.url(), &["watches"]);
    assert!(gone.code == 1 && gone.stderr.contains("rowcast migrate"), "{gone:?}");
}

#[tokio::test]
async fn what_uninstall_prints_does_the_same_in_psql() {
    let db = with_orders().await;
    done(&rowcast(db.url(), &["watch", "orders"]));
    psql(db.url(), &printed(&db, &["uninstall", "--print"])).unwrap();
    db.batch_execute("insert into orders values (1, 'ana', 2, '')").await;
    assert!(rowcast(db.url(), &["watches"]).stderr.contains("rowcast migrate"));
}

#[tokio::test]
async fn a_command_that_fails_says_what_to_do_next() {
    let db = with_orders().await;
    db.batch_execute("create view seen as select * from orders").await;
    let stranger = db.role("stranger");
    db.batch_execute(&format!("create role {stranger} login")).await;
    for (url, arguments, said) in [
        (db.url().to_owned(), &["watch", "seen"][..], "is a view"),
        (db.url().to_owned(), &["watch", "orders", "--channel", "orders:{no}"], "no"),
        (db.url().to_owned(), &["watch", "orders", "--when", "new.total >"], "condition"),
        (db.url().to_owned(), &["emit", "doc:9", "insert", "1"], "insert"),
        (db.url_as(&stranger), &["watches"], "grant"),
        (Database::empty().await.url().to_owned(), &["watch", "orders"], "rowcast migrate"),
        (db.url().replace(db.name(), "nowhere"), &["watches"], "create the database"),
        ("postgres://me:hunter2@127.0.0.1:1/x".into(), &["watches"], "is the server running"),
        ("postgres://me:hunter2@127.0.0.1/x?sslmod=off".into(), &["watches"], "\"sslmod\""),
    ] {
        let failed = rowcast(&url, arguments);
        assert!(failed.code == 1 && failed.stdout.is_empty(), "{arguments:?}: {failed:?}");
        assert!(failed.stderr.contains(said), "{arguments:?}: {}", failed.stderr);
        assert!(!failed.stderr.contains("hunter2"), "{}", failed.stderr);
    }
}

#[tokio::test]
async fn wrong_usage_exits_2_and_touches_no_database() {
    for arguments in [
        &["watch"][..],
        &["watch", "orders", "--row", "--statement"],
        &["watch", "orders", "--ops", "upsert"],
        &["emit", "doc:9", "said", "hello"],
        &["migrate", "now"],
    ] {
        let refused = rowcast("postgres://127.0.0.1:1/nowhere", arguments);
        assert_eq!(refused.code, 2, "{arguments:?}: {refused:?}");
    }
}

/// Name, channels, users, data.
type Sent = (String, Vec<String>, Option<Vec<String>>, String);

async fn with_orders() -> Database {
    let db = Database::migrated().await;
    let orders = "create table orders (id int primary key, owner text, total numeric, secret text)";
    db.batch_execute(orders).await;
    db
}

async fn events(db: &Database) -> i64 {
    db.client().await.query_one("select count(*) from rowcast.event", &[]).await.unwrap().get(0)
}

fn watches(db: &Database) -> Value {
    let outcome = rowcast(db.url(), &["watches", "--json"]);
    done(&outcome);
    serde_json::from_str(&outcome.stdout).unwrap()
}

fn printed(db: &Database, arguments: &[&str]) -> String {
    let outcome = rowcast(db.url(), arguments);
    done(&outcome);
    outcome.stdout
}

fn done(outcome: &Outcome) {
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
}

const ALL_OPTIONS: &[&str] = &[
    "watch",
    "orders",
    "--channel",
    "orders",
    "--channel",
    "orders:{id}",
    "--user",
    "owner",
    "--except",
    "secret",
    "--ops",
    "insert,update",
    "--when",
    "new.total is distinct from old.total",
    "--old",
    "--no-log",
    "--row",
    "--wake",
    "poll",
];

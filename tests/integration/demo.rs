//! `rowcast demo`: it works, and it leaves nothing behind.

use std::path::PathBuf;

use crate::harness::{Database, Demo, psql, rowcast, until};

#[tokio::test]
async fn the_check_proves_that_each_user_gets_their_own_changes() {
    let db = Database::empty().await;
    let outcome = rowcast(db.url(), &["demo", "--check"]);

    assert_eq!(outcome.code, 0, "{outcome:?}");
    for words in ["ana: 20 inserts, 20 updates and 20 deletes arrived in order", "ben: 20", "p50"] {
        assert!(outcome.stdout.contains(words), "{words} in {outcome:?}");
    }
}

#[tokio::test]
async fn a_database_is_left_as_it_was_found() {
    for db in [Database::empty().await, Database::migrated().await] {
        let before = schemas(&db);
        assert_eq!(rowcast(db.url(), &["demo", "--check"]).code, 0);
        assert_eq!(schemas(&db), before);
    }
}

#[tokio::test]
async fn what_a_killed_demo_left_behind_is_replaced() {
    let db = Database::empty().await;
    Demo::on(&db, &[]).end("KILL");
    assert!(schemas(&db).contains("demo"));

    assert_eq!(rowcast(db.url(), &["demo", "--check"]).code, 0);

    assert!(!schemas(&db).contains("demo"));
}

#[tokio::test]
async fn a_schema_of_that_name_that_is_not_ours_is_refused_and_untouched() {
    let db = Database::empty().await;
    db.batch_execute("create schema demo; create table demo.orders (precious int)").await;

    let outcome = rowcast(db.url(), &["demo", "--check"]);

    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("has a schema \"demo\" of its own"), "{outcome:?}");
    db.batch_execute("select precious from demo.orders").await;
}

#[tokio::test]
async fn a_server_of_its_own_is_gone_whichever_way_the_demo_ends() {
    for (signal, code) in [("INT", Some(0)), ("TERM", Some(0)), ("KILL", None)] {
        let demo = Demo::alone(&[]);
        let folder = folder_of(&demo.url);
        assert!(folder.join("data").is_dir(), "{}", folder.display());
        assert_eq!(demo.end(signal).code(), code, "after {signal}");
        until("the folder is gone", async || (!folder.exists()).then_some(())).await;
    }
}

#[tokio::test]
async fn the_tables_stay_small_whatever_is_inserted() {
    let db = Database::empty().await;
    let demo = Demo::on(&db, &[]);
    let flood = "insert into demo.orders (customer, item, quantity, total, owner)
        select 'x', 'Oat milk', 1, 1, 'ana' from generate_series(1, 1000)";
    psql(&demo.url, flood).unwrap();

    until("24 orders are left", async || (count(&demo.url) <= 24).then_some(())).await;
}

fn schemas(db: &Database) -> String {
    psql(db.url(), "select nspname from pg_namespace where nspname !~ '^pg_' order by 1").unwrap()
}

fn count(url: &str) -> u32 {
    psql(url, "select count(*) from demo.orders").unwrap().trim().parse().unwrap()
}

fn folder_of(url: &str) -> PathBuf {
    let (_, rest) = url.split_once("host=").unwrap();
    rest.split('&').next().unwrap().into()
}

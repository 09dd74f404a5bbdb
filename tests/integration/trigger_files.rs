//! The plain files of triggers/, installed with psql alone: the same events as a watch.

use std::process::Command;

use crate::harness::{Database, forget, logged};

const TABLE: &str = "create table t (id int primary key, n int, j json, body text)";
const WRITES: [&str; 9] = [
    r#"insert into t values (1, 1, '{"a":"\u0000"}', 'x')"#,
    "insert into t select g, g, null, 'b' from generate_series(2, 4) g",
    "update t set n = n",
    "update t set n = 10, body = 'y' where id = 1",
    "update t set j = '[1]', n = null where id = 2",
    "update t set id = 50 where id = 3",
    "insert into t values (9, 9, null, repeat('z', 9000000)); update t set n = 8 where id = 9",
    "delete from t where id = 4",
    "delete from t",
];

#[tokio::test]
async fn row_change_captures_as_a_watch_by_row_does() {
    let plain = installed("row_change.sql", &["channel=t"]).await;
    assert_eq!(events(&plain).await, events(&watched("capture => 'row'").await).await);
}

#[tokio::test]
async fn statement_change_captures_as_a_watch_by_statement_does() {
    let plain = installed("statement_change.sql", &["channel=t"]).await;
    assert_eq!(events(&plain).await, events(&watched("capture => 'statement'").await).await);
}

#[tokio::test]
async fn column_change_captures_as_a_watch_of_updates_of_these_columns_does() {
    let plain = installed("column_change.sql", &["channel=t:n", "columns=n,body"]).await;
    let asked = "channels => array['t:n'], columns => array['n', 'body'], ops => array['update']";
    assert_eq!(events(&plain).await, events(&watched(asked).await).await);
}

#[tokio::test]
async fn truncate_captures_as_a_watch_does() {
    let plain = installed("truncate.sql", &[]).await;
    plain.batch_execute("insert into t values (1); truncate t").await;
    assert_eq!(logged(&plain).await, ["truncate {t}"]);
}

#[tokio::test]
async fn a_watch_takes_the_place_of_plain_files_and_unwatch_removes_them() {
    let db = installed("statement_change.sql", &[]).await;
    db.batch_execute("select rowcast.watch('t', capture => 'row'); insert into t values (1)").await;
    assert_eq!(logged(&db).await.len(), 1);
    install(&db, "row_change.sql", &[]).unwrap();
    db.batch_execute("insert into t values (2)").await;
    assert_eq!(logged(&db).await.len(), 2);
    db.batch_execute("select rowcast.unwatch('t'); insert into t values (3)").await;
    assert_eq!(logged(&db).await.len(), 2);
}

#[tokio::test]
async fn a_column_dropped_under_a_plain_file_fails_no_write() {
    for file in ["row_change.sql", "statement_change.sql"] {
        let db = installed(file, &[]).await;
        db.batch_execute("insert into t values (1, 1); alter table t drop column body").await;
        forget(&db).await;
        db.batch_execute(
            "insert into t values (2, 2); update t set n = 7 where id = 1; delete from t",
        )
        .await;
        let lines = logged(&db).await;
        assert!(
            lines.len() >= 3
                && lines[0].starts_with("insert {t}")
                && lines[0].ends_with("truncated"),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn awkward_tables_are_refused_or_captured() {
    let db = Database::migrated().await;
    db.batch_execute(
        r#"create table keyless (a int); create view v as select 1 as a; create table "o'dd ""name" ("k %1$s" int primary key)"#,
    )
    .await;
    for (file, table, said) in [
        ("statement_change.sql", "keyless", "Take triggers/row_change.sql"),
        ("row_change.sql", "v", "is a view"),
        ("truncate.sql", "pg_class", "is a system table"),
        ("row_change.sql", "nowhere", "does not exist"),
        ("column_change.sql", "keyless", "no columns are given"),
    ] {
        let complaint = psql_with(&db, file, &[&format!("table={table}")]).unwrap_err();
        assert!(complaint.contains(said), "{file} {table}: {complaint}");
    }
    psql_with(&db, "row_change.sql", &["table=keyless"]).unwrap();
    for file in ["row_change.sql", "statement_change.sql", "truncate.sql"] {
        psql_with(&db, file, &[r#"table="o'dd ""name""#, "channel=odd"]).unwrap();
    }
    db.batch_execute(r#"insert into "o'dd ""name" values (1); insert into keyless values (5)"#)
        .await;
    assert_eq!(
        logged(&db).await,
        [
            r#"insert {odd} key {"k %1$s":1} row {"k %1$s":1}"#,
            r#"insert {keyless} key {"a":5} row {"a":5}"#
        ]
    );
}

async fn installed(file: &str, variables: &[&str]) -> Database {
    let db = Database::migrated().await;
    db.batch_execute(TABLE).await;
    install(&db, file, variables).unwrap();
    db
}

async fn watched(arguments: &str) -> Database {
    let db = Database::migrated().await;
    db.batch_execute(&format!("{TABLE}; select rowcast.watch('t', {arguments})")).await;
    db
}

/// What the writes put into the log; the order inside one statement is nobody's promise.
async fn events(db: &Database) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for write in WRITES {
        forget(db).await;
        db.batch_execute(write).await;
        let mut lines = logged(db).await;
        lines.sort();
        all.push(lines);
    }
    assert!(all.iter().flatten().count() > 1, "something was captured");
    all
}

fn install(db: &Database, file: &str, variables: &[&str]) -> Result<(), String> {
    psql_with(db, file, &[&["table=public.t"], variables].concat())
}

fn psql_with(db: &Database, file: &str, variables: &[&str]) -> Result<(), String> {
    let path = format!("{}/triggers/{file}", env!("CARGO_MANIFEST_DIR"));
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "--quiet", "--file", &path]);
    for variable in variables {
        psql.args(["--set", variable]);
    }
    let output = psql.arg(db.url()).output().expect("psql is installed");
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

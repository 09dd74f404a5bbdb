//! Putting a watch on a table, replacing it, seeing it drift, taking it away.

use crate::harness::{Database, forget, logged, psql};

#[tokio::test]
async fn what_cannot_be_watched_is_refused_with_a_sentence() {
    let db = Database::migrated().await;
    db.batch_execute(
        "create table t (id int primary key, \"user\" text); create table keyless (a int);
         create view v as select 1 as a; create materialized view m as select 1 as a;
         create table p (id int primary key) partition by range (id);
         create table base (id int primary key); create table heir () inherits (base)",
    )
    .await;
    for (call, code, sentence) in [
        ("'pg_class'", "RC003", "is a system table"),
        ("'rowcast.event'", "RC003", "belongs to rowcast itself"),
        ("'v'", "RC003", "is a view"),
        ("'m'", "RC003", "is a materialised view"),
        ("null", "RC002", "no table is given"),
        ("99999999", "RC002", "there is no table"),
        ("'nowhere'", "42P01", "does not exist"),
        ("'t', columns => array['nope']", "RC011", "has no column nope"),
        (
            "'t', columns => array['id'], \"except\" => array['id']",
            "RC011",
            "no column of public.t is left",
        ),
        ("'t', channels => '{}'", "RC012", "reaches nobody"),
        ("'t', channels => array['t:{nope}']", "RC012", "a template names nope"),
        ("'t', channels => array['a b']", "RC012", "is not a channel name"),
        ("'t', channels => array['rowcast:x']", "RC012", "is not a channel name"),
        ("'t', channels => array[null]::text[]", "RC012", "null is not a channel name"),
        ("'t', channels => array['t:{id']", "RC012", "is not a channel name"),
        ("'t', users => array[null]::text[]", "RC012", "a user template is null"),
        ("'t', ops => array['upsert']", "RC009", "ops is"),
        ("'t', ops => '{}'", "RC009", "ops is"),
        ("'t', log => null", "RC009", "null is no value for: log"),
        ("'t', capture => 'fast'", "RC009", "capture is 'fast'"),
        ("'t', wake => 'notify'", "RC009", "wake is 'notify'"),
        ("'t', rls => true", "RC010", "not built yet"),
        ("'t', condition => 'new.nope > 1'", "RC014", "column new.nope does not exist"),
        ("'t', condition => 'new.id'", "RC014", "must be type boolean"),
        ("'t', condition => 'true); drop table t; --'", "RC014", "does not hold as SQL"),
        ("'keyless', capture => 'statement'", "RC013", "neither primary key"),
        ("'p', capture => 'statement'", "RC013", "partitioned"),
        ("'base', capture => 'statement'", "RC013", "inheritance tree"),
        ("'heir', capture => 'statement'", "RC013", "inheritance tree"),
        ("'t', capture => 'statement', log => false", "RC013", "notify-only"),
    ] {
        let error = db
            .client()
            .await
            .batch_execute(&format!("select rowcast.watch({call})"))
            .await
            .expect_err(call);
        let error = error.as_db_error().expect("the server refuses");
        assert_eq!(error.code().code(), code, "{call}: {error}");
        assert!(error.message().contains(sentence), "{call}: {error}");
        assert!(error.hint().is_some() || code == "42P01", "{call} comes without advice");
    }
    let temporary = db.client().await;
    temporary.batch_execute("create temp table tmp (id int)").await.unwrap();
    let error = temporary.batch_execute("select rowcast.watch('tmp')").await.unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("is a temporary table"));
}

#[tokio::test]
async fn auto_captures_by_statement_where_that_gives_the_same_events() {
    let db = Database::migrated().await;
    db.batch_execute(
        "create table t (id int primary key); create table keyless (a int);
         create table identified (a int not null unique); alter table identified replica identity using index identified_a_key;
         create table p (id int primary key) partition by range (id); create table p1 partition of p for values from (0) to (9);
         create table base (id int primary key); create table heir () inherits (base);
         select rowcast.watch(x) from unnest(array['t', 'keyless', 'identified', 'p', 'base', 'heir']::regclass[]) x;
         create table quick (id int primary key); select rowcast.watch('quick', log => false)",
    )
    .await;
    let rows = db
        .client()
        .await
        .query(r#"select "table" || ' ' || capture from rowcast.watches order by 1"#, &[])
        .await
        .unwrap();
    let chosen: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(
        chosen,
        [
            "base row",
            "heir row",
            "identified statement",
            "keyless row",
            "p row",
            "quick row",
            "t statement"
        ]
    );
}

#[tokio::test]
async fn the_printed_sql_does_what_watch_does() {
    let (printed, called) = (Database::migrated().await, Database::migrated().await);
    let call = "('t', channels => array['t', 't:{id}'], users => array['{owner}'], condition => 'new.id > 0', old => true)";
    for db in [&printed, &called] {
        db.batch_execute("create table t (id int primary key, owner text)").await;
    }
    let sql = psql(printed.url(), &format!("select rowcast.watch_sql{call}")).unwrap();
    psql(printed.url(), &sql).unwrap();
    called.batch_execute(&format!("select rowcast.watch{call}")).await;
    let writes =
        "insert into t values (1, 'a'), (-1, 'b'); update t set owner = 'c'; delete from t";
    printed.batch_execute(writes).await;
    called.batch_execute(writes).await;
    // To a delete new is all nulls, so this condition says no.
    assert_eq!(logged(&printed).await.len(), 2);
    assert_eq!(logged(&printed).await, logged(&called).await);
    let drift =
        printed.client().await.query_one("select drift from rowcast.watches", &[]).await.unwrap();
    assert_eq!(drift.get::<_, Option<String>>(0), None);
}

#[tokio::test]
async fn a_second_watch_replaces_the_first() {
    let db = Database::migrated().await;
    db.batch_execute(
        "create table t (id int primary key, n int); select rowcast.watch('t', capture => 'row')",
    )
    .await;
    db.batch_execute("select rowcast.watch('t', channels => array['b'], ops => array['insert'], columns => array['n'])").await;
    db.batch_execute("select rowcast.watch('t', channels => array['b'], ops => array['insert'], columns => array['n'])").await;
    db.batch_execute("insert into t values (1, 2); update t set n = 3; delete from t; truncate t")
        .await;
    assert_eq!(logged(&db).await, [r#"insert {b} key {"id":1} row {"n":2}"#]);
    assert_eq!(left_behind(&db).await, ["rowcast_900_insert"]);
    assert_eq!(drift(&db).await, None);
}

#[tokio::test]
async fn unwatch_takes_everything_away_and_may_be_repeated() {
    let db = Database::migrated().await;
    db.batch_execute("create table t (id int primary key, n int); select rowcast.watch('t')").await;
    db.batch_execute(
        "select rowcast.unwatch('t'); select rowcast.unwatch('t'); insert into t values (1)",
    )
    .await;
    assert_eq!(logged(&db).await, Vec::<String>::new());
    assert_eq!(left_behind(&db).await, Vec::<String>::new());
    let functions = "select count(*) from pg_proc where pronamespace = 'rowcast'::regnamespace and proname like 'capture\\_%\\_insert'";
    assert_eq!(db.client().await.query_one(functions, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_dropped_table_is_seen_and_its_rest_swept_away() {
    let db = Database::migrated().await;
    db.batch_execute("create table t (id int primary key); select rowcast.watch('t')").await;
    let oid: u32 =
        db.client().await.query_one("select 't'::regclass::oid", &[]).await.unwrap().get(0);
    db.batch_execute("drop table t").await;
    assert_eq!(
        drift(&db).await,
        Some(format!("the table was dropped; run: select rowcast.unwatch({oid})"))
    );
    db.batch_execute(&format!("select rowcast.unwatch({oid})")).await;
    assert_eq!(drift(&db).await, None);
    let functions = "select count(*) from pg_proc where pronamespace = 'rowcast'::regnamespace and proname ~ '^capture_[0-9]'";
    assert_eq!(db.client().await.query_one(functions, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn drift_is_told_and_mended_by_watching_again() {
    let db = Database::migrated().await;
    for (change, word) in [
        ("alter table t add column later int", "its columns were id, n"),
        ("alter table t alter column n type text", "type"),
        ("alter table t rename to u", "was called public.t"),
        ("alter table u rename to t", "was called public.u"),
        ("alter table t disable trigger rowcast_900_update", "rowcast_900_update is disabled"),
        ("drop trigger rowcast_900_insert on t", "rowcast_900_insert is missing"),
    ] {
        if word.contains("its columns") {
            db.batch_execute(
                "create table t (id int primary key, n int); select rowcast.watch('t')",
            )
            .await;
        }
        assert_eq!(drift(&db).await, None, "before {change}");
        db.batch_execute(change).await;
        let told = drift(&db).await.unwrap_or_default();
        assert!(told.contains(word), "{change}: {told}");
        db.batch_execute("select rowcast.watch(target, channels) from rowcast.watched").await;
    }
}

#[tokio::test]
async fn a_table_in_use_is_refused_within_the_lock_timeout() {
    let db = Database::migrated().await;
    db.batch_execute("create table t (id int primary key)").await;
    let mut writer = db.client().await;
    let open = writer.transaction().await.unwrap();
    open.batch_execute("insert into t values (1)").await.unwrap();
    let (began, client) = (std::time::Instant::now(), db.client().await);
    let error = client.batch_execute("select rowcast.watch('t')").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "55P03");
    assert!(
        error.message().contains("its lock was not to be had in 2s") && error.hint().is_some(),
        "{error}"
    );
    assert!(began.elapsed() < std::time::Duration::from_secs(20));
    let own = client
        .batch_execute("set lock_timeout = '50ms'; select rowcast.watch('t')")
        .await
        .unwrap_err();
    assert!(own.as_db_error().unwrap().message().contains("50ms"));
    open.rollback().await.unwrap();
    client
        .batch_execute("begin; set local lock_timeout = 0; select rowcast.watch('t')")
        .await
        .unwrap();
    let after: String = client.query_one("show lock_timeout", &[]).await.unwrap().get(0);
    assert_eq!(after, "0", "the caller's setting is back");
}

#[tokio::test]
async fn the_applications_own_changes_of_its_table_are_not_hindered() {
    let db = Database::migrated().await;
    db.batch_execute(
        "create type mood as enum ('ok'); create table t (id int primary key, m mood, n int);
         select rowcast.watch('t', channels => array['t', 't:{m}'], users => array['{n}'], condition => 'new.n > 0', columns => array['n']);
         alter table t drop column m; drop type mood; alter table t drop column n; drop table t",
    )
    .await;
}

#[tokio::test]
async fn emit_sends_what_is_no_row_change() {
    let db = Database::migrated().await;
    db.batch_execute(
        r#"select rowcast.emit('doc:9', 'progress', '{"pct":40}'); select rowcast.emit('doc:9', 'done', users => array['7'])"#,
    )
    .await;
    db.batch_execute("begin; select rowcast.emit('doc:9', 'never'); rollback").await;
    assert_eq!(logged(&db).await, [r#"progress {doc:9} row {"pct":40}"#, "done {doc:9} to {7}"]);
    forget(&db).await;
    for (call, code) in [
        ("'rowcast:x', 'e'", "RC012"),
        ("'a b', 'e'", "RC012"),
        ("null, 'e'", "RC012"),
        ("'a', ''", "RC020"),
        ("'a', 'insert'", "RC020"),
        ("'a', 'e', to_json(repeat('x', 9000000))", "RC021"),
    ] {
        let error = db
            .client()
            .await
            .batch_execute(&format!("select rowcast.emit({call})"))
            .await
            .expect_err(call);
        assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some(code), "{call}");
    }
    assert_eq!(logged(&db).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_dump_comes_back_with_its_watches() {
    let db = Database::migrated().await;
    db.batch_execute("create table t (id int primary key, n int); select rowcast.watch('t', channels => array['t', 't:{id}'])").await;
    let dump = std::process::Command::new("pg_dump")
        .arg(db.url())
        .output()
        .expect("pg_dump comes with psql");
    let complaint = String::from_utf8_lossy(&dump.stderr);
    if complaint.contains("server version mismatch") {
        return; // An older pg_dump than the server under test cannot say anything about it.
    }
    assert!(dump.status.success(), "{complaint}");
    let dump = String::from_utf8(dump.stdout).unwrap();
    let restored = Database::empty().await;
    psql(restored.url(), &dump).unwrap();
    restored.batch_execute("insert into t values (1, 1)").await;
    assert_eq!(logged(&restored).await, [r#"insert {t,t:1} key {"id":1} row {"id":1,"n":1}"#]);
    restored.batch_execute("select rowcast.watch('t')").await;
    assert_eq!(drift(&restored).await, None);
    restored.batch_execute("select rowcast.unwatch('t')").await;
    assert_eq!(left_behind(&restored).await, Vec::<String>::new());
    let functions = "select count(*) from pg_proc where pronamespace = 'rowcast'::regnamespace and proname ~ '^capture_[0-9]'";
    assert_eq!(
        restored.client().await.query_one(functions, &[]).await.unwrap().get::<_, i64>(0),
        0
    );
}

#[tokio::test]
async fn every_object_says_what_it_is() {
    let db = Database::migrated().await;
    db.batch_execute("create table t (id int primary key); select rowcast.watch('t')").await;
    let mute = "
        select c.oid::regclass::text from pg_class c
         where c.relnamespace = 'rowcast'::regnamespace and c.relkind in ('r', 'p', 'v', 'S')
           and obj_description(c.oid, 'pg_class') is null
        union all
        select p.oid::regprocedure::text from pg_proc p
         where p.pronamespace = 'rowcast'::regnamespace and obj_description(p.oid, 'pg_proc') is null";
    let mute: Vec<String> =
        db.client().await.query(mute, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(mute, Vec::<String>::new());
}

async fn left_behind(db: &Database) -> Vec<String> {
    let triggers =
        "select tgname::text from pg_trigger where starts_with(tgname, 'rowcast') order by 1";
    db.client().await.query(triggers, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn drift(db: &Database) -> Option<String> {
    db.client()
        .await
        .query_opt("select drift from rowcast.watches", &[])
        .await
        .unwrap()
        .and_then(|row| row.get(0))
}

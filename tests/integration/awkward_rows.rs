//! Never the application's problem: whatever a row holds and whatever became of its table, the write succeeds
//! and the log says as much as can be said.

use crate::harness::{Database, forget, logged};

const CAPTURES: [&str; 2] = ["row", "statement"];

#[tokio::test]
async fn rows_over_the_limit_of_a_notification_go_out_whole() {
    for db in watched("id int primary key, body text", "").await {
        db.batch_execute("insert into t values (1, repeat('x', 8100))").await;
        db.batch_execute("insert into t values (2, repeat('é', 500000))").await;
        let rows = r#"select octet_length("row"::text), truncated from rowcast.event order by id"#;
        let rows = db.client().await.query(rows, &[]).await.unwrap();
        let sizes: Vec<(i32, bool)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(sizes, [(8118, false), (1_000_018, false)]);
    }
}

#[tokio::test]
async fn a_row_of_100_mb_goes_out_as_its_key() {
    for db in watched("id int primary key, n int, body text", "").await {
        db.batch_execute("insert into t values (1, 0, repeat('x', 100 * 1024 * 1024))").await;
        db.batch_execute("update t set n = 1").await;
        db.batch_execute("update t set body = body || 'y'").await;
        db.batch_execute("delete from t").await;
        assert_eq!(
            logged(&db).await,
            [
                r#"insert {t} key {"id":1} truncated"#,
                r#"update {t} key {"id":1} truncated"#,
                r#"update {t} key {"id":1} truncated"#,
                r#"delete {t} key {"id":1} old {"id":1}"#,
            ]
        );
    }
}

#[tokio::test]
async fn a_row_that_only_grows_large_as_json_goes_out_as_its_key() {
    for db in watched("id int primary key, body text, bytes bytea, doc jsonb", "").await {
        db.batch_execute(
            r"insert into t values (1, repeat(E'\x01', 3000000)), (2, 'small');
              insert into t (id, bytes) values (3, decode(repeat('ff', 5000000), 'hex'));
              insert into t (id, doc) select 4, jsonb_agg(repeat('a', 100)) from generate_series(1, 100000)",
        )
        .await;
        assert_eq!(
            logged(&db).await,
            [
                r#"insert {t} key {"id":1} truncated"#,
                r#"insert {t} key {"id":2} row {"id":2,"body":"small","bytes":null,"doc":null}"#,
                r#"insert {t} key {"id":3} truncated"#,
                r#"insert {t} key {"id":4} truncated"#,
            ]
        );
    }
}

#[tokio::test]
async fn every_type_arrives_as_the_database_prints_it() {
    for capture in CAPTURES {
        let db = Database::migrated().await;
        let columns = TYPES
            .iter()
            .map(|(name, kind, _, _)| format!(", {name} {kind}"))
            .collect::<Vec<_>>()
            .concat();
        let values =
            TYPES.iter().map(|(_, _, value, _)| format!(", {value}")).collect::<Vec<_>>().concat();
        let json = TYPES
            .iter()
            .map(|(name, _, _, json)| format!(",\"{name}\":{json}"))
            .collect::<Vec<_>>()
            .concat();
        db.batch_execute(&format!(
            "create schema ext; create extension citext schema ext; create extension hstore schema ext;
             create type mood as enum ('ok', 'bad'); create type pair as (x int, y json);
             create domain doc as json; create domain pos as int check (value > 0); create domain pos2 as pos;
             create table t (id int primary key{columns}, twice int generated always as (id * 2) stored);
             select rowcast.watch('t', channels => array['t', 't:{{e}}:{{ci}}'], old => true, capture => '{capture}');
             set timezone = 'UTC'; insert into t values (1{values})"
        ))
        .await;
        db.batch_execute("update t set ci = 'abc'; delete from t").await;
        let row = format!("{{\"id\":1{json},\"twice\":2}}");
        let after = row.replace(r#""ci":"ABC""#, r#""ci":"abc""#);
        let lines = logged(&db).await;
        assert_eq!(lines[0], format!(r#"insert {{t,t:ok:ABC}} key {{"id":1}} row {row}"#));
        assert_eq!(
            lines[1],
            format!(
                r#"update {{t,t:ok:abc,t:ok:ABC}} key {{"id":1}} row {after} old {row} changed {{ci}}"#
            )
        );
        assert_eq!(lines[2], format!(r#"delete {{t,t:ok:abc}} key {{"id":1}} old {after}"#));
    }
}

#[tokio::test]
async fn types_without_an_equality_are_compared_all_the_same() {
    for db in watched(
        "id int primary key, j json, p point, x xml, a json[]",
        "columns => array['j', 'p', 'x', 'a']",
    )
    .await
    {
        db.batch_execute(
            r#"insert into t values (1, '{"a":"\u0000"}', '(1,2)', '<a/>', array['1'::json])"#,
        )
        .await;
        forget(&db).await;
        db.batch_execute("update t set j = j, p = p, x = x, a = a").await;
        db.batch_execute("update t set p = '(1,3)', a = array['2'::json]").await;
        assert_eq!(
            logged(&db).await,
            [
                r#"update {t} key {"id":1} row {"j":{"a":"\u0000"},"p":"(1,3)","x":"<a/>","a":[2]} changed {p,a}"#
            ]
        );
    }
}

#[tokio::test]
async fn a_dropped_column_leaves_the_rest() {
    for db in watched("id int primary key, a int, b text", "channels => array['t', 'a:{a}']").await
    {
        // One session all along: its plans were made for the table as it was.
        db.batch_execute("insert into t values (1, 5, 'x'); alter table t drop column a; insert into t values (2, 'y'), (3, 'z');
                          update t set b = 'w' where id = 2; delete from t where id = 2")
            .await;
        assert_eq!(
            logged(&db).await,
            [
                r#"insert {t,a:5} key {"id":1} row {"id":1,"a":5,"b":"x"}"#,
                r#"insert {t} key {"id":2} row {"id":2,"a":null,"b":"y"}"#,
                r#"insert {t} key {"id":3} row {"id":3,"a":null,"b":"z"}"#,
                r#"update {t} key {"id":2} row {"id":2,"a":null,"b":"w"} changed {b}"#,
                r#"delete {t} key {"id":2} old {"id":2}"#,
            ]
        );
        assert!(drift(&db).await.contains("template names a"), "{}", drift(&db).await);
    }
}

#[tokio::test]
async fn a_renamed_column_goes_on_under_its_old_name() {
    for db in watched("id int primary key, a int", "channels => array['t', 't:{id}']").await {
        db.batch_execute(
            "insert into t values (1, 5);
             alter table t rename id to ident; alter table t rename a to b;
             insert into t values (2, 6), (3, 7); update t set b = 8 where ident = 2; update t set b = b + 1;
             update t set ident = 9 where ident = 3",
        )
        .await;
        let mut lines = logged(&db).await;
        lines[4..7].sort();
        assert_eq!(
            lines,
            [
                r#"insert {t,t:1} key {"id":1} row {"id":1,"a":5}"#,
                r#"insert {t,t:2} key {"id":2} row {"id":2,"a":6}"#,
                r#"insert {t,t:3} key {"id":3} row {"id":3,"a":7}"#,
                r#"update {t,t:2} key {"id":2} row {"id":2,"a":8} changed {a}"#,
                r#"update {t,t:1} key {"id":1} row {"id":1,"a":6} changed {a}"#,
                r#"update {t,t:2} key {"id":2} row {"id":2,"a":9} changed {a}"#,
                r#"update {t,t:3} key {"id":3} row {"id":3,"a":8} changed {a}"#,
                r#"delete {t,t:3} key {"id":3} old {"id":3}"#,
                r#"insert {t,t:9} key {"id":9} row {"id":9,"a":8}"#,
            ]
        );
    }
}

#[tokio::test]
async fn a_retyped_column_goes_on_and_still_forges_no_channel() {
    for db in watched("id int primary key, a int", "channels => array['t', 'a:{a}']").await {
        let script = "alter table t alter column a type text using a::text; insert into t values (2, 'x:y'), (3, 'fine')";
        db.batch_execute(&format!("insert into t values (1, 5); {script}")).await;
        // A new session plans for the table as it is now, and must not take a text for an integer.
        db.batch_execute("insert into t values (4, 'p:q')").await;
        assert_eq!(
            logged(&db).await,
            [
                r#"insert {t,a:5} key {"id":1} row {"id":1,"a":5}"#,
                r#"insert {t} key {"id":2} row {"id":2,"a":"x:y"}"#,
                r#"insert {t,a:fine} key {"id":3} row {"id":3,"a":"fine"}"#,
                r#"insert {t} key {"id":4} row {"id":4,"a":"p:q"}"#,
            ]
        );
        assert!(drift(&db).await.contains("type"), "{}", drift(&db).await);
    }
}

#[tokio::test]
async fn a_condition_that_fails_lets_the_write_through_and_tells_nothing() {
    for db in watched("id int primary key, n int", "condition => '10 / new.n > 1'").await {
        db.batch_execute("insert into t values (1, 2)").await;
        db.batch_execute("insert into t values (2, 0)").await;
        db.batch_execute("insert into t values (3, 0), (4, 3), (5, 100)").await;
        let written = db.client().await.query_one("select count(*) from t", &[]).await.unwrap();
        assert_eq!(written.get::<_, i64>(0), 5);
        assert_eq!(
            logged(&db).await,
            [
                r#"insert {t} key {"id":1} row {"id":1,"n":2}"#,
                r#"insert {t} key {"id":4} row {"id":4,"n":3}"#,
            ]
        );
    }
}

#[tokio::test]
async fn a_condition_that_fails_as_a_query_for_one_row_does_hides_no_other_row() {
    let condition = "condition => 'public.judged(new.n)'";
    for capture in CAPTURES {
        for code in ["no_data_found", "too_many_rows"] {
            let db = Database::migrated().await;
            db.batch_execute(&format!(
                "create function judged(n int) returns boolean language plpgsql as $$ begin
                     if n = 0 then raise {code}; end if;
                     return true;
                 end $$;
                 create table t (id int primary key, n int);
                 select rowcast.watch('t', {condition}, capture => '{capture}');
                 insert into t values (1, 0), (2, 1); update t set n = n + 1; insert into t values (3, 0)"
            ))
            .await;
            assert_eq!(
                logged(&db).await,
                [
                    r#"insert {t} key {"id":2} row {"id":2,"n":1}"#,
                    r#"update {t} key {"id":1} row {"id":1,"n":1} changed {n}"#,
                    r#"update {t} key {"id":2} row {"id":2,"n":2} changed {n}"#,
                ],
                "{code}"
            );
        }
    }
}

#[tokio::test]
async fn a_key_that_is_gone_leaves_word_that_something_changed() {
    for db in watched("id int primary key, n int", "").await {
        db.batch_execute(
            "insert into t values (1, 2), (2, 2); alter table t drop column id; update t set n = 3",
        )
        .await;
        let lines = logged(&db).await;
        assert!(
            lines.len() > 2 && lines[2..].iter().all(|line| line == "update {t} truncated"),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn names_may_hold_anything() {
    for capture in CAPTURES {
        let db = Database::migrated().await;
        db.batch_execute(&format!(
            r#"create schema "we""ird'; s"; create table "we""ird'; s"."we""ird'; t" ("k""; x" int primary key, "ä%s$1" text, r text, "new" int, "row" int);
               select rowcast.watch($$"we""ird'; s"."we""ird'; t"$$, channels => array['w', 'w:{{k"; x}}', 'v:{{ä%s$1}}'], capture => '{capture}');
               insert into "we""ird'; s"."we""ird'; t" values (1, 'a', 'b', 3, 4);
               update "we""ird'; s"."we""ird'; t" set "ä%s$1" = 'c', r = 'd';
               alter table "we""ird'; s"."we""ird'; t" drop column r;
               delete from "we""ird'; s"."we""ird'; t""#
        ))
        .await;
        assert_eq!(
            logged(&db).await,
            [
                r#"insert {w,w:1,v:a} key {"k\"; x":1} row {"k\"; x":1,"ä%s$1":"a","r":"b","new":3,"row":4}"#,
                r#"update {w,w:1,v:c,v:a} key {"k\"; x":1} row {"k\"; x":1,"ä%s$1":"c","r":"d","new":3,"row":4} changed {ä%s$1,r}"#,
                r#"delete {w,w:1,v:c} key {"k\"; x":1} old {"k\"; x":1}"#,
            ]
        );
        let table: String = db
            .client()
            .await
            .query_one(r#"select distinct "table" from rowcast.event"#, &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(table, r#""we""ird'; s"."we""ird'; t""#);
    }
}

#[tokio::test]
async fn a_schema_half_dropped_silences_us_and_nothing_else() {
    let drops = [
        "drop table rowcast.event",
        "drop table rowcast.event_default",
        "drop sequence rowcast.event_id_seq cascade",
        "drop sequence rowcast.event_slot_seq cascade",
        "drop table rowcast.event_0, rowcast.slot",
        "drop table rowcast.watched cascade; drop function rowcast._rebuilt, rowcast._warn; alter table t drop column n",
        "drop table rowcast.identity; drop function rowcast._announce",
        "drop schema rowcast cascade",
    ];
    for drop in drops {
        for log in ["true", "false"] {
            for db in watched("id int primary key, n int", &format!("log => {log}")).await {
                db.batch_execute(drop).await;
                db.batch_execute("insert into t values (1); insert into t values (2), (3); update t set id = 5 where id = 1; delete from t; truncate t")
                    .await;
            }
        }
    }
}

#[tokio::test]
async fn a_log_that_goes_under_an_open_session_fails_none_of_its_writes() {
    let writes = "insert into t values (1); insert into t values (2), (3); update t set n = 1 where id = 1;
                  update t set id = 4 where id = 1; update t set n = 2; delete from t where id = 4; delete from t; truncate t";
    let drops = [
        "drop table rowcast.event",
        "drop table rowcast.event_default",
        "drop sequence rowcast.event_id_seq cascade",
        "drop sequence rowcast.event_slot_seq cascade",
        "drop function rowcast._told_select, rowcast._store, rowcast._said",
    ];
    for drop in drops {
        for db in watched("id int primary key, n int", "").await {
            // More than the five executions after which a plan is kept for good.
            let session = db.client().await;
            for _ in 0..7 {
                session.batch_execute(writes).await.unwrap();
            }
            db.batch_execute(drop).await;
            session.batch_execute(writes).await.unwrap_or_else(|error| panic!("{drop}: {error:?}"));
        }
    }
}

#[tokio::test]
async fn a_hostile_search_path_changes_nothing() {
    for db in watched("id int primary key, n int", "").await {
        db.batch_execute(
            "create schema evil;
             create function evil.array_remove(anyarray, anyelement) returns anyarray language sql as 'select null::anyarray';
             create function evil.pg_notify(text, text) returns void language sql as 'select 1 / 0';
             create temp table event (id int); create temp table pg_class (oid oid);
             set search_path = evil, pg_temp, pg_catalog, public;
             insert into t values (1, 1); update t set n = 2",
        )
        .await;
        assert_eq!(
            logged(&db).await,
            [
                r#"insert {t} key {"id":1} row {"id":1,"n":1}"#,
                r#"update {t} key {"id":1} row {"id":1,"n":2} changed {n}"#,
            ]
        );
    }
}

#[tokio::test]
async fn a_prepared_transaction_is_told_when_it_commits() {
    for db in watched("id int primary key", "wake => 'poll'").await {
        let name = db.name();
        db.batch_execute(&format!("begin; insert into t values (1); prepare transaction '{name}'"))
            .await;
        assert_eq!(logged(&db).await.len(), 0);
        db.batch_execute(&format!("commit prepared '{name}'")).await;
        assert_eq!(logged(&db).await.len(), 1);
    }
}

#[tokio::test]
async fn serializable_transactions_do_not_fail_because_of_the_log() {
    for db in watched("id int primary key", "").await {
        let (mut one, mut other) = (db.client().await, db.client().await);
        let serializable = tokio_postgres::IsolationLevel::Serializable;
        let a = one.build_transaction().isolation_level(serializable).start().await.unwrap();
        let b = other.build_transaction().isolation_level(serializable).start().await.unwrap();
        a.batch_execute("insert into t values (1)").await.unwrap();
        b.batch_execute("insert into t values (2)").await.unwrap();
        a.commit().await.unwrap();
        b.commit().await.unwrap();
        assert_eq!(logged(&db).await.len(), 2);
    }
}

#[tokio::test]
async fn a_replica_role_session_fires_no_trigger_and_fails_nothing() {
    for db in watched("id int primary key", "").await {
        db.batch_execute("set session_replication_role = replica; insert into t values (1)").await;
        assert_eq!(logged(&db).await, Vec::<String>::new());
        db.batch_execute("alter table t enable always trigger rowcast_900_insert").await;
        db.batch_execute("set session_replication_role = replica; insert into t values (2)").await;
        assert_eq!(logged(&db).await, [r#"insert {t} key {"id":2} row {"id":2}"#]);
    }
}

#[tokio::test]
async fn virtual_generated_columns_are_left_out() {
    let db = Database::migrated().await;
    if db.version().await < 18 {
        return;
    }
    db.batch_execute(
        "create table t (id int primary key, twice int generated always as (id * 2) virtual);
         select rowcast.watch('t'); insert into t values (4)",
    )
    .await;
    assert_eq!(logged(&db).await, [r#"insert {t} key {"id":4} row {"id":4}"#]);
}

#[tokio::test]
async fn partitions_are_captured_wherever_the_write_goes() {
    let db = Database::migrated().await;
    db.batch_execute(
        "create table t (id int, n int, primary key (id)) partition by range (id);
         create table t1 partition of t for values from (0) to (10);
         create table t2 (n int, gone text, id int not null, primary key (id)); alter table t2 drop column gone;
         alter table t attach partition t2 for values from (10) to (20);
         select rowcast.watch('t', channels => array['t', 't:{id}']);
         insert into t values (1, 1); insert into t2 (id, n) values (11, 1);
         update t set id = 12 where id = 1; update t2 set n = 5 where id = 11;
         create table t3 partition of t for values from (20) to (30); insert into t3 values (21, 1);
         alter table t rename n to m; insert into t values (13, 7); truncate t",
    )
    .await;
    assert_eq!(
        logged(&db).await,
        [
            r#"insert {t,t:1} key {"id":1} row {"id":1,"n":1}"#,
            r#"insert {t,t:11} key {"id":11} row {"id":11,"n":1}"#,
            r#"delete {t,t:1} key {"id":1} old {"id":1}"#,
            r#"insert {t,t:12} key {"id":12} row {"id":12,"n":1}"#,
            r#"update {t,t:11} key {"id":11} row {"id":11,"n":5} changed {n}"#,
            r#"insert {t,t:21} key {"id":21} row {"id":21,"n":1}"#,
            r#"insert {t,t:13} key {"id":13} row {"id":13,"n":null}"#,
            "truncate {t}",
        ]
    );
}

#[tokio::test]
async fn a_table_without_any_key_goes_by_its_whole_row() {
    let db = Database::migrated().await;
    db.batch_execute(
        "create table t (a int, secret text, b text); select rowcast.watch('t', \"except\" => array['secret']);
         insert into t values (1, 's', 'x'), (1, 's', 'x'); update t set b = 'y'; delete from t",
    )
    .await;
    let row = r#"{"a":1,"b":"y"}"#;
    assert_eq!(
        logged(&db).await[1..4],
        [
            r#"insert {t} key {"a":1,"b":"x"} row {"a":1,"b":"x"}"#.to_owned(),
            format!("update {{t}} key {row} row {row} changed {{b}}"),
            format!("update {{t}} key {row} row {row} changed {{b}}"),
        ]
    );
    assert_eq!(logged(&db).await[5], format!("delete {{t}} key {row} old {row}"));
}

#[tokio::test]
async fn keys_of_other_schemas_types_are_paired_byte_by_byte() {
    for capture in CAPTURES {
        let db = Database::migrated().await;
        db.batch_execute(&format!(
            "create schema ext; create extension citext schema ext;
             create table t (k ext.citext, n numeric, v int, primary key (k, n)); select rowcast.watch('t', capture => '{capture}');
             insert into t values ('A', 1.0, 1), ('B', 2, 1); truncate rowcast.event;
             update t set v = 2; update t set k = 'a' where k = 'A'; update t set n = 1.00 where k = 'a'"
        ))
        .await;
        assert_eq!(
            logged(&db).await,
            [
                r#"update {t} key {"k":"A","n":1.0} row {"k":"A","n":1.0,"v":2} changed {v}"#,
                r#"update {t} key {"k":"B","n":2} row {"k":"B","n":2,"v":2} changed {v}"#,
                r#"delete {t} key {"k":"A","n":1.0} old {"k":"A","n":1.0}"#,
                r#"insert {t} key {"k":"a","n":1.0} row {"k":"a","n":1.0,"v":2}"#,
                r#"delete {t} key {"k":"a","n":1.0} old {"k":"a","n":1.0}"#,
                r#"insert {t} key {"k":"a","n":1.00} row {"k":"a","n":1.00,"v":2}"#,
            ]
        );
    }
}

#[tokio::test]
async fn a_table_of_120_columns_is_one_like_any_other() {
    let columns = (1..=120).map(|n| format!(", c{n} int")).collect::<Vec<_>>().concat();
    for db in watched(&format!("id int primary key{columns}"), "").await {
        db.batch_execute("insert into t (id, c120) values (1, 5); update t set c7 = 1").await;
        let lines = logged(&db).await;
        assert!(
            lines[0].contains(r#""c119":null,"c120":5}"#) && lines[1].ends_with("changed {c7}"),
            "{lines:?}"
        );
    }
}

/// A table `t`, once watched by row and once by statement.
async fn watched(columns: &str, arguments: &str) -> Vec<Database> {
    let mut databases = Vec::new();
    for capture in CAPTURES {
        if capture == "statement" && arguments.contains("log => false") {
            continue;
        }
        let db = Database::migrated().await;
        let comma = if arguments.is_empty() { "" } else { ", " };
        db.batch_execute(&format!(
            "create table t ({columns}); select rowcast.watch('t', {arguments}{comma}capture => '{capture}')"
        ))
        .await;
        databases.push(db);
    }
    databases
}

async fn drift(db: &Database) -> String {
    let drift =
        db.client().await.query_one("select drift from rowcast.watches", &[]).await.unwrap();
    drift.get::<_, Option<String>>(0).unwrap_or_default()
}

/// Name, type, value, and the JSON it becomes.
const TYPES: [(&str, &str, &str, &str); 24] = [
    ("j", "json", r#"'{"a":"\u0000"}'"#, r#"{"a":"\u0000"}"#),
    ("big", "bigint", "9007199254740993", "9007199254740993"),
    ("num", "numeric", "12345678901234567890.1234567890", "12345678901234567890.1234567890"),
    ("nan", "numeric", "'NaN'", r#""NaN""#),
    ("inf", "float8", "'-Infinity'", r#""-Infinity""#),
    ("b", "bytea", r"'\xdeadbeef'", r#""\\xdeadbeef""#),
    ("arr", "int[]", "'{1,null,2}'", "[1,null,2]"),
    ("comp", "pair", r#"row(1, '{"z":"\u0000"}')"#, r#"{"x":1,"y":{"z":"\u0000"}}"#),
    ("comps", "pair[]", "array[row(1, '{}')::pair]", r#"[{"x":1,"y":{}}]"#),
    ("d", "pos", "1", "1"),
    ("dd", "pos2", "2", "2"),
    ("dj", "doc", r#"'{"k":"\u0000"}'"#, r#"{"k":"\u0000"}"#),
    ("e", "mood", "'ok'", r#""ok""#),
    ("r", "int4range", "'[1,5)'", r#""[1,5)""#),
    ("mr", "int4multirange", "'{[1,2)}'", r#""{[1,2)}""#),
    ("ci", "ext.citext", "'ABC'", r#""ABC""#),
    ("h", "ext.hstore", "'a=>1'", r#"{"a": "1"}"#),
    ("p", "point", "'(1,2)'", r#""(1,2)""#),
    ("x", "xml", "'<a/>'", r#""<a/>""#),
    (
        "ts",
        "timestamptz",
        "'2026-01-02 03:04:05.678901+00'",
        r#""2026-01-02T03:04:05.678901+00:00""#,
    ),
    ("iv", "interval", "'1 day'", r#""1 day""#),
    ("bits", "bit(3)", "B'101'", r#""101""#),
    ("ip", "inet", "'10.0.0.1'", r#""10.0.0.1""#),
    ("u", "text", "E'\"q\\u2028'", "\"\\\"q\u{2028}\""),
];

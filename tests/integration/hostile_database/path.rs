//! A writer's `search_path` and temporary objects.

use super::Attacker;
use crate::harness::{logged, psql};

/// Every way in which our code runs on behalf of a writer.
async fn watched() -> Attacker {
    let attacker = Attacker::new().await;
    attacker
        .admin(&format!(
            "create table a (id int primary key, v text, u text); create table b (like a including all); create table c (like a including all);
             create table d (like a including all); create table e (like a including all);
             grant all on a, b, c, d, e to {role}; select rowcast.grant_emit('{role}');
             select rowcast.watch('a', array['a', 'a:{{v}}', 'a:{{id}}'], users => array['u{{u}}'], capture => 'row', old => true,
                                  condition => 'new.v = ''x'' or old.v = ''x''');
             select rowcast.watch('b', array['b', 'b:{{v}}', 'b:{{id}}'], users => array['u{{u}}'], capture => 'statement', old => true,
                                  condition => 'new.v = ''x'' or old.v = ''x''');
             select rowcast.watch('c', log => false)",
            role = attacker.role
        ))
        .await;
    for (table, file) in [("d", "row_change"), ("e", "statement_change"), ("e", "truncate")] {
        let path = format!("{}/triggers/{file}.sql", env!("CARGO_MANIFEST_DIR"));
        psql(attacker.db.url(), &format!("\\set table {table}\n\\i {path}\n")).unwrap();
    }
    attacker
}

/// The functions that run as `rowcast_owner`, anew with some of their text replaced: what somebody less careful writes.
async fn make_naive(attacker: &Attacker, replacements: &[(&str, &str)]) {
    let client = attacker.db.client().await;
    let sql = r"select pg_get_functiondef(oid) from pg_proc
                 where pronamespace = 'rowcast'::regnamespace and (prosecdef or proname in ('_announce', '_signed'))";
    for row in client.query(sql, &[]).await.unwrap() {
        let ours: String = row.get(0);
        let naive =
            replacements.iter().fold(ours.clone(), |text, (from, to)| text.replace(from, to));
        assert_ne!(naive, ours);
        client.batch_execute(&naive).await.expect(&naive);
    }
}

const EVERYTHING: &str = "
    insert into public.a values (1, 'x', 'u'); update public.a set v = 'y'; update public.a set u = 'v', v = 'x'; update public.a set id = 2; delete from public.a;
    insert into public.b values (1, 'x', 'u'); update public.b set v = 'y'; update public.b set u = 'v', v = 'x'; update public.b set id = 2; delete from public.b;
    insert into public.b values (1, 'x', 'u'), (2, 'x', 'u'); update public.b set v = 'y'; update public.b set id = id + 2; delete from public.b;
    insert into public.c values (1, 'x', 'u'); update public.c set v = 'y'; delete from public.c;
    insert into public.d values (1, 'x', 'u'); update public.d set v = 'y'; delete from public.d;
    insert into public.e values (1, 'x', 'u'); update public.e set v = 'y'; delete from public.e;
    truncate public.a, public.b, public.c, public.d, public.e;
    select rowcast.emit('doc', 'hello', '{}');";

const PINNED: &str = "SET search_path TO 'pg_catalog', 'pg_temp'";

#[tokio::test]
async fn functions_and_operators_in_the_writers_path_are_not_ours_to_run() {
    let attacker = watched().await;
    attacker.run(&shadows()).await;
    let attack = format!("set search_path = evil, pg_catalog, public; {EVERYTHING}");
    attacker.run(&attack).await;
    assert_eq!(attacker.caught().await, Vec::<String>::new());
    let honest = logged(&attacker.db).await;
    attacker.forget().await;
    attacker.run(EVERYTHING).await;
    assert_eq!(logged(&attacker.db).await, honest);

    make_naive(&attacker, &[(PINNED, "")]).await;
    attacker.run(&attack).await;
    let caught = attacker.caught().await;
    for shadow in [
        "current_setting",
        "to_regclass",
        "pg_try_advisory_xact_lock_shared",
        "octet_length",
        "=",
        "||",
        "<=",
        "int8out",
        "sha256",
        "array_remove",
    ] {
        assert!(
            caught.contains(&format!("{shadow} as rowcast_owner")),
            "{shadow} is not in {caught:?}"
        );
    }
}

/// The attacker's own version of what our code calls, each of which does its work after taking note.
fn shadows() -> String {
    let functions = [
        ("current_setting(a text, b boolean)", "text"),
        ("to_regclass(a text)", "regclass"),
        ("to_regproc(a text)", "regproc"),
        ("octet_length(a text)", "int"),
        ("pg_try_advisory_xact_lock_shared(a bigint)", "boolean"),
        ("pg_notification_queue_usage()", "double precision"),
        ("pg_notify(a text, b text)", "void"),
        ("int8out(a bigint)", "text"),
        ("sha256(a bytea)", "bytea"),
        ("substr(a bytea, b int, c int)", "bytea"),
        ("encode(a bytea, b text)", "text"),
        ("convert_to(a text, b name)", "bytea"),
        ("array_remove(a text[], b text)", "text[]"),
        ("nextval(a regclass)", "bigint"),
        ("pg_current_xact_id()", "xid8"),
        ("clock_timestamp()", "timestamptz"),
        ("\"substring\"(a text, b text)", "text"),
        ("\"left\"(a text, b int)", "text"),
    ];
    let operators = [
        ("=", "int", "boolean"),
        ("=", "text", "boolean"),
        ("<>", "text", "boolean"),
        ("||", "text", "text"),
        ("||", "bytea", "bytea"),
        ("<=", "int", "boolean"),
        ("<", "int", "boolean"),
        (">=", "float8", "boolean"),
        ("<", "float8", "boolean"),
    ];
    let functions = functions.iter().map(|(signature, returns)| {
        let (name, arguments) = signature.split_once('(').unwrap();
        let values = ["a", "b", "c"].iter().take(if arguments == ")" {
            0
        } else {
            arguments.split(',').count()
        });
        let values = values.copied().collect::<Vec<_>>().join(", ");
        let call = format!("pg_catalog.{name}({values})::{returns}");
        let act = if *returns == "void" {
            format!("perform pg_catalog.{name}({values});")
        } else {
            format!("return {call};")
        };
        function(&format!("evil.{signature}"), name.trim_matches('"'), returns, &act)
    });
    let operators = operators.iter().enumerate().map(|(n, (operator, takes, returns))| {
        let act = format!("return a operator(pg_catalog.{operator}) b;");
        let create = function(&format!("evil.op{n}(a {takes}, b {takes})"), operator, returns, &act);
        format!("{create} create operator evil.{operator} (function = evil.op{n}, leftarg = {takes}, rightarg = {takes});")
    });
    functions.chain(operators).collect::<Vec<_>>().concat()
}

/// The body does its own work with the path of `pg_catalog`, or it would call itself.
fn function(signature: &str, what: &str, returns: &str, act: &str) -> String {
    format!(
        "create function {signature} returns {returns} language plpgsql set search_path = pg_catalog as $$ begin perform evil.note('{what}'); {act} end $$;"
    )
}

#[tokio::test]
async fn temporary_objects_of_the_writer_take_nobodys_place() {
    let attacker = watched().await;
    let attack = format!(
        "{TEMPORARY} {TYPES} {EVERYTHING} create table evil.swallowed as select * from pg_temp.event;"
    );
    attacker.run(&attack).await;
    let events = logged(&attacker.db).await;
    attacker.forget().await;
    let swallowed = "select count(*) from evil.swallowed";
    let swallowed = async || {
        attacker.db.client().await.query_one(swallowed, &[]).await.unwrap().get::<_, i64>(0)
    };
    assert_eq!(swallowed().await, 0);
    attacker.run("drop table evil.swallowed").await;
    attacker.run(EVERYTHING).await;
    assert_eq!(logged(&attacker.db).await, events);
    attacker.forget().await;

    // With the schema pinned alone, what is temporary comes first.
    let attack = attack.replace(TYPES, "");
    let naive = [
        (PINNED, "SET search_path TO 'rowcast', 'pg_catalog'"),
        ("insert into rowcast.event", "insert into event"),
        ("INSERT INTO rowcast.event", "insert into event"),
        ("SECURITY DEFINER", "SECURITY DEFINER "),
    ];
    make_naive(&attacker, &naive).await;
    attacker.run(&attack).await;
    assert!(swallowed().await > 20);
    assert_eq!(logged(&attacker.db).await, Vec::<String>::new());
}

/// Tables of the names we use, and functions that stand in for those of `pg_catalog` where they come first.
const TEMPORARY: &str = r#"
    create temp table event (id bigint, xid xid8, at timestamptz, "table" text, op text, channels text[], users text[], key json, "row" json,
                             old json, changed text[], "user" text, origin text, truncated boolean, parked boolean, slot smallint);
    grant all on pg_temp.event to public;
    create temp table watched (target int); create temp table identity (key bytea); create temp table floor (xid int);
    create temp table event_default (id int); create temp table slot (slot int); create temp table new_rows (id text); create temp table old_rows (id text);
    create temp table pg_class (oid int); create temp table pg_attribute (attrelid int); create temp table pg_type (oid int); create temp table pg_proc (oid int);
    create function pg_temp.row_to_json(record) returns json language plpgsql as $$ begin perform evil.note('row_to_json'); return '{}'; end $$;
    create function pg_temp.current_setting(text, boolean) returns text language plpgsql as $$ begin perform evil.note('current_setting'); return ''; end $$;
    create function pg_temp.eq(int, int) returns boolean language plpgsql as $$ begin perform evil.note('='); return true; end $$;
    create operator pg_temp.= (function = pg_temp.eq, leftarg = int, rightarg = int);"#;

/// With these first, not even the naive version's own variables have the types they should.
const TYPES: &str = "
    create domain pg_temp.text as int; create domain pg_temp.json as int; create domain pg_temp.int8 as text; create domain pg_temp.bool as text;";

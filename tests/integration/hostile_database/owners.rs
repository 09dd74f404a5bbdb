//! Those who own what a watched table is made of: types, casts, domains, policies, functions that a condition calls.

use super::{Attacker, refused};
use crate::harness::{forget, logged, psql};

/// Types of the attacker's, with a cast for every occasion.
const TYPES: &str = "
    create type evil.mood as enum ('x', 'y');
    create type evil.pair as (n int, m evil.mood);
    create domain evil.mood_domain as evil.mood;
    create function evil.to_json(evil.mood) returns json language plpgsql as $$ begin perform evil.note('json'); return '\"boo\"'; end $$;
    create cast (evil.mood as json) with function evil.to_json(evil.mood);
    create function evil.to_text(evil.mood) returns text language plpgsql as $$ begin perform evil.note('text'); return 'boo'; end $$;
    create cast (evil.mood as text) with function evil.to_text(evil.mood) as implicit;
    create function evil.to_int(evil.pair) returns int language plpgsql as $$ begin perform evil.note('int'); return 1; end $$;
    create cast (evil.pair as int) with function evil.to_int(evil.pair) as implicit;
    create function evil.same(evil.mood, evil.mood) returns boolean language plpgsql as $$ begin perform evil.note('='); return true; end $$;
    create operator evil.= (function = evil.same, leftarg = evil.mood, rightarg = evil.mood);
    grant usage on type evil.mood, evil.pair, evil.mood_domain to public";

const TABLE: &str = "create table t (id int primary key, m evil.mood, d evil.mood_domain, ms evil.mood[], p evil.pair, ps evil.pair[], v text)";

const WRITES: &str = "
    insert into t values (1, 'x', 'x', array['x', null]::evil.mood[], row(7, 'y'), array[row(8, 'y'), null]::evil.pair[], '%1$s $5');
    insert into t (id, m) values (2, 'x'), (3, 'y');
    update t set m = 'y', p = row(9, 'x') where id = 1;
    update t set id = id + 10;
    delete from t";

#[tokio::test]
async fn the_owner_of_a_columns_type_runs_nothing_as_us_and_the_row_looks_the_same() {
    for arguments in ["capture => 'row'", "capture => 'statement'", "log => false"] {
        let attacker = Attacker::new().await;
        attacker.run(TYPES).await;
        attacker.admin(TABLE).await;
        let watch = format!(
            "select rowcast.watch('t', array['t', 't:{{m}}'], users => array['u{{d}}'], condition => 'new.m = ''x'' or old.m = ''x''', old => true, {arguments})"
        );
        attacker.admin(&watch).await;
        attacker.admin(WRITES).await;
        assert_eq!(attacker.caught().await, Vec::<String>::new(), "{arguments}");
        let ours = logged(&attacker.db).await;
        // What is left of a column that is gone is shown in the same way.
        attacker.admin("alter table t drop column v").await;
        attacker.admin(&WRITES.replace(", '%1$s $5'", "")).await;
        assert_eq!(attacker.caught().await, Vec::<String>::new(), "{arguments}, rescued");
        attacker.admin("drop table t").await;

        // The naive version trusts the types, as long as nobody abuses that it sends the same.
        attacker.forget().await;
        attacker.admin("create or replace function rowcast._trusted(type oid) returns boolean language sql stable set search_path = pg_catalog, pg_temp as 'select true'").await;
        attacker.admin(TABLE).await;
        attacker.admin(&watch).await;
        attacker.admin(WRITES).await;
        let caught = attacker.caught().await;
        assert!(caught.contains(&"text as rowcast_owner".to_owned()), "{caught:?}");
        attacker.run("drop cast (evil.mood as text)").await;
        attacker.admin(WRITES).await;
        let caught = attacker.caught().await;
        assert!(caught.contains(&"json as rowcast_owner".to_owned()), "{caught:?}");
        attacker.run("drop cast (evil.mood as json)").await;
        forget(&attacker.db).await;
        attacker.admin(WRITES).await;
        assert_eq!(ours, logged(&attacker.db).await, "{arguments}");
    }
}

#[tokio::test]
async fn the_plain_files_run_nothing_of_theirs_either() {
    for file in ["row_change", "statement_change"] {
        let attacker = Attacker::new().await;
        attacker.run(TYPES).await;
        attacker.admin(TABLE).await;
        let path = format!("{}/triggers/{file}.sql", env!("CARGO_MANIFEST_DIR"));
        let install = format!("\\set table t\n\\i {path}\n");
        psql(attacker.db.url(), &install).unwrap();
        attacker.admin(WRITES).await;
        assert_eq!(attacker.caught().await, Vec::<String>::new(), "{file}");
        let first = &logged(&attacker.db).await[0];
        assert_eq!(
            first,
            r#"insert {t} key {"id":1} row {"id":1,"m":"x","d":"x","ms":["x",null],"p":{"n":7,"m":"y"},"ps":[{"n":8,"m":"y"},null],"v":"%1$s $5"}"#,
            "{file}"
        );
        attacker.admin("create or replace function rowcast._trusted(type oid) returns boolean language sql as 'select true'").await;
        psql(attacker.db.url(), &install).unwrap();
        attacker.admin(WRITES).await;
        assert!(attacker.caught().await.contains(&"json as rowcast_owner".to_owned()), "{file}");
        attacker.admin("create table sly (id int primary key, \"$capture$\" text)").await;
        let complaint =
            psql(attacker.db.url(), &install.replace("table t", "table sly")).unwrap_err();
        assert!(complaint.contains("holds $capture$"), "{complaint}");
    }
}

#[tokio::test]
async fn types_of_the_owners_members_are_left_to_their_casts() {
    let attacker = Attacker::new().await;
    attacker.run(TYPES).await;
    attacker.run("drop cast (evil.mood as text)").await;
    attacker.admin(&format!("grant rowcast_owner to {}; create table t (id int primary key, m evil.mood); select rowcast.watch('t'); insert into t values (1, 'x')", attacker.role)).await;
    assert_eq!(logged(&attacker.db).await, [r#"insert {t} key {"id":1} row {"id":1,"m":"boo"}"#]);
}

#[tokio::test]
async fn checks_and_generated_columns_run_as_the_writer() {
    let attacker = Attacker::new().await;
    let checks = "
        create function evil.check(what text, v anyelement) returns boolean language plpgsql as $$ begin perform evil.note(what); return true; end $$;
        create function evil.make(v int) returns int language plpgsql immutable as $$ begin perform evil.note('generated'); return v; end $$;
        create domain evil.number as int check (evil.check('domain', value));
        create table evil.t (id int primary key, n evil.number, ns evil.number[], g int generated always as (evil.make(id)) stored, check (evil.check('table', id)))";
    attacker.run(checks).await;
    for capture in ["row", "statement"] {
        attacker.admin(&format!("select rowcast.watch('evil.t', array['t', 't:{{n}}'], condition => 'new.n > 0 or old.n > 0', old => true, capture => '{capture}')")).await;
        attacker.run("insert into evil.t values (1, 5, array[6]), (2, null, null); update evil.t set n = 6; update evil.t set id = id + 5; delete from evil.t").await;
        assert_eq!(attacker.caught().await, Vec::<String>::new(), "{capture}");
        let events = logged(&attacker.db).await;
        assert_eq!(events[0], r#"insert {t,t:5} key {"id":1} row {"id":1,"n":5,"ns":[6],"g":1}"#);
        attacker.forget().await;
    }
    // The naive version keeps a value in a variable of its type.
    attacker
        .admin(
            "create function rowcast.naive() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as
             $$ declare n evil.number := new.n::int; begin return null; end $$; alter function rowcast.naive() owner to rowcast_owner;
             create trigger naive after insert on evil.t for each row execute function rowcast.naive()",
        )
        .await;
    attacker.run("insert into evil.t values (1, 5)").await;
    assert_eq!(attacker.caught().await, ["domain as rowcast_owner"]);
}

#[tokio::test]
async fn asking_for_drift_plans_no_query_of_a_watched_table() {
    let attacker = Attacker::new().await;
    let daemon = attacker.db.role("daemon");
    // What a failed query has written is gone, what it took from a sequence is not.
    attacker
        .run(
            "create sequence evil.ran; grant usage on evil.ran to public;
             create function evil.fold() returns boolean language plpgsql immutable as $$
             begin if current_user = 'rowcast_owner' then perform nextval('evil.ran'); end if; return true; end $$;
             create table evil.t (id int primary key, v text); alter table evil.t enable row level security;
             create policy p on evil.t to public using (evil.fold())",
        )
        .await;
    attacker
        .admin(&format!("create role {daemon} login; select rowcast.grant_daemon('{daemon}')"))
        .await;
    attacker.admin("select rowcast.watch('evil.t', condition => 'new.v > $q$x$q$')").await;
    let asked = async || {
        let sql = "select count(drift) from rowcast.watches";
        let drifted = attacker.db.client_as(&daemon).await.query_one(sql, &[]).await.unwrap();
        let ran = attacker.db.client().await;
        let ran = ran.query_one("select is_called from evil.ran", &[]).await.unwrap();
        (drifted.get::<_, i64>(0), ran.get::<_, bool>(0))
    };
    assert_eq!(asked().await, (0, false));
    attacker
        .admin(
            "create or replace function rowcast._refuse_condition(w rowcast.watched) returns void language plpgsql stable set search_path = pg_catalog, pg_temp as $$
             begin execute format('select from %1$s new cross join %1$s old where (%2$s) limit 0', w.name, w.condition);
             exception when insufficient_privilege then null; end $$",
        )
        .await;
    assert_eq!(asked().await, (0, true));
}

/// That is what a condition is: SQL of ours, written by a member of `rowcast_owner`. It reaches no function of a schema that was not opened to us.
#[tokio::test]
async fn what_a_condition_calls_runs_as_us_so_only_members_write_conditions() {
    let attacker = Attacker::new().await;
    attacker
        .run(
            "create function evil.judge(v text) returns boolean language plpgsql as $$ begin perform evil.note('condition'); return true; end $$;
             create table evil.t (id int primary key, v text)",
        )
        .await;
    attacker.admin(&format!("grant usage on schema rowcast to {role}; grant execute on all functions in schema rowcast to {role}", role = attacker.role)).await;
    let watch = "select rowcast.watch('evil.t', condition => 'evil.judge(new.v)')";
    refused(&attacker.client().await, watch, "RC001").await;
    attacker.admin(watch).await;
    attacker.caught().await;
    attacker.run("insert into evil.t values (1, 'x')").await;
    assert_eq!(attacker.caught().await, ["condition as rowcast_owner"]);
    attacker.admin("revoke usage on schema evil from public").await;
    attacker.run("insert into evil.t values (2, 'x')").await;
    assert_eq!(attacker.caught().await, Vec::<String>::new());
    // A condition that cannot be judged tells nobody.
    assert_eq!(logged(&attacker.db).await.len(), 1);
}

#[tokio::test]
async fn nothing_can_be_hung_on_our_tables_or_made_out_of_our_functions() {
    let attacker = Attacker::new().await;
    attacker.run("create table evil.t (id int primary key, v text); create function evil.f() returns trigger language plpgsql as $$ begin return null; end $$").await;
    attacker.admin("select rowcast.watch('evil.t', capture => 'row')").await;
    let capture: String = attacker
        .db
        .client()
        .await
        .query_one("select proname::text from pg_proc where proname ~ '^capture_.*_insert'", &[])
        .await
        .unwrap()
        .get(0);
    let forge = format!(
        "create table evil.forged (id int primary key, v text); create trigger forge after insert on evil.forged for each row execute function rowcast.{capture}(); insert into evil.forged values (666, 'forged')"
    );
    let attempts = [
        "create trigger before before insert on rowcast.event for each row execute function evil.f()".to_owned(),
        "create trigger after after insert on rowcast.event_0 for each row execute function evil.f()".to_owned(),
        "create rule gone as on insert to rowcast.event do instead nothing".to_owned(),
        "create policy p on rowcast.event using (false)".to_owned(),
        "alter table rowcast.event enable row level security".to_owned(),
        "create table evil.child () inherits (rowcast.floor)".to_owned(),
        "create table evil.part partition of rowcast.event for values in (99)".to_owned(),
        "create table evil.lookup (one boolean references rowcast.identity)".to_owned(),
        "create view evil.peep as select * from rowcast.identity; select * from evil.peep".to_owned(),
        "create publication p for table rowcast.event".to_owned(),
        "begin; lock table rowcast.slot".to_owned(),
        "alter function rowcast.emit(text, text, json, text[]) reset search_path".to_owned(),
        "set session_replication_role = replica".to_owned(),
        "set role rowcast_owner".to_owned(),
        "set session authorization postgres".to_owned(),
        "select rowcast.emit('a', 'b')".to_owned(),
        forge.clone(),
    ];
    for attempt in &attempts {
        refused(&attacker.client().await, attempt, "42501").await;
    }
    attacker.admin(&format!("grant usage on schema rowcast to {}", attacker.role)).await;
    for attempt in &attempts {
        refused(&attacker.client().await, attempt, "42501").await;
    }
    assert_eq!(logged(&attacker.db).await, Vec::<String>::new());
    // The naive version leaves the function as create function makes it: everybody may execute it.
    attacker.admin(&format!("grant execute on function rowcast.{capture}() to public")).await;
    attacker.run(&forge).await;
    assert_eq!(
        logged(&attacker.db).await,
        [r#"insert {t} key {"id":666} row {"id":666,"v":"forged"}"#]
    );
}

#[tokio::test]
async fn row_security_and_barriers_of_the_application_change_nothing_of_what_a_watch_sends() {
    let attacker = Attacker::new().await;
    attacker
        .admin(&format!(
            "create table t (id int primary key, v text); alter table t enable row level security; alter table t force row level security;
             create policy mine on t to {role} using (v = 'mine') with check (true);
             create view open with (security_barrier) as select * from t where v = 'mine';
             grant all on t, open to {role}; select rowcast.watch('t', old => true)",
            role = attacker.role
        ))
        .await;
    attacker
        .run("insert into t values (1, 'hidden'), (2, 'mine'); update open set v = 'hidden'")
        .await;
    assert_eq!(
        logged(&attacker.db).await,
        [
            r#"insert {t} key {"id":1} row {"id":1,"v":"hidden"}"#,
            r#"insert {t} key {"id":2} row {"id":2,"v":"mine"}"#,
            r#"update {t} key {"id":2} row {"id":2,"v":"hidden"} old {"id":2,"v":"mine"} changed {v}"#,
        ]
    );
}

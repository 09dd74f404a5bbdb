//! The schema goes in, goes up and goes out again.

use std::fmt::Write as _;

use rowcast::postgres::migrations::{
    MIGRATIONS, MigrateError, check, migrate, render, render_uninstall, uninstall,
};

use rowcast::postgres::connect::Target;
use rowcast::postgres::scratch::ScratchCluster;

use crate::harness::{Database, options, psql, psql_file};

#[tokio::test]
async fn installing_twice_changes_nothing_the_second_time() {
    let db = Database::empty().await;
    let mut client = db.client().await;
    assert!(matches!(check(&client).await, Err(MigrateError::NotInstalled)));
    let first = migrate(&mut client).await.unwrap();
    assert_eq!((first.from, first.to), (None, latest()));
    let before = schema(&db).await;
    let second = migrate(&mut client).await.unwrap();
    assert_eq!((second.from, second.to), (Some(latest()), latest()));
    assert_eq!(schema(&db).await, before);
    check(&client).await.unwrap();
}

#[tokio::test]
async fn psql_and_the_migrator_make_the_same_schema() {
    let expected = schema(&Database::migrated().await).await;
    let by_psql = Database::empty().await;
    psql_file(by_psql.url(), concat!(env!("CARGO_MANIFEST_DIR"), "/sql/install.sql")).unwrap();
    assert_eq!(schema(&by_psql).await, expected);
    let by_print = Database::empty().await;
    psql(by_print.url(), &render()).unwrap();
    assert_eq!(schema(&by_print).await, expected);
}

#[tokio::test]
async fn a_printed_script_runs_again_over_what_is_installed() {
    let db = Database::migrated().await;
    let before = schema(&db).await;
    psql(db.url(), &render()).unwrap();
    assert_eq!(schema(&db).await, before);
}

#[tokio::test]
async fn every_earlier_version_is_brought_up_to_date() {
    let expected = schema(&Database::migrated().await).await;
    for count in 1..=MIGRATIONS.len() {
        let db = Database::empty().await;
        let applied = &MIGRATIONS[..count];
        for migration in applied {
            db.batch_execute(migration.sql()).await;
            let client = db.client().await;
            let record = "insert into rowcast.migration (version, name) values ($1, $2)";
            client.execute(record, &[&migration.version, &migration.name]).await.unwrap();
        }
        let migrated = migrate(&mut db.client().await).await.unwrap();
        assert_eq!(migrated.from, applied.last().map(|last| last.version));
        assert_eq!(schema(&db).await, expected);
    }
}

#[tokio::test]
async fn a_database_in_use_is_brought_up_to_date_with_its_log_its_watches_and_its_daemon() {
    let db = Database::empty().await;
    db.batch_execute(MIGRATIONS[0].sql()).await;
    db.batch_execute("insert into rowcast.migration (version, name) values (1, '0001_schema')")
        .await;
    let daemon = db.role("daemon");
    db.batch_execute(&format!(
        "create role {daemon} login;
         grant usage on schema rowcast to {daemon};
         grant select on rowcast.event, rowcast.identity, rowcast.migration, rowcast.watched to {daemon};
         insert into rowcast.event (op, channels) select 'hello', '{{a}}' from generate_series(1, 100)"
    ))
    .await;
    migrate(&mut db.client().await).await.unwrap();
    db.batch_execute(
        "create table t (id int primary key); select rowcast.watch('t'); insert into t values (1)",
    )
    .await;
    let client = db.client_as(&daemon).await;
    check(&client).await.unwrap();
    let count = "select count(*), count(*) filter (where op = 'insert') from rowcast.event where xid >= (select xid from rowcast.floor)";
    let row = client.query_one(count, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (101, 1));
}

#[tokio::test]
async fn installers_that_start_together_all_succeed() {
    let db = Database::empty().await;
    let installers = (0..4).map(async |_| migrate(&mut db.client().await).await);
    for outcome in futures_util::future::join_all(installers).await {
        assert_eq!(outcome.unwrap().to, latest());
    }
    check(&db.client().await).await.unwrap();
}

#[tokio::test]
async fn a_migration_with_another_content_is_refused_and_nothing_is_touched() {
    let db = Database::migrated().await;
    db.batch_execute("update rowcast.migration set checksum = '00' where version = 1").await;
    let before = schema(&db).await;
    let mut client = db.client().await;
    assert!(matches!(migrate(&mut client).await, Err(MigrateError::Changed { .. })));
    assert!(matches!(check(&client).await, Err(MigrateError::Changed { .. })));
    assert_eq!(schema(&db).await, before);
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_a_sentence() {
    let db = Database::migrated().await;
    db.batch_execute("insert into rowcast.migration (version, name) values (9999, 'later')").await;
    let mut client = db.client().await;
    let refused = migrate(&mut client).await.unwrap_err().to_string();
    assert!(
        refused.contains("version 9999") && refused.contains("use a newer rowcast"),
        "{refused}"
    );
    assert!(matches!(check(&client).await, Err(MigrateError::Newer { found: 9999, .. })));
}

#[tokio::test]
async fn a_schema_of_that_name_that_is_not_ours_is_left_alone() {
    let db = Database::empty().await;
    db.batch_execute("create schema rowcast; create table rowcast.theirs (id int)").await;
    let before = schema(&db).await;
    let refused = migrate(&mut db.client().await).await;
    assert!(matches!(refused, Err(MigrateError::ForeignSchema)));
    assert_eq!(schema(&db).await, before);
}

#[tokio::test]
async fn the_first_installer_of_a_server_makes_the_owner_and_the_last_one_takes_it_away() {
    let server = ScratchCluster::start(options()).await.unwrap();
    let connect = async |role: &str| {
        let url = server.url("postgres").replace("user=postgres", &format!("user={role}"));
        Target::parse(&url).unwrap().connect_spawned().await.unwrap()
    };
    let admin = connect("postgres").await;
    let dba = "create role dba login createrole; grant create on database postgres to dba";
    admin.batch_execute(dba).await.unwrap();
    let owners = async || admin.query(OWNER, &[]).await.unwrap().len();
    assert_eq!(owners().await, 0);
    let mut client = connect("dba").await;
    migrate(&mut client).await.unwrap();
    assert_eq!(owners().await, 1);
    uninstall(&mut client).await.unwrap();
    assert_eq!(owners().await, 0);
    server.stop().await;
}

#[tokio::test]
async fn a_role_that_is_no_superuser_installs_watches_and_uninstalls() {
    let db = Database::empty().await;
    let dba = db.role("dba");
    let member = "grant rowcast_owner to";
    db.batch_execute(&format!(
        "create role {dba} login createrole; grant create on database {} to {dba}; \
         do $$ begin if exists (select from pg_roles where rolname = 'rowcast_owner') \
               then {member} {dba} {}; end if; end $$; \
         create schema app authorization {dba}",
        db.name(),
        if db.version().await >= 16 { "with inherit true, set true" } else { "" },
    ))
    .await;
    let mut client = db.client_as(&dba).await;
    migrate(&mut client).await.unwrap();
    client.batch_execute("create table app.note (id int primary key)").await.unwrap();
    client.batch_execute("select rowcast.watch('app.note')").await.unwrap();
    client.batch_execute("insert into app.note values (1)").await.unwrap();
    let events = db.client().await.query("select from rowcast.event", &[]).await.unwrap();
    assert_eq!(events.len(), 1);
    uninstall(&mut client).await.unwrap();
    client.batch_execute("insert into app.note values (2)").await.unwrap();
}

#[tokio::test]
async fn a_role_without_the_right_is_told_what_to_grant() {
    let db = Database::empty().await;
    let nobody = db.role("nobody");
    db.batch_execute(&format!("create role {nobody} login")).await;
    let refused = migrate(&mut db.client_as(&nobody).await).await.unwrap_err().to_string();
    assert!(refused.contains("rowcast_owner") && refused.contains(&nobody), "{refused}");
}

#[tokio::test]
async fn uninstalling_leaves_nothing_and_the_table_goes_on_working() {
    for printed in [false, true] {
        let db = Database::empty().await;
        db.batch_execute("create table plain (id int primary key, word text)").await;
        let before = schema(&db).await;
        let mut client = db.client().await;
        migrate(&mut client).await.unwrap();
        client.batch_execute("select rowcast.watch('plain', old => true)").await.unwrap();
        client.batch_execute("insert into plain values (1, 'one')").await.unwrap();
        assert_ne!(schema(&db).await, before);
        if printed {
            psql(db.url(), &render_uninstall()).unwrap();
        } else {
            uninstall(&mut client).await.unwrap();
        }
        assert_eq!(schema(&db).await, before);
        client.batch_execute("update plain set word = 'two'; delete from plain").await.unwrap();
    }
}

#[tokio::test]
async fn released_migrations_are_what_they_were() {
    let frozen = include_str!("../snapshots/migrations.sha256");
    let mut now = String::new();
    for migration in MIGRATIONS.iter() {
        writeln!(now, "{}  {}.sql", migration.checksum, migration.name).unwrap();
    }
    assert_eq!(
        now, frozen,
        "a released migration never changes: write a new one. \
         (A migration of no release yet: (cd sql/migrations && sha256sum *.sql) > tests/snapshots/migrations.sha256)"
    );
}

fn latest() -> i32 {
    MIGRATIONS.last().unwrap().version
}

/// Everything in the database that is not PostgreSQL's own, one line an object; oids are left out.
async fn schema(db: &Database) -> Vec<String> {
    let rows = db.client().await.query(OBJECTS, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

const OWNER: &str = "select from pg_roles where rolname = 'rowcast_owner'";

const OBJECTS: &str = r"
with ours as (
    select oid, nspname, nspowner, nspacl from pg_namespace
     where nspname !~ '^pg_' and nspname <> 'information_schema'
)
select format('schema %s of %s %s %s', nspname, nspowner::regrole, nspacl, obj_description(oid)) from ours
union all
select format('%s %s.%s of %s %s %s %s', relkind, nspname, relname, relowner::regrole, relacl, reloptions,
              obj_description(c.oid))
       || case relkind when 'v' then pg_get_viewdef(c.oid) when 'i' then pg_get_indexdef(c.oid) else '' end
  from pg_class c join ours on relnamespace = ours.oid where relkind <> 't'
union all
select format('column %s.%s %s %s %s %s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod),
              attnotnull, attidentity, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum))
  from pg_attribute a join pg_class c on c.oid = attrelid join ours on relnamespace = ours.oid
  left join pg_attrdef d on (adrelid, adnum) = (attrelid, attnum)
 where attnum > 0 and not attisdropped
union all
select format('constraint %s on %s %s', conname, conrelid::regclass, pg_get_constraintdef(k.oid))
  from pg_constraint k join ours on connamespace = ours.oid
union all
select format('function %s of %s %s %s %s', p.oid::regprocedure, proowner::regrole, proacl, obj_description(p.oid),
              pg_get_functiondef(p.oid))
  from pg_proc p join ours on pronamespace = ours.oid
union all
select format('type %s.%s of %s', nspname, typname, typowner::regrole)
  from pg_type t join ours on typnamespace = ours.oid
union all
select pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
union all
select format('event trigger %s', evtname) from pg_event_trigger
union all
select format('default privileges %s', defaclacl) from pg_default_acl
union all
select format('policy %s', polname) from pg_policy
order by 1";

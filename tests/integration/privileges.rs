//! Who may do what: the installer without superuser, the table's owner, the application, the daemon, a stranger.

use tokio_postgres::Client;

use crate::harness::{Database, logged, psql, psql_file};

#[tokio::test]
async fn installing_needs_createrole_and_create_on_the_database_only() {
    let db = Database::empty().await;
    let installer = db.role("installer");
    db.batch_execute(&format!(
        "create role {installer} login createrole; grant create on database {} to {installer}",
        db.name()
    ))
    .await;
    // The role is the server's, and perhaps another test's superuser made it: then a grant is what its owner would give.
    db.batch_execute(&format!(
        "do $$ begin create role rowcast_owner nologin; exception when duplicate_object or unique_violation then null; end $$;
         grant rowcast_owner to {installer}"
    ))
    .await;
    let install = concat!(env!("CARGO_MANIFEST_DIR"), "/sql/install.sql");
    for _ in ["fresh", "upgrade"] {
        psql_file(&db.url_as(&installer), install).unwrap();
    }
    let foreign = "select count(*) from (select relowner o from pg_class where relnamespace = 'rowcast'::regnamespace
                   union all select proowner from pg_proc where pronamespace = 'rowcast'::regnamespace) x
                   where o <> 'rowcast_owner'::regrole";
    assert_eq!(db.client().await.query_one(foreign, &[]).await.unwrap().get::<_, i64>(0), 0);
    let remove = concat!(env!("CARGO_MANIFEST_DIR"), "/sql/uninstall.sql");
    psql_file(&db.url_as(&installer), remove).unwrap();
    let left = "select count(*) from pg_namespace where nspname = 'rowcast'";
    assert_eq!(db.client().await.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn an_installer_without_rights_is_told_what_to_grant() {
    let db = Database::migrated().await; // so that rowcast_owner exists
    let installer = db.role("installer");
    let bare = Database::empty().await;
    bare.batch_execute(&format!(
        "create role {installer} login; grant create on database {} to {installer}",
        bare.name()
    ))
    .await;
    let complaint = psql_file(
        &bare.url_as(&installer),
        concat!(env!("CARGO_MANIFEST_DIR"), "/sql/install.sql"),
    )
    .unwrap_err();
    assert!(complaint.contains("is not a member of rowcast_owner"), "{complaint}");
    assert!(complaint.contains(&format!("grant rowcast_owner to {installer};")), "{complaint}");
}

#[tokio::test]
async fn the_writer_needs_no_right_on_the_schema() {
    let world = World::new().await;
    world
        .app()
        .await
        .batch_execute(
            "insert into shop.t values (1, 'a'); update shop.t set v = 'b'; delete from shop.t",
        )
        .await
        .unwrap();
    assert_eq!(logged(&world.db).await.len(), 3);
    refused(&world.app().await, "select * from rowcast.event", "42501").await;
    refused(&world.app().await, "select rowcast.emit('a', 'b')", "42501").await;
}

#[tokio::test]
async fn a_table_owner_watches_once_a_member_and_is_told_what_is_missing() {
    let world = World::new().await;
    let db = &world.db;
    let (owner, other) = (db.role("owner"), db.role("other"));
    db.batch_execute(&format!("create role {other} login; grant usage on schema rowcast, shop to {other}; grant execute on all functions in schema rowcast to {other}")).await;
    let client = db.client_as(&other).await;
    let said = refused(&client, "select rowcast.watch('shop.t')", "RC001").await;
    assert_eq!(said, format!("the role {other} is not a member of rowcast_owner"));
    db.batch_execute(&format!("grant rowcast_owner to {other}")).await;
    let said =
        refused(&db.client_as(&other).await, "select rowcast.watch('shop.t')", "RC001").await;
    assert_eq!(said, format!("the role {other} may not create triggers on shop.t"));
    db.batch_execute(&format!("grant trigger on shop.t to {other}")).await;
    let client = db.client_as(&other).await;
    client
        .batch_execute("select rowcast.watch('shop.t', condition => 'new.v <> $q$x$q$')")
        .await
        .unwrap();
    // Nobody's triggers but an owner's may be dropped: unwatching is the owner's.
    db.client_as(&owner).await.batch_execute("select rowcast.unwatch('shop.t')").await.unwrap();
}

#[tokio::test]
async fn who_may_emit_can_neither_write_the_log_nor_use_our_triggers() {
    let world = World::new().await;
    let db = &world.db;
    let app = db.role("app");
    db.batch_execute(&format!("select rowcast.grant_emit('{app}')")).await;
    let client = world.app().await;
    client.batch_execute("select rowcast.emit('doc:1', 'hello', '{}')").await.unwrap();
    assert_eq!(logged(db).await, ["hello {doc:1} row {}"]);
    let function: String = db
        .client()
        .await
        .query_one(
            "select tgfoid::regproc::text from pg_trigger where tgname = 'rowcast_900_insert'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    client.batch_execute("create temp table mine (id int, v text)").await.unwrap();
    let attach = format!(
        "create trigger forge after insert on mine referencing new table as new_rows for each statement execute function {function}()"
    );
    refused(&client, &attach, "42501").await;
    for sql in [
        "insert into rowcast.event (op, channels) values ('forged', '{a}')",
        "select * from rowcast.event",
        "select * from rowcast.identity",
        "delete from rowcast.event_default",
        "select nextval('rowcast.event_id_seq')",
        "select rowcast.watch('shop.t')",
        "select rowcast._announce(null::record)",
        "select rowcast._signed('{}')",
        "select rowcast.maintain('0', 0)",
        "create function rowcast.f() returns int language sql as 'select 1'",
    ] {
        refused(&client, sql, "42501").await;
    }
}

#[tokio::test]
async fn the_daemon_reads_the_log_and_nothing_of_the_application() {
    let world = World::new().await;
    let db = &world.db;
    let daemon = db.role("daemon");
    db.batch_execute(&format!("create role {daemon} login; select rowcast.grant_daemon('{daemon}'); insert into shop.t values (1, 'a')")).await;
    let client = db.client_as(&daemon).await;
    for sql in [
        "select * from rowcast.event",
        "select key from rowcast.identity",
        "select xid from rowcast.floor",
        "select version from rowcast.migration",
        "select * from rowcast.watches where drift is null",
        "select rowcast.emit('a', 'b')",
        "select rowcast.maintain('1 day', 1000000000)",
    ] {
        client.batch_execute(sql).await.expect(sql);
    }
    let seen: i64 = client
        .query_one("select count(*) from rowcast.watches where drift is null", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(seen, 1);
    for sql in [
        "select * from shop.t",
        "insert into rowcast.event (op, channels) values ('x', '{a}')",
        "delete from rowcast.event",
        "update rowcast.identity set key = key",
        "update rowcast.floor set xid = xid",
        "truncate rowcast.event_0",
        "select rowcast._slot_empty(0::smallint)",
        "select setval('rowcast.event_slot_seq', 5)",
        "select rowcast.watch('shop.t')",
        "select rowcast.grant_daemon('postgres')",
    ] {
        refused(&client, sql, "42501").await;
    }
    let missing = db
        .client()
        .await
        .batch_execute("select rowcast.grant_daemon('nobody_of_that_name')")
        .await
        .unwrap_err();
    assert_eq!(missing.code().map(tokio_postgres::error::SqlState::code), Some("RC004"));
}

#[tokio::test]
async fn uninstalling_needs_no_right_on_the_tables_and_leaves_nothing() {
    let world = World::new().await;
    let db = &world.db;
    db.batch_execute("insert into shop.t values (1, 'a')").await;
    psql_file(db.url(), concat!(env!("CARGO_MANIFEST_DIR"), "/sql/uninstall.sql")).unwrap();
    let left = "select (select count(*) from pg_namespace where nspname = 'rowcast') + (select count(*) from pg_trigger where not tgisinternal)
                     + (select count(*) from pg_shdepend where refobjid = 'rowcast_owner'::regrole and dbid = (select oid from pg_database where datname = current_database()))";
    // The role may be gone with it, when no other test's database needs it.
    let role = db
        .client()
        .await
        .query_opt("select from pg_roles where rolname = 'rowcast_owner'", &[])
        .await
        .unwrap();
    if role.is_some() {
        assert_eq!(psql(db.url(), left).unwrap().trim(), "0");
    }
    db.batch_execute("insert into shop.t values (2, 'b'); drop table shop.t").await;
}

/// A table of an owner who is a member of `rowcast_owner`, watched; an application that may write it.
struct World {
    db: Database,
}

impl World {
    async fn new() -> Self {
        let db = Database::migrated().await;
        let (owner, app) = (db.role("owner"), db.role("app"));
        db.batch_execute(&format!(
            "create role {owner} login; create role {app} login; grant rowcast_owner to {owner};
             create schema shop authorization {owner}; grant usage on schema shop to {app}"
        ))
        .await;
        db.client_as(&owner)
            .await
            .batch_execute(&format!(
                "create table shop.t (id int primary key, v text); grant all on shop.t to {app}; select rowcast.watch('shop.t')"
            ))
            .await
            .unwrap();
        Self { db }
    }

    async fn app(&self) -> Client {
        self.db.client_as(&self.db.role("app")).await
    }
}

/// Runs what must be refused with this code; answers with the reason given.
async fn refused(client: &Client, sql: &str, code: &str) -> String {
    let error = client.batch_execute(sql).await.expect_err(sql);
    let error = error.as_db_error().expect("the server refuses");
    assert_eq!(error.code().code(), code, "{sql}: {error}");
    error.message().to_owned()
}

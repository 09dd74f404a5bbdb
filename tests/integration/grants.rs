//! The rights that `rowcast.grant_daemon` gives: each is needed, nothing is missing, and nobody else has any.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use rowcast::domain::channel::Pattern;
use rowcast::domain::past::Wanted;
use rowcast::postgres::connect::Target;
use rowcast::postgres::event_log::EventLog;
use rowcast::postgres::identity::{EpochPolicy, Identity};
use rowcast::postgres::replay_log::ReplayLog;
use rowcast::postgres::revocations::Horizon;
use rowcast::postgres::tickets::TicketTable;
use rowcast::postgres::{migrations, retention, revocations, watches};
use serde_json::json;
use tokio_postgres::Client;

use crate::harness::{Database, OPEN, World, until_true};

#[tokio::test]
async fn each_right_of_the_daemon_is_needed_for_something_it_does() {
    let db = Database::migrated().await;
    let role = daemon_role(&db).await;
    assert_eq!(undone(&db, &role).await, Vec::<&str>::new(), "with every right");
    let mut needed = BTreeMap::new();
    for right in rights(&db, &role).await {
        db.batch_execute(&format!("revoke {right} from {role}")).await;
        needed.insert(right.clone(), undone(&db, &role).await);
        db.batch_execute(&format!("grant {right} to {role}")).await;
    }
    let needed: Vec<_> =
        needed.iter().map(|(right, undone)| (right.as_str(), undone.as_slice())).collect();
    assert_eq!(needed, NEEDED);
}

/// What stops without each right. A right that nothing needs would show as an empty list.
const NEEDED: &[(&str, &[&str])] = &[
    ("EXECUTE on function rowcast._drift(regclass)", &["list"]),
    ("EXECUTE on function rowcast._forget_revocations(interval)", &["forget"]),
    ("EXECUTE on function rowcast._ticket_issue(bytea,json,interval)", &["issue"]),
    ("EXECUTE on function rowcast._ticket_redeem(bytea)", &["redeem"]),
    ("EXECUTE on function rowcast.emit(text,text,json,text[])", &["emit"]),
    ("EXECUTE on function rowcast.maintain(interval,bigint)", &["retain"]),
    ("SELECT on rowcast.event", &["follow", "parked", "resume", "measure"]),
    ("SELECT on rowcast.floor", &["follow", "resume"]),
    ("SELECT on rowcast.identity", &["start", "follow", "parked", "notify-only", "resume"]),
    ("SELECT on rowcast.migration", &["check"]),
    ("SELECT on rowcast.revocation", &["revocations"]),
    ("SELECT on rowcast.slot", &["follow"]),
    ("SELECT on rowcast.watched", &["notify-only"]),
    ("SELECT on rowcast.watches", &["list"]),
    ("SELECT on sequence rowcast.event_id_seq", &["follow"]),
    ("SELECT on sequence rowcast.event_slot_seq", &["follow"]),
    (
        "USAGE on schema rowcast",
        &[
            "check",
            "start",
            "follow",
            "parked",
            "notify-only",
            "resume",
            "retain",
            "forget",
            "measure",
            "revocations",
            "issue",
            "redeem",
            "list",
            "emit",
        ],
    ),
];

/// The rights a role has in the schema, as the catalog tells them, ready for `grant` and `revoke`.
async fn rights(db: &Database, role: &str) -> Vec<String> {
    let rows = db.client().await.query(RIGHTS, &[&role]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

const RIGHTS: &str = "
    with object (what, acl) as (
        select format('schema %I', nspname), nspacl from pg_namespace where nspname = 'rowcast'
         union all
        select 'function ' || p.oid::regprocedure, p.proacl from pg_proc p where p.pronamespace = 'rowcast'::regnamespace
         union all
        select case c.relkind when 'S' then 'sequence ' else '' end || c.oid::regclass, c.relacl
          from pg_class c where c.relnamespace = 'rowcast'::regnamespace
         union all
        select format('(%I) %s', a.attname, c.oid::regclass), a.attacl
          from pg_attribute a join pg_class c on c.oid = a.attrelid where c.relnamespace = 'rowcast'::regnamespace)
    select g.privilege_type || ' on ' || o.what
      from object o cross join aclexplode(o.acl) g
     where g.grantee = (select oid from pg_roles where rolname = $1)
     order by 1";

/// What of the daemon's work this role can't do, by the daemon's own code.
async fn undone(db: &Database, role: &str) -> Vec<&'static str> {
    let client = || db.client_as(role);
    let identity = async || Identity::read(&client().await, EpochPolicy::Strict).await;
    let log = async || EventLog::new(client().await, Arc::new(identity().await.ok()?)).await.ok();
    let mut undone = Vec::new();
    let mut deed = |name, done: bool| {
        if !done {
            undone.push(name);
        }
    };
    deed("check", migrations::check(&client().await).await.is_ok());
    deed("start", identity().await.is_ok());
    deed("follow", some(follow(log().await)).await);
    deed("parked", some(async { log().await?.parked(1, 1).await.ok() }).await);
    deed("notify-only", some(async { log().await?.watches().await.ok() }).await);
    deed("resume", some(async { resume(&client().await, &identity().await.ok()?).await }).await);
    let keep = Duration::from_secs(1000);
    deed("retain", retention::maintain(&client().await, keep, 1 << 40).await.is_ok());
    deed("forget", retention::forget_revocations(&client().await, keep).await.is_ok());
    deed("measure", retention::measure(&client().await).await.is_ok());
    let since = Horizon::default();
    deed("revocations", revocations::read(&client().await, &since).await.is_ok());
    let tickets = TicketTable::new(Target::parse(&db.url_as(role)).expect("a URL").pool(1));
    let hash = fresh_hash();
    deed("issue", tickets.issue(&hash, "{}", keep).await.is_ok());
    deed("redeem", tickets.redeem(&hash).await.is_ok());
    deed("list", watches::list(&client().await).await.is_ok());
    deed("emit", watches::emit(&client().await, "a", "b", "{}", None).await.is_ok());
    undone
}

/// Another one each time: a ticket that was not redeemed is still there.
fn fresh_hash() -> [u8; 32] {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    [NEXT.fetch_add(1, Ordering::Relaxed); 32]
}

async fn some<T>(work: impl Future<Output = Option<T>>) -> bool {
    work.await.is_some()
}

async fn follow(log: Option<EventLog>) -> Option<()> {
    let log = log?;
    let start = log.start().await.ok()?;
    log.read(&start.position).await.ok()?.next_batch().await.ok().map(drop)
}

async fn resume(client: &Client, identity: &Identity) -> Option<()> {
    let patterns = vec![Pattern::parse("a").expect("a channel is a pattern")];
    let wanted = Wanted { patterns, user: Some("ana".into()) };
    let upto: String =
        client.query_one("select pg_current_snapshot()::text", &[]).await.ok()?.get(0);
    let upto = Arc::new(upto.parse().expect("the server's own snapshot"));
    let replay = ReplayLog::new(client, identity, &wanted);
    let page = replay.newest(10, &upto).await.ok()?;
    replay.page(&page.position, &upto).await.ok()?;
    replay.check_floor(&page.position).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_with_exactly_these_rights_starts_delivers_resumes_and_prunes() {
    let db = Database::migrated().await;
    db.batch_execute(
        "create table t (id int primary key); select rowcast.watch('t', array['t']);
         create table loose (id int primary key, body text); select rowcast.watch('loose', array['loose'], log => false);
         insert into t values (1)",
    )
    .await;
    let role = daemon_role(&db).await;
    let url = db.url_as(&role);
    let world = World::at(db, &url, &format!("{OPEN}\nlog = {{ keep = \"60s\" }}")).await;
    let mut client = world.subscriber("ana", &["t", "loose"]).await;
    world.sql("insert into t values (2), (3)").await;
    let changes = client.changes(2).await;
    assert_eq!(changes[1]["key"]["id"], 3);
    world.sql("insert into loose values (4, 'small')").await;
    assert_eq!(client.changes(1).await[0]["key"]["id"], 4);
    world.sql("insert into loose values (5, repeat('large', 10000))").await;
    assert_eq!(client.changes(1).await[0]["key"]["id"], 5);

    let mut other = world.client("ana").await;
    other.resume("t", changes[0]["id"].as_str().unwrap()).await;
    assert_eq!(
        other.skip_to(|message| message["type"] == "change").await["key"],
        json!({ "id": 3 })
    );

    // Its rounds of retention follow the ring: that shows as a slot which is written down.
    let admin = world.db.client().await;
    let followed = "select exists (select from rowcast.slot)";
    until_true(&admin, "a round of retention", followed).await;
    world.daemon.stop().await;
}

async fn daemon_role(db: &Database) -> String {
    let role = db.role("daemon");
    db.batch_execute(&format!("create role {role} login; select rowcast.grant_daemon('{role}')"))
        .await;
    role
}

#[tokio::test]
async fn nothing_in_the_schema_is_public_and_everything_belongs_to_the_owner() {
    let db = watched_in_every_way().await;
    assert_eq!(list(&db, PUBLIC).await, Vec::<String>::new());
    assert_eq!(list(&db, FOREIGN).await, Vec::<String>::new());
    // The queries see what they look for.
    db.batch_execute("grant select on rowcast.event_3 to public; grant select (key) on rowcast.identity to public; grant usage on schema rowcast to public;
                      grant usage on sequence rowcast.event_id_seq to public; grant execute on function rowcast._signed(text) to public;
                      create function rowcast.stray() returns int language sql as 'select 1'; create type rowcast.mine as enum ('a')")
        .await;
    assert_eq!(
        list(&db, PUBLIC).await,
        [
            "rowcast",
            "rowcast._signed(text)",
            "rowcast.event_3",
            "rowcast.event_id_seq",
            "rowcast.identity.key",
            "rowcast.stray()",
        ]
    );
    assert_eq!(list(&db, FOREIGN).await, ["rowcast.mine", "rowcast.stray()"]);
}

/// What PUBLIC may do anything with; the acl that is null is the default one, which for functions means everybody.
const PUBLIC: &str = "
    select distinct o.name
      from (select nspname::text, coalesce(nspacl, acldefault('n', nspowner)) from pg_namespace where nspname = 'rowcast'
             union all
            select p.oid::regprocedure::text, coalesce(p.proacl, acldefault('f', p.proowner)) from pg_proc p where p.pronamespace = 'rowcast'::regnamespace
             union all
            select c.oid::regclass::text, coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::\"char\", c.relowner))
              from pg_class c where c.relnamespace = 'rowcast'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
             union all
            select c.oid::regclass || '.' || a.attname, a.attacl
              from pg_attribute a join pg_class c on c.oid = a.attrelid where c.relnamespace = 'rowcast'::regnamespace) o (name, acl)
     cross join aclexplode(o.acl) g
     where g.grantee = 0
     order by 1";

const FOREIGN: &str = "
    select name
      from (select nspname::text, nspowner from pg_namespace where nspname = 'rowcast'
             union all
            select p.oid::regprocedure::text, p.proowner from pg_proc p where p.pronamespace = 'rowcast'::regnamespace
             union all
            select c.oid::regclass::text, c.relowner from pg_class c where c.relnamespace = 'rowcast'::regnamespace
             union all
            select t.oid::regtype::text, t.typowner from pg_type t where t.typnamespace = 'rowcast'::regnamespace) o (name, owner)
     where owner <> 'rowcast_owner'::regrole
       and name not like '%[]'
     order by 1";

#[tokio::test]
async fn every_function_pins_its_path_and_every_definer_has_been_looked_at() {
    let db = watched_in_every_way().await;
    assert_eq!(list(&db, UNPINNED).await, Vec::<String>::new());
    // Whoever adds one to this list has read it for its path, its quoting, what it trusts and who may execute it.
    assert_eq!(
        list(&db, DEFINERS).await,
        [
            "_drift",
            "_forget_revocations",
            "_ticket_issue",
            "_ticket_redeem",
            "capture_#_delete",
            "capture_#_insert",
            "capture_#_truncate",
            "capture_#_update",
            "emit",
            "maintain",
            "revoke"
        ]
    );
    db.batch_execute("create function rowcast.a() returns int language sql set search_path = rowcast as 'select 1';
                      create function rowcast.b() returns int language sql security definer set search_path = pg_catalog as 'select 1';
                      create function rowcast.c() returns int language sql set search_path = pg_catalog, pg_temp as 'select 1'")
        .await;
    assert_eq!(list(&db, UNPINNED).await, ["a", "b"]);
    assert!(list(&db, DEFINERS).await.contains(&"b".to_owned()));
}

const UNPINNED: &str = "
    select proname::text
      from pg_proc
     where pronamespace = 'rowcast'::regnamespace
       and not coalesce('search_path=pg_catalog, pg_temp' = any (proconfig), false)
     order by 1";

const DEFINERS: &str = r"
    select distinct regexp_replace(proname, '\d+', '#')
      from pg_proc
     where pronamespace = 'rowcast'::regnamespace
       and prosecdef
     order by 1";

async fn list(db: &Database, sql: &str) -> Vec<String> {
    let rows = db.client().await.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// By row, by statement, notify-only, and by the plain files.
async fn watched_in_every_way() -> Database {
    let db = Database::migrated().await;
    db.batch_execute(
        "create table a (id int primary key); select rowcast.watch('a', capture => 'row');
         create table b (id int primary key); select rowcast.watch('b', capture => 'statement');
         create table c (id int primary key); select rowcast.watch('c', log => false);
         create table d (id int primary key); create table e (id int primary key)",
    )
    .await;
    for (table, file) in [("d", "row_change"), ("e", "statement_change"), ("e", "truncate")] {
        let path = format!("{}/triggers/{file}.sql", env!("CARGO_MANIFEST_DIR"));
        crate::harness::psql(db.url(), &format!("\\set table {table}\n\\i {path}\n")).unwrap();
    }
    db
}

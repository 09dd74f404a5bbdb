//! `rowcast doctor` on set-ups that are broken in one place: it names that place and no other, and what it says mends it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rowcast::postgres::scratch::{ScratchCluster, ScratchOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::harness::{Database, Outcome, World, options, rowcast};
use crate::outages::Bouncer;

/// A database with a watched table, a role for the daemon, and a configuration that is all right.
struct Scene {
    db: Database,
    role: String,
    folder: TempDir,
}

/// What was not all right.
#[derive(Debug)]
struct Finding {
    check: String,
    state: String,
    answer: String,
    mend: String,
}

impl Scene {
    async fn new() -> Self {
        Self::on(Database::migrated().await, "daemon").await
    }

    async fn on(db: Database, role: &str) -> Self {
        let role = db.role(role);
        db.batch_execute(&format!(
            "create role {role} login; select rowcast.grant_daemon('{role}'); {TABLES}"
        ))
        .await;
        let folder = tempfile::tempdir().unwrap();
        let scene = Self { db, role, folder };
        scene.write("key", &"k".repeat(40));
        chmod(&scene.path("key"), 0o600);
        scene.write("rowcast.toml", CONFIG);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The same configuration with this in place of one of its lines.
    fn configure(&self, line: &str, instead: &str) {
        assert!(CONFIG.contains(line));
        self.write("rowcast.toml", &CONFIG.replace(line, instead));
    }

    fn url(&self) -> String {
        self.db.url_as(&self.role)
    }

    fn run(&self, url: &str, arguments: &[&str]) -> Outcome {
        let file = self.path("rowcast.toml").display().to_string();
        rowcast(url, &[&["doctor", "--config", &file], arguments].concat())
    }

    fn findings(&self) -> Vec<Finding> {
        self.findings_at(&self.url(), &[])
    }

    fn findings_at(&self, url: &str, arguments: &[&str]) -> Vec<Finding> {
        let outcome = self.run(url, &[&["--json"], arguments].concat());
        let checks: Value = serde_json::from_str(&outcome.stdout)
            .unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
        let checks = checks.as_array().expect("an array of checks");
        assert!(!checks.is_empty());
        let text = |check: &Value, name: &str| check[name].as_str().unwrap_or_default().to_owned();
        let found: Vec<_> = checks
            .iter()
            .filter(|check| check["state"] != "ok")
            .map(|check| Finding {
                check: text(check, "check"),
                state: text(check, "state"),
                answer: text(check, "answer"),
                mend: text(check, "mend"),
            })
            .collect();
        let failed = found.iter().any(|finding| finding.state == "failure");
        assert_eq!(outcome.code, i32::from(failed), "{outcome:?}");
        found
    }

    /// The one thing that is found.
    #[track_caller]
    fn only(&self, check: &str) -> Finding {
        self.only_at(&self.url(), check)
    }

    #[track_caller]
    fn only_at(&self, url: &str, check: &str) -> Finding {
        let mut found = self.findings_at(url, &[]);
        assert_eq!(found.len(), 1, "{check}: {found:#?}");
        let found = found.remove(0);
        assert_eq!(found.check, check, "{found:#?}");
        found
    }

    /// Breaks it, sees that found and nothing else, mends it as it says, and sees that nothing is left.
    async fn breaks(&self, sql: &str, check: &str, mend: &str) {
        let filled = |text: &str| text.replace("ROLE", &self.role).replace("DB", self.db.name());
        self.db.batch_execute(&filled(sql)).await;
        let found = self.only(check);
        let mend = filled(mend);
        assert!(found.mend.contains(&mend), "{check}: {found:#?}");
        self.db.batch_execute(&found.mend).await;
        let left = self.findings();
        assert!(left.is_empty(), "{check} was mended: {left:#?}");
    }
}

#[tokio::test]
async fn a_set_up_that_is_all_right_is_told_so() {
    let scene = Scene::new().await;
    let found = scene.findings();
    assert!(found.is_empty(), "{found:#?}");
    let outcome = scene.run(&scene.url(), &[]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    for said in ["configuration\n  ✓", "✓ LISTEN", "✓ grants", "✓ public.orders", "✓ log size"]
    {
        assert!(outcome.stdout.contains(said), "{said} in {}", outcome.stdout);
    }
    assert!(!outcome.stdout.contains('\x1b'), "no colours where nobody looks");
}

#[tokio::test]
async fn what_is_wrong_with_the_role_is_mended_by_what_is_said() {
    let scene = Scene::new().await;
    for (sql, check, mend) in [
        ("revoke select on rowcast.event from ROLE", "grants", "grant_daemon('ROLE')"),
        ("revoke usage on schema rowcast from ROLE", "grants", "grant_daemon('ROLE')"),
        ("revoke execute on function rowcast._drift(regclass) from ROLE", "grants", "grant_daemon"),
        ("alter role ROLE createdb bypassrls", "privileges", "nocreatedb nobypassrls"),
        ("grant rowcast_owner to ROLE", "privileges", "revoke rowcast_owner from ROLE"),
        ("grant insert on rowcast.event to ROLE", "privileges", "revoke insert"),
        ("grant select on public.orders to ROLE", "privileges", "revoke all on public.orders"),
        ("alter role ROLE connection limit 4", "connection limit", "connection limit 12"),
        ("alter role ROLE set default_transaction_read_only = on", "read-only", "read_only = off"),
        ("alter role ROLE set track_activities = off", "tracking", "track_activities = on"),
    ] {
        scene.breaks(sql, check, mend).await;
    }
    let found = scene.only_at(scene.db.url(), "privileges");
    assert!(found.answer.contains("superuser") && found.state == "warning", "{found:#?}");
    scene.db.batch_execute("grant select on public.orders to public").await;
    assert!(scene.only("privileges").mend.contains("PUBLIC"));
}

#[tokio::test]
async fn what_is_wrong_with_a_watch_is_mended_by_what_is_said() {
    let scene = Scene::new().await;
    for (sql, check, mend) in [
        ("drop trigger rowcast_900_insert on orders", "public.orders: triggers", "rowcast.watch("),
        (
            "alter table orders disable trigger rowcast_900_update",
            "public.orders: triggers",
            "alter table public.orders enable trigger rowcast_900_update;",
        ),
        (
            "alter table orders enable replica trigger rowcast_900_delete",
            "public.orders: triggers",
            "enable trigger rowcast_900_delete;",
        ),
        (
            "alter table orders add note text",
            "public.orders: drift",
            "rowcast.watch('public.orders'",
        ),
        (
            r#"alter table "odd's" rename to "odder's""#,
            r#"public."odder's": drift"#,
            r#"rowcast.watch('public."odder''s"'"#,
        ),
        (
            "alter table p1 disable trigger rowcast_900_insert",
            "public.parts: partitions",
            "alter table public.p1 enable trigger rowcast_900_insert;",
        ),
        ("drop table gone", "public.gone", "select rowcast.unwatch("),
        (
            "alter role ROLE in database DB set session_replication_role = replica",
            "replica role",
            "alter role ROLE in database DB reset session_replication_role;",
        ),
    ] {
        scene.breaks(sql, check, mend).await;
    }
}

#[tokio::test]
async fn what_only_a_person_can_decide_of_a_watch_is_put_to_them() {
    let scene = Scene::new().await;
    for (sql, check, mend, undo) in [
        (
            "create table keyless (a int); select rowcast.watch('keyless')",
            "public.keyless: key",
            "alter table public.keyless add primary key",
            "select rowcast.unwatch('keyless'); drop table keyless",
        ),
        (
            "create table mother (id int primary key); select rowcast.watch('mother');
             create table child () inherits (mother); select rowcast.watch('mother')",
            "public.mother: children",
            "select rowcast.watch('public.child'",
            "select rowcast.unwatch('mother'); drop table mother cascade",
        ),
        (
            "create table narrow (id int primary key, org int); select rowcast.watch('narrow', channels => array['o:{org}']);
             alter table narrow drop org",
            "public.narrow: drift",
            "without what the table no longer has (org)",
            "select rowcast.unwatch('narrow'); drop table narrow",
        ),
    ] {
        scene.db.batch_execute(sql).await;
        let found = scene.only(check);
        assert!(found.mend.contains(mend), "{found:#?}");
        scene.db.batch_execute(undo).await;
    }
    scene.db.batch_execute("select rowcast.unwatch(target) from rowcast.watched").await;
    assert_eq!(scene.only("watches").mend, "rowcast watch TABLE");
}

/// The catalog says that a table is subscribed to; no other server is needed for that.
#[tokio::test]
async fn a_subscriber_of_logical_replication_needs_triggers_that_always_fire_for_rows() {
    let scene = Scene::new().await;
    let subscribe = format!(
        "create subscription {0} connection 'dbname=none' publication p with (connect = false, slot_name = none, enabled = false, create_slot = false);
         insert into pg_subscription_rel (srsubid, srrelid, srsubstate)
         select oid, 'orders'::regclass, 'r' from pg_subscription where subname = '{0}'",
        scene.db.role("subscription")
    );
    scene.breaks(&subscribe, "public.orders: replication", "capture => 'row'").await;
    scene
        .breaks(
            "alter table orders enable trigger all",
            "public.orders: replication",
            "enable always trigger rowcast_900_insert;",
        )
        .await;
    // Or the database could not be dropped.
    let end = format!("drop subscription {}", scene.db.role("subscription"));
    scene.db.batch_execute(&end).await;
}

#[tokio::test]
async fn tables_that_notify_are_named_where_transactions_are_prepared() {
    let scene = Scene::new().await;
    let name = scene.db.role("prepared");
    let client = scene.db.client().await;
    client.batch_execute("begin; insert into plain values (1)").await.unwrap();
    client.batch_execute(&format!("prepare transaction '{name}'")).await.unwrap();
    let found = scene.only("two-phase commit");
    assert!(found.answer.contains("public.orders") && found.state == "warning", "{found:#?}");
    assert!(found.mend.contains("wake => 'poll'"), "{found:#?}");
    scene.db.batch_execute(&found.mend).await;
    assert!(scene.findings().is_empty());
    client.batch_execute(&format!("rollback prepared '{name}'")).await.unwrap();
}

#[tokio::test]
async fn a_schema_that_does_not_fit_is_told_with_the_command_that_mends_it() {
    let scene = Scene::new().await;
    let superuser = scene.db.url().to_owned();
    scene
        .db
        .batch_execute(
            "create or replace function rowcast.emit(channel text, event text, data json default null, users text[] default null)
             returns void language sql as 'select'; drop function rowcast.revoke(text, text)",
        )
        .await;
    let found = scene.only("functions");
    assert!(found.answer.contains("emit has another text, revoke is missing"), "{found:#?}");
    assert_eq!(
        (found.mend.as_str(), rowcast(&superuser, &["migrate"]).code),
        ("rowcast migrate", 0)
    );
    assert!(scene.findings().is_empty());
    for (sql, answer, mend) in [
        ("insert into rowcast.migration (version, name) values (99, 'x')", "99", "newer rowcast"),
        ("delete from rowcast.migration where version > 3", "older than", "rowcast migrate"),
        ("drop schema rowcast cascade", "not installed", "rowcast migrate"),
    ] {
        scene.db.batch_execute(sql).await;
        let found = scene.only("schema");
        assert!(found.answer.contains(answer) && found.mend.contains(mend), "{found:#?}");
    }
}

#[tokio::test]
async fn a_log_that_is_too_large_or_too_old_is_told_with_who_is_to_blame() {
    let scene = Scene::new().await;
    scene.configure("keep = \"24h\"", "keep = \"60s\"\nmax_bytes = \"1MiB\"");
    scene.db.batch_execute("select rowcast.emit('a', 'b', (select json_agg(md5(i || ' ' || k)) from generate_series(1, 60) k)) from generate_series(1, 4000) i").await;
    let found = scene.only("log size");
    assert!(found.answer.contains("no daemon is connected"), "{found:#?}");
    // Somebody who reads it keeps retention away, and is named.
    let reader = scene.db.client().await;
    reader.batch_execute("begin; select from rowcast.event limit 1").await.unwrap();
    let blamed = scene.only("log size");
    assert!(blamed.mend.contains("pg_terminate_backend"), "{blamed:#?}");
    scene.db.batch_execute(&blamed.mend).await;
    drop(reader);
    let due = Instant::now() + Duration::from_secs(60);
    loop {
        scene.db.batch_execute(&found.mend).await;
        if scene.findings().is_empty() {
            break;
        }
        assert!(Instant::now() < due, "{:#?}", scene.findings());
    }
    scene
        .db
        .batch_execute(
            "select rowcast.emit('a', 'b'); update rowcast.event set at = at - interval '1 hour'",
        )
        .await;
    let found = scene.only("log age");
    assert!(found.answer.contains("1h") && found.mend.contains("rowcast.maintain("), "{found:#?}");
}

#[tokio::test]
async fn a_slot_of_the_log_that_was_dropped_is_made_again_by_what_is_said() {
    let scene = Scene::new().await;
    scene
        .breaks(
            "drop table rowcast.event_0; select rowcast.emit('a', 'b')",
            "log slots",
            "attach partition rowcast.event_0",
        )
        .await;
    let rows: i64 = scene
        .db
        .client()
        .await
        .query_one("select count(*) from rowcast.event_0", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(rows, 1, "what came meanwhile is in its place");
}

#[tokio::test]
async fn the_application_s_function_is_looked_up() {
    let scene = Scene::new().await;
    scene.configure("[limits]", "[authorize]\nfunction = \"app.may\"\n[limits]");
    let found = scene.only("authorize.function");
    assert!(found.mend.contains("create function app.may(claims jsonb"), "{found:#?}");
    let create = "create schema app; create function app.may(claims jsonb, channel text, action text) returns boolean
                  language sql as 'select true'; revoke execute on function app.may from public";
    scene.breaks(create, "authorize.function", "grant execute on function app.may").await;
}

/// On a server of its own: what it sees there is everybody's.
#[tokio::test]
async fn an_old_transaction_and_a_queue_that_fills_are_told_with_who_has_them() {
    let cluster = ScratchCluster::start(options()).await.unwrap();
    let scene = Scene::on(Database::alone(&cluster).await, "watcher").await;
    let url = cluster.url("postgres").replace("user=postgres", &format!("user={}", scene.role));
    scene.db.batch_execute(&format!("grant pg_read_all_stats to {}", scene.role)).await;
    assert!(scene.findings_at(&url, &[]).is_empty());
    let lazy = scene.db.client().await;
    for statement in ["listen x", "begin", "select 1"] {
        lazy.batch_execute(statement).await.unwrap();
    }
    let found = scene.findings_at(&url, &["--patience", "1ms"]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].check == "transactions" && found[0].answer.contains("idle in transaction"));
    let flood = "select pg_notify('x', repeat('a', 7900) || i) from generate_series(1, 12000) i";
    scene.db.batch_execute(flood).await;
    let found = scene.only_at(&url, "notification queue");
    assert!(found.answer.contains("idle in transaction"), "{found:#?}");
    scene.db.batch_execute(&found.mend).await;
    drop(lazy);
    assert!(scene.findings_at(&url, &[]).is_empty());
    let client = scene.db.client().await;
    for statement in
        ["begin", "insert into plain values (1)", "prepare transaction 'left'' behind'"]
    {
        client.batch_execute(statement).await.unwrap();
    }
    let found = scene.findings_at(&url, &["--patience", "1ms"]);
    let told = found.iter().find(|finding| finding.check == "transactions").expect("it is told");
    assert_eq!(told.mend, "rollback prepared 'left'' behind';");
    scene.db.batch_execute(&told.mend).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_and_another_database_are_told_by_their_silence() {
    let scene = Scene::new().await;
    let other = Database::migrated().await;
    scene.configure("[limits]", &format!("[database]\nlisten_url = \"{}\"\n[limits]", other.url()));
    assert!(scene.only("LISTEN").answer.contains("another database"));
    let bouncer = Bouncer::start("transaction").await;
    let through = bouncer.url(scene.db.name());
    scene.configure("[limits]", &format!("[database]\nlisten_url = \"{through}\"\n[limits]"));
    let found = scene.only("LISTEN");
    assert!(found.answer.contains("PgBouncer") && found.mend.contains("database.listen_url"));
    // The bouncer comes as the superuser, which is told as well.
    scene.configure("[limits]", &format!("[database]\nlisten_url = \"{}\"\n[limits]", scene.url()));
    let found = scene.findings_at(&through, &[]);
    let names: Vec<_> = found.iter().map(|finding| finding.check.as_str()).collect();
    assert_eq!(names, ["pooler", "privileges"], "{found:#?}");
}

#[tokio::test]
async fn a_database_that_is_away_fails_its_check_soon_and_the_others_are_asked() {
    let scene = Scene::new().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let began = Instant::now();
    let url = format!("postgres://nobody@127.0.0.1:{port}/app?connect_timeout=1");
    let found = scene.only_at(&url, "reachable");
    assert!(found.answer.contains("no answer within 1s"), "{found:#?}");
    assert!(began.elapsed() < Duration::from_secs(20));
    let text = scene.run(&url, &[]).stdout;
    assert!(text.contains("✓ configuration") && text.contains("✓ port"), "{text}");
    // One of several that is away is no failure.
    let socket =
        Path::new(scene.db.url().split("host=").nth(1).unwrap().split('&').next().unwrap())
            .to_owned();
    let own = scene.db.url().split("port=").nth(1).unwrap().split('&').next().unwrap();
    let both = format!(
        "host={},127.0.0.1 port={own},{port} user={} dbname={} connect_timeout=1",
        socket.display(),
        scene.role,
        scene.db.name()
    );
    let found = scene.only_at(&both, &format!("reachable: 127.0.0.1:{port}"));
    assert_eq!(found.state, "warning");
}

#[tokio::test]
async fn a_standby_is_told_from_a_primary() {
    let files = vec![("standby.signal".to_owned(), String::new())];
    let standby = ScratchCluster::start(ScratchOptions { files, ..options() }).await.unwrap();
    let scene = Scene::new().await;
    let found = scene.only_at(&standby.url("postgres"), "primary");
    assert!(found.mend.contains("name the primary"), "{found:#?}");
    standby.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_the_configuration_is_told_with_its_line() {
    let scene = Scene::new().await;
    for (line, instead, check, said, mend) in [
        ("[limits]", "[limit]", "configuration", "rowcast.toml:10", "config check"),
        (
            "secret_file = \"key\"",
            "leeway = \"5s\"",
            "key",
            "no client can connect",
            "openssl rand",
        ),
        ("secret_file = \"key\"", "secret_file = \"none\"", "configuration", ":4", "config check"),
        ("listen = \"127.0.0.1:0\"", "listen = \"0.0.0.0:0\"", "address", "in the open", "TLS"),
        (
            "listen = \"127.0.0.1:0\"",
            "listen = \"192.0.2.1:80\"",
            "port",
            "no address",
            "ip address",
        ),
        ("connections = 200", "connections = 10000000", "open files", "10000000", "LimitNOFILE="),
    ] {
        scene.configure(line, instead);
        let found = scene.findings();
        let found = found
            .iter()
            .find(|f| f.check == check)
            .unwrap_or_else(|| panic!("{check}: {found:#?}"));
        assert!(found.answer.contains(said) && found.mend.contains(mend), "{found:#?}");
    }
    scene.configure("[[policy]]\nchannel = \"orders:*\"\nallow = [\"subscribe\"]\n", "");
    assert!(scene.only("policies").mend.contains("[[policy]]"));
}

#[tokio::test]
async fn a_key_that_others_can_read_is_closed_by_what_is_said() {
    let scene = Scene::new().await;
    chmod(&scene.path("key"), 0o644);
    let found = scene.only("secret files");
    assert!(Command::new("sh").args(["-c", &found.mend]).status().unwrap().success(), "{found:#?}");
    assert!(scene.findings().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_on_the_port_is_asked() {
    let scene = Scene::new().await;
    let world = World::start().await;
    let at = |address: std::net::SocketAddr| format!("listen = \"{address}\"");
    scene.configure("listen = \"127.0.0.1:0\"", &at(world.daemon.address()));
    assert!(scene.findings().is_empty());
    let text = scene.run(&scene.url(), &[]).stdout;
    assert!(text.contains("is ready"), "{text}");
    world.daemon.stop().await;
    let stranger = TcpListener::bind("127.0.0.1:0").await.unwrap();
    scene.configure("listen = \"127.0.0.1:0\"", &at(stranger.local_addr().unwrap()));
    assert!(scene.only("port").answer.contains("no rowcast daemon"));
}

#[tokio::test]
async fn a_terminal_gets_colours_unless_it_wants_none() {
    let scene = Scene::new().await;
    let command = format!(
        "{} doctor --config {}",
        env!("CARGO_BIN_EXE_rowcast"),
        scene.path("rowcast.toml").display()
    );
    let shown = |no_colour: &str| {
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).env("DATABASE_URL", scene.url());
        let output = script.env("NO_COLOR", no_colour).output().expect("script is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(shown("").contains("\x1b[32m✓\x1b[0m grants"), "{}", shown(""));
    assert!(!shown("1").contains("\x1b["), "{}", shown("1"));
}

#[test]
fn an_argument_that_is_none_is_wrong_usage() {
    assert_eq!(rowcast("postgres://nowhere", &["doctor", "--patience", "soon"]).code, 2);
    assert_eq!(rowcast("postgres://nowhere", &["doctor", "--all"]).code, 2);
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

const TABLES: &str = r#"
    create table orders (id int primary key, owner text);
    create table parts (id int primary key) partition by range (id);
    create table p1 partition of parts for values from (0) to (10);
    create table p2 partition of parts for values from (10) to (20);
    create table "odd's" (id int primary key);
    create table gone (id int primary key);
    create table plain (id int primary key);
    select rowcast.watch('orders', channels => array['orders', 'orders:{id}'], users => null);
    select rowcast.watch('parts');
    select rowcast.watch('"odd''s"', channels => array['odd']);
    select rowcast.watch('gone')"#;

const CONFIG: &str = r#"[server]
listen = "127.0.0.1:0"
[auth]
secret_file = "key"
[log]
keep = "24h"
[[policy]]
channel = "orders:*"
allow = ["subscribe"]
[limits]
connections = 200
"#;

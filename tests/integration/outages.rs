//! Lines that go silent or break, and poolers in the way.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rowcast::app::Daemon;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::{Client, Database, Fault, OPEN, Proxy, World, cluster, until, until_true};

pub const TABLE: &str =
    "create table item (id int primary key); select rowcast.watch('item', array['items'])";

/// The rows of the changes up to one, and whatever else the daemon says before it.
pub async fn until_row(client: &mut Client, row: i64) -> (Vec<i64>, Vec<Value>) {
    let (mut rows, mut said) = (Vec::new(), Vec::new());
    loop {
        let message = client.next().await;
        if message["type"] == "change" {
            rows.push(message["row"]["id"].as_i64().unwrap());
            if rows.last() == Some(&row) {
                return (rows, said);
            }
        } else {
            said.push(message);
        }
    }
}

fn through(proxy: &Proxy, database: &str) -> String {
    format!("postgres://postgres@{}/{database}", proxy.address())
}

async fn tcp_server() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], cluster().await.port()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_goes_silent_is_noticed_and_nothing_is_missed() {
    for (silent, fault) in [
        ("listen_url", Fault::Stalled),
        ("listen_url", Fault::Mute),
        ("url", Fault::Stalled),
        ("url", Fault::Mute),
    ] {
        let db = Database::migrated().await;
        db.batch_execute(TABLE).await;
        let proxy = Proxy::to(tcp_server().await).await;
        let url = through(&proxy, db.name());
        let direct = format!("postgres://postgres@{}/{}", tcp_server().await, db.name());
        let settings = match silent {
            "listen_url" => format!("database.listen_url = \"{url}\"\n{OPEN}"),
            _ => format!("database.listen_url = \"{direct}\"\n{OPEN}"),
        };
        let url = if silent == "url" { &url } else { db.url() }.to_owned();
        let world = World::at(db, &url, &settings).await;
        let mut client = world.subscriber("ana", &["items"]).await;
        world.sql("insert into item values (1)").await;
        until_row(&mut client, 1).await;

        proxy.set(fault);
        client.skip_to(|message| message["event"] == "degraded").await;
        world.sql("insert into item values (2)").await;
        // What was silent is not used again.
        proxy.set(Fault::None);
        let (rows, _) = until_row(&mut client, 2).await;
        assert_eq!(rows, [2], "{silent} {fault:?}");
        client.skip_to(|message| message["event"] == "recovered").await;
        world.daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_single_bytes_and_one_that_is_reset_change_nothing() {
    let db = Database::migrated().await;
    db.batch_execute(TABLE).await;
    let proxy = Proxy::to(tcp_server().await).await;
    let url = through(&proxy, db.name());
    let world = World::at(db, &url, OPEN).await;
    let mut client = world.subscriber("ana", &["items"]).await;
    proxy.set(Fault::Trickle);
    world.sql("insert into item select n from generate_series(1, 50) n").await;
    assert_eq!(until_row(&mut client, 50).await.0, (1..=50).collect::<Vec<_>>());
    for round in 51..55 {
        proxy.set(Fault::Reset);
        world.sql(&format!("insert into item values ({round})")).await;
        proxy.set(Fault::None);
        assert_eq!(until_row(&mut client, round).await.0, [round]);
    }
    world.daemon.stop().await;
}

/// A line of which the beginning arrives and the rest never does is given up, wherever that is, and never blamed
/// on a pooler.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_goes_silent_while_the_daemon_starts_is_given_up() {
    let db = Database::migrated().await;
    db.batch_execute(TABLE).await;
    let server = tcp_server().await;
    let direct = format!("postgres://postgres@{server}/{}", db.name());
    let mut starts = JoinSet::new();
    for cut in [0, 9, 100, 330, 400, 450, 500, 600, 700, 800, 1000, 1200, 1400, 2000, 4000] {
        for silent in ["listen_url", "url"] {
            let (direct, name) = (direct.clone(), db.name().to_owned());
            starts.spawn(async move {
                let proxy = Proxy::cutting_first(server, cut).await;
                let proxied = through(&proxy, &name);
                let (url, listen) =
                    if silent == "url" { (proxied, direct) } else { (direct, proxied) };
                let settings = format!("database.listen_url = \"{listen}\"\n{OPEN}");
                let config = World::config(&url, &settings);
                let started = Daemon::start(&config, None);
                let started = timeout(Duration::from_secs(60), started).await;
                let started = started.unwrap_or_else(|_| panic!("{silent} cut at {cut}: never"));
                match started {
                    Ok(daemon) => daemon.stop().await,
                    Err(error) => panic!("{silent} cut at {cut}: {error}"),
                }
            });
        }
    }
    while let Some(started) = starts.join_next().await {
        started.unwrap();
    }
}

/// Whatever of its beginning a node has done when the line breaks, it begins again.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_interrupted_anywhere_succeeds_in_the_end() {
    let db = Database::migrated().await;
    db.batch_execute(TABLE).await;
    db.batch_execute("insert into item values (1)").await;
    let proxy = Proxy::to(tcp_server().await).await;
    let config = World::config(&through(&proxy, db.name()), OPEN);
    for step in 0..30 {
        let starting = tokio::spawn({
            let config = config.clone();
            async move { Daemon::start(&config, None).await }
        });
        // Not a wait for anything: each step interrupts a little later.
        tokio::time::sleep(Duration::from_millis(2 * step)).await;
        proxy.reset_one().await;
        proxy.set(Fault::None);
        let started = timeout(Duration::from_secs(20), starting).await;
        let daemon = started.unwrap_or_else(|_| panic!("interrupted at step {step}, never ready"));
        daemon.expect("no panic").expect("the daemon starts").stop().await;
    }
}

/// `PgBouncer` in front of the tests' server; gone when dropped.
pub struct Bouncer {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Bouncer {
    pub async fn start(mode: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let server = tcp_server().await;
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nauth_type = any\npool_mode = {mode}\nunix_socket_dir =\n\
             ignore_startup_parameters = options,extra_float_digits\nlogfile = {}/log\n\
             [users]\npostgres =\n",
            server.port(),
            folder.path().display(),
        );
        // With "any", everybody is the user that the database names.
        let settings = settings.replace("\n[pgbouncer]", " user=postgres\n[pgbouncer]");
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new("pgbouncer");
        command.arg("-q").arg(&file).stdin(Stdio::null()).stderr(Stdio::null());
        if std::os::unix::fs::MetadataExt::uid(&folder.path().metadata().unwrap()) == 0 {
            // It does not run as root either.
            command.args(["-u", "postgres"]);
            let opened = Command::new("chown").args(["-R", "postgres"]).arg(folder.path()).status();
            assert!(opened.unwrap().success());
        }
        let process = command.spawn().expect("pgbouncer is installed: ./test does it");
        until("pgbouncer listens", async || TcpStream::connect(("127.0.0.1", port)).await.ok())
            .await;
        Self { process, port, _folder: folder }
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_swallows_notifications_is_named_and_one_that_does_not_is_welcome() {
    let db = Database::migrated().await;
    db.batch_execute(TABLE).await;
    let bouncer = Bouncer::start("transaction").await;
    let listen = format!("database.listen_url = \"{}\"\n{OPEN}", bouncer.url(db.name()));
    let error = Daemon::start(&World::config(db.url(), &listen), None).await.err();
    let error = error.expect("nothing would be heard").to_string();
    assert!(error.contains("PgBouncer") && error.contains("database.listen_url"), "{error}");
    drop(bouncer);

    let bouncer = Bouncer::start("session").await;
    let listen = format!("database.listen_url = \"{}\"\n{OPEN}", bouncer.url(db.name()));
    let url = db.url().to_owned();
    let world = World::at(db, &url, &listen).await;
    let mut client = world.subscriber("ana", &["items"]).await;
    world.sql("insert into item values (1)").await;
    assert_eq!(until_row(&mut client, 1).await.0, [1]);
    world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_idle_nodes_both_sleep_and_both_hear_of_a_write() {
    let world = World::after(TABLE).await;
    let node = world.another_node().await;
    let session = world.db.client().await;
    let mut here = world.subscriber("ana", &["items"]).await;
    let mut there = world.client_of(&node, "ana").await;
    there.subscribe("items").await;
    for row in 1..=5 {
        wait_until_asleep(&session).await;
        world.sql(&format!("insert into item values ({row})")).await;
        assert_eq!(until_row(&mut here, row).await.0, [row]);
        assert_eq!(until_row(&mut there, row).await.0, [row]);
    }
    // Whoever holds the lock goes, and the other takes it.
    node.stop().await;
    wait_until_asleep(&session).await;
    world.sql("insert into item values (6)").await;
    assert_eq!(until_row(&mut here, 6).await.0, [6]);
    world.daemon.stop().await;
}

/// One node holds the lock, and the log was not read for longer than any node that is awake would wait.
async fn wait_until_asleep(session: &tokio_postgres::Client) {
    let asleep = "
        select exists (select from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock' and granted
                          and database = (select oid from pg_database where datname = current_database()))
           and coalesce(max(query_start) < clock_timestamp() - interval '100 ms', false)
          from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()
           and (query like '%pg_current_snapshot%' or query like '%from rowcast.watched%')";
    until_true(session, "all are asleep", asleep).await;
}

//! A daemon that may have few file descriptors keeps enough of them for everything that is no client.

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use rowcast::auth::{Minter, Request};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::DEADLINE;
use crate::harness::{Client, Database, OPEN, Supervisor, World};

/// Soft and hard limit of the daemon.
const LIMIT: usize = 200;

/// 200 less 64 for what is no client and 64 for those who are being told to come back.
const ROOM: usize = 72;

struct Process {
    child: Child,
    public: SocketAddr,
    private: SocketAddr,
    log: tempfile::NamedTempFile,
    _config: tempfile::NamedTempFile,
}

impl Process {
    async fn start(db: &Database) -> Self {
        let (public, private) = (free_address(), free_address());
        let config = tempfile::NamedTempFile::new().unwrap();
        let server = format!("[server]\nlisten = \"{public}\"\nprivate_listen = \"{private}\"\n");
        let server = format!("{server}[limits]\nconnections_per_user = 1000\n");
        std::fs::write(config.path(), format!("{OPEN}\n{server}")).unwrap();
        let (log, supervisor) = (tempfile::NamedTempFile::new().unwrap(), Supervisor::new());
        let child = Command::new("sh")
            .args(["-c", &format!(r#"ulimit -n {LIMIT} && exec "$0" "$@""#)])
            .args([env!("CARGO_BIN_EXE_rowcast"), "serve", "--config"])
            .arg(config.path())
            .env("DATABASE_URL", db.url())
            .env("ROWCAST_JWT_SECRET", SECRET)
            .env("NOTIFY_SOCKET", supervisor.socket())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log.path()).unwrap())
            .spawn()
            .unwrap();
        let process = Self { child, public, private, log, _config: config };
        assert!(supervisor.hears_ready().await, "not ready in time: {}", process.log());
        process
    }

    async fn readiness(&self) -> String {
        let mut socket = TcpStream::connect(self.private).await.unwrap();
        let request = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        socket.write_all(request).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn log(&self) -> String {
        let mut text = String::new();
        File::open(self.log.path()).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The key of the test's tokens.
const SECRET: &str = "a secret of the tests, 32 bytes or more";

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_comes_back_and_health_answers_while_clients_hold_all_the_rest() {
    let db = Database::migrated().await;
    db.batch_execute("create table item (id int); select rowcast.watch('item', array['items'])")
        .await;
    let daemon = Process::start(&db).await;
    let token = token(&db);
    let mut good = Client::connect(daemon.public, Some(&token)).await;
    assert_eq!(good.next().await["type"], "welcome");
    good.subscribe("items").await;

    // More than there is room for: the others are told so, or wait to be.
    let mut crowd = Vec::new();
    for _ in 0..2 * LIMIT {
        crowd.push(TcpStream::connect(daemon.public).await.unwrap());
    }
    let mut clients = Vec::new();
    while let Ok(client) = Client::try_connect(daemon.public, "", &bearer(&token)).await {
        clients.push(client);
    }
    drop(crowd);
    let more = async {
        while clients.len() + 1 < ROOM {
            clients.extend(Client::try_connect(daemon.public, "", &bearer(&token)).await.ok());
        }
    };
    timeout(DEADLINE, more).await.expect("as many as there is room for");
    assert!(Client::try_connect(daemon.public, "", &bearer(&token)).await.is_err(), "one too many");
    assert!(daemon.descriptors() <= LIMIT - 64, "{}", daemon.descriptors());

    for _ in 0..3 {
        let session = db.client().await;
        let ours = "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity
                     where datname = current_database() and pid <> pg_backend_pid()";
        let ended: i64 = session.query_one(ours, &[]).await.unwrap().get(0);
        assert!(ended > 0, "the daemon has no connection to lose");
        session.batch_execute("insert into item values (1)").await.unwrap();
        // It may be back before the row is there.
        let (mut has_change, mut is_back) = (false, false);
        while !(has_change && is_back) {
            let message = good.next().await;
            has_change |= message["channel"] == "items";
            is_back |= message["event"] == "recovered";
        }
        let answer = daemon.readiness().await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    good.send(json!({ "type": "ping" })).await;
    good.skip_to(|message| message["type"] == "pong").await;
    let log = daemon.log();
    for part in ["fewer connections than limits.connections", "72", "100000", "200"] {
        assert!(log.contains(part), "{part} is missing in {log}");
    }
    assert!(!log.contains("Too many open files"), "{log}");
}

fn token(db: &Database) -> String {
    let minter = Minter::new(&World::config(db.url(), OPEN).auth).unwrap();
    let request = Request {
        user: "ana".to_owned(),
        role: None,
        claims: Vec::new(),
        ttl: Duration::from_secs(600),
    };
    minter.sign(request, SystemTime::now()).unwrap()
}

fn bearer(token: &str) -> [(&'static str, String); 1] {
    [("authorization", format!("Bearer {token}"))]
}

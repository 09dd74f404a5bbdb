//! `rowcast tail`, as it is shipped, over restarts of the daemon.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rowcast::app::Daemon;
use serde_json::Value;

use crate::harness::{OPEN, World};

struct Tail(Child);

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_printed_once_over_restarts_of_the_daemon() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let db = crate::harness::Database::migrated().await;
    let mut config = World::config(db.url(), OPEN);
    config.server.listen = address;
    let mut daemon = Daemon::start(&config, None).await.unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_rowcast"))
        .args(["tail", "a:*", "b", "--url", &format!("ws://{address}/v1/ws")])
        .args(["--token", &token(&config)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut talk = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let _tail = Tail(child);
    for _ in 0..2 {
        assert!(talk.next().unwrap().unwrap().starts_with("following "));
    }
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let mut number = 0;
    for _ in 0..3 {
        for channel in ["a:1", "b", "a:2"] {
            number += 1;
            db.batch_execute(&format!("select rowcast.emit('{channel}', 'n', '{number}')")).await;
            let change = next();
            assert_eq!((&change["channel"], &change["row"]), (&channel.into(), &number.into()));
        }
        daemon.stop().await;
        // While nobody is there.
        number += 1;
        db.batch_execute(&format!("select rowcast.emit('a:1', 'n', '{number}')")).await;
        daemon = Daemon::start(&config, None).await.unwrap();
        assert_eq!(next()["row"], number);
    }
    daemon.stop().await;
}

fn token(config: &rowcast::config::Config) -> String {
    let request = rowcast::auth::Request {
        user: "ana".to_owned(),
        role: None,
        claims: Vec::new(),
        ttl: std::time::Duration::from_secs(600),
    };
    let minter = rowcast::auth::Minter::new(&config.auth).unwrap();
    minter.sign(request, std::time::SystemTime::now()).unwrap()
}

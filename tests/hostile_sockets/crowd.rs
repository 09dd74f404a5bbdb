//! As many connections as this process may have, none of which does anything.

use std::time::Duration;

use rowcast::transport::accept::Limits;
use rustix::process::{Resource, getrlimit};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::clients::{DEADLINE, GoodClient, raw};
use crate::echo_server::{EchoServer, PATIENT};
use crate::raise_descriptor_limit;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_that_do_nothing_are_ended_and_cost_little() {
    raise_descriptor_limit();
    let limits = Limits { header_timeout: Duration::from_secs(15), ..PATIENT };
    let server = EchoServer::start(limits);
    let mut good = GoodClient::connect(server.address).await;
    let before = resident_kib();
    let mut crowd = Vec::new();
    for _ in 0..size() {
        crowd.push(raw(server.address).await);
    }
    assert_eq!(good.ask("still there?").await, "still there?");
    let each = (resident_kib() - before).max(0) * 1024 / i64::try_from(crowd.len()).unwrap();
    println!("{} connections, {each} bytes of memory each, both ends together", crowd.len());
    assert!(each < 64 * 1024, "{each} bytes for a connection that does nothing");
    for mut socket in crowd {
        let ended = timeout(DEADLINE, socket.read(&mut [0; 1])).await.expect("an end in time");
        assert!(matches!(ended, Ok(0) | Err(_)));
    }
    assert_eq!(good.ask("and now?").await, "and now?");
}

/// Both ends of each are in this process, and other tests need some too.
fn size() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit.saturating_sub(8_000) / 2).unwrap().clamp(500, 9_900)
}

fn resident_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

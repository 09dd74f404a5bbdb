//! From the start to the end of one process, as its service manager hears it.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rowcast::postgres::migrations::migrate;
use rowcast::postgres::scratch::{ScratchCluster, ScratchOptions, StopMode};
use tokio::time::timeout;

use super::node::{Node, Said};
use super::proxy::{Fault, Proxy};
use super::visitor::{Visitor, status_of};
use super::writers::connect;

async fn database() -> ScratchCluster {
    let options = ScratchOptions { tcp: true, ..ScratchOptions::default() };
    let cluster = ScratchCluster::start(options).await.expect("a server can be started");
    let mut admin = connect(&cluster.url("postgres")).await.expect("the server runs");
    migrate(&mut admin).await.expect("a fresh database can be migrated");
    cluster
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn is_ping(said: &Said) -> bool {
    said.is("WATCHDOG=1")
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_is_said_once_the_database_is_there_and_whoever_connects_before_waits() {
    let (cluster, folder) = (database().await, folder());
    cluster.shut_down(StopMode::Fast).await.expect("it runs");
    let mut node = Node::new(folder.path(), "node", &cluster.tcp_url("postgres"), "");
    node.spawn();
    let waits = |said: &Said| said.text.contains("STATUS=waiting for postgres@127.0.0.1:");
    let (waiting, _) = node.hear(0, waits).await;
    assert!(waiting.text.contains("EXTEND_TIMEOUT_USEC="), "{waiting:?}");
    assert_eq!(status_of(node.private_address(), "/readyz").await, 503);
    let early = tokio::spawn(Visitor::connect(node.address()));
    let (_, told) = node.hear(node.reports(), waits).await;
    let before = node.reports_since(0);
    assert!(!before[..told].iter().any(|said| said.is("READY=1")), "{before:#?}");
    assert!(!early.is_finished(), "nobody lets clients in before the log was read");
    cluster.start_again().await.expect("it was shut down");
    let (ready, _) = node.hear(0, |said| said.is("READY=1")).await;
    assert!(ready.text.contains("STATUS=following postgres@127.0.0.1:"), "{ready:?}");
    timeout(Duration::from_secs(60), early).await.expect("in time").expect("let in");
    assert_eq!(status_of(node.private_address(), "/readyz").await, 200);
    assert_eq!(status_of(node.address(), "/readyz").await, 404, "it is on the private socket");
    let configured = SocketAddr::from(([127, 0, 0, 1], 1));
    assert!(tokio::net::TcpStream::connect(configured).await.is_err(), "server.listen is ignored");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_is_fed_in_time_also_while_the_database_is_silent() {
    let (cluster, folder) = (database().await, folder());
    let proxy = Proxy::to(SocketAddr::from(([127, 0, 0, 1], cluster.port()))).await;
    let url = format!("postgres://postgres@{}/postgres?connect_timeout=2", proxy.address());
    let watchdog = Duration::from_secs(4);
    let mut node = Node::new(folder.path(), "node", &url, "").with_watchdog(watchdog);
    node.start().await;
    let from = node.reports();
    node.hear(from, |said| said.text.contains("STATUS=following")).await;
    proxy.set(Fault::Stalled);
    let (_, away) = node.hear(from, |said| said.text.contains("STATUS=waiting for")).await;
    let (mut pings, began) = (away, Instant::now());
    // Longer than ingest may stand still while the database is there.
    while began.elapsed() < Duration::from_secs(20) {
        (_, pings) = node.hear(pings, is_ping).await;
    }
    proxy.set(Fault::None);
    node.hear(pings, |said| said.text.contains("STATUS=following")).await;
    let pings: Vec<_> = node.reports_since(from).into_iter().filter(is_ping).collect();
    let longest = pings.windows(2).map(|pair| pair[1].at - pair[0].at).max();
    assert!(longest < Some(watchdog), "a service manager would have ended it: {pings:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_daemon_does_not_feed_the_watchdog() {
    let (cluster, folder) = (database().await, folder());
    let watchdog = Duration::from_secs(2);
    let url = cluster.tcp_url("postgres");
    let mut node = Node::new(folder.path(), "node", &url, "").with_watchdog(watchdog);
    node.start().await;
    let (_, pings) = node.hear(0, is_ping).await;
    node.send("STOP");
    // What was under way when it was stopped.
    let from = match node.hear_within(pings, is_ping, watchdog / 2).await {
        Some((_, from)) => from,
        None => pings,
    };
    assert!(node.hear_within(from, is_ping, watchdog * 2).await.is_none(), "who sends these?");
    node.send("CONT");
    node.hear(from, is_ping).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_announced_and_done_and_drops_nobody() {
    let (cluster, folder) = (database().await, folder());
    let mut node = Node::new(folder.path(), "node", &cluster.tcp_url("postgres"), "");
    node.start().await;
    let mut visitor = Visitor::connect(node.address()).await;
    for is_good in [true, false] {
        if !is_good {
            let mut file = std::fs::File::options().append(true).open(node.config()).unwrap();
            file.write_all(b"nonsense = true\n").unwrap();
        }
        let from = node.reports();
        node.send("HUP");
        let (reloading, behind) = node.hear(from, |said| said.is("RELOADING=1")).await;
        assert!(reloading.text.contains("\nMONOTONIC_USEC="), "{reloading:?}");
        node.hear(behind, |said| said.is("READY=1")).await;
        let complains = node.said().contains("not reloaded");
        assert_eq!(complains, !is_good, "{}", node.said());
    }
    assert!(node.said().contains("nonsense"), "it says what is wrong: {}", node.said());
    node.send("TERM");
    assert_eq!(u16::from(visitor.farewell().await.1.code), 1012, "the connection lasted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sends_everybody_away_with_a_time_of_their_own_to_come_back() {
    let (cluster, folder) = (database().await, folder());
    let mut node = Node::new(folder.path(), "node", &cluster.tcp_url("postgres"), "");
    node.start().await;
    let mut visitors = Vec::new();
    for _ in 0..50 {
        visitors.push(Visitor::connect(node.address()).await);
    }
    let (from, began) = (node.reports(), Instant::now());
    node.send("TERM");
    let (stopping, _) = node.hear(from, |said| said.is("STOPPING=1")).await;
    assert!(stopping.text.contains("EXTEND_TIMEOUT_USEC="), "{stopping:?}");
    let mut times = BTreeSet::new();
    for visitor in &mut visitors {
        let (told, close) = visitor.farewell().await;
        assert!(told.iter().any(|text| text.contains("\"draining\"")), "{told:?}");
        let time = close.reason.strip_prefix("server restarts; retry_after_ms=");
        times.insert(time.and_then(|time| time.parse::<u32>().ok()).expect("a time"));
    }
    assert_eq!(times, (0..10).collect(), "fifty clients in ten milliseconds");
    drop(visitors);
    assert!(node.ended().await.success(), "{}", node.said());
    assert!(began.elapsed() < Duration::from_secs(10), "systemd's patience may be no longer");
    let after = node.reports_since(from);
    assert!(!after.iter().any(|said| said.is("READY=1")), "{after:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_answers_does_not_hold_up_the_stop() {
    let (cluster, folder) = (database().await, folder());
    let mut node = Node::new(folder.path(), "node", &cluster.tcp_url("postgres"), "");
    node.start().await;
    let deaf = Visitor::connect(node.address()).await;
    let began = Instant::now();
    node.send("TERM");
    assert!(node.ended().await.success(), "{}", node.said());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(deaf);
}

//! What `/metrics` says, while real clients do real things.

use std::collections::HashMap;
use std::net::SocketAddr;

use rowcast::app::Daemon;
use rowcast::postgres::migrations::migrate;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Database, OPEN, World, until};

/// Each series and its value.
struct Metrics(HashMap<String, String>);

impl Metrics {
    async fn of(address: SocketAddr) -> Self {
        let answer = ask(address, "/metrics").await.unwrap();
        assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let series = body.lines().filter(|line| line.starts_with("rowcast_")).map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.to_owned())
        });
        Self(series.collect())
    }

    /// The metrics once this holds: what is counted behind a write is there a moment later.
    async fn once(address: SocketAddr, what: &str, holds: impl Fn(&Self) -> bool) -> Self {
        until(what, async || Some(Self::of(address).await).filter(|metrics| holds(metrics))).await
    }

    fn get(&self, series: &str) -> i64 {
        self.text(series).parse().unwrap()
    }

    fn text(&self, series: &str) -> &str {
        self.0.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.0.keys()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted() {
    let world = World::with(OPEN).await;
    let address = world.daemon.address();
    let mut client = world.subscriber("ana", &["a", "b"]).await;
    world.sql("select rowcast.emit('a', 'x', '1')").await;
    let id = client.changes(1).await[0]["id"].clone();
    let refused = json!({ "type": "subscribe", "channel": "user:ben" });
    assert_eq!(client.ask(refused).await["code"], "forbidden");
    client.ask(json!({ "type": "subscribe", "channel": "a", "after": id })).await;
    let lost =
        client.ask(json!({ "type": "subscribe", "channel": "b", "after": "nonsense" })).await;
    assert_eq!(lost["recovered"], false);
    world.sql("select rowcast.revoke(jti => 'nobody')").await;

    let counted = |metrics: &Metrics| {
        metrics.get("rowcast_rights_changed_total") == 1
            && metrics.get("rowcast_event_delivery_age_seconds_count") == 1
            && metrics.0.contains_key("rowcast_resumes_total{outcome=\"recovered\"}")
    };
    let metrics = Metrics::once(address, "all is counted", counted).await;
    for (series, value) in [
        ("rowcast_connections{transport=\"websocket\"}", 1),
        ("rowcast_connections_opened_total{transport=\"websocket\"}", 1),
        ("rowcast_subscribers", 1),
        ("rowcast_subscriptions", 2),
        ("rowcast_events_read_total{source=\"log\"}", 1),
        ("rowcast_event_read_age_seconds_count", 1),
        ("rowcast_deliveries_total", 1),
        ("rowcast_writes_total", 1),
        ("rowcast_refused_total{reason=\"forbidden\"}", 1),
        ("rowcast_refused_total{reason=\"credential\"}", 0),
        ("rowcast_resumes_total{outcome=\"recovered\"}", 1),
        ("rowcast_resumes_total{outcome=\"bad_position\"}", 1),
        ("rowcast_listening", 1),
        ("rowcast_database_lost_total", 0),
        ("rowcast_queued_bytes", 0),
    ] {
        assert_eq!(metrics.get(series), value, "{series}");
    }
    let modes = ["awake", "asleep", "beside"]
        .map(|mode| metrics.get(&format!("rowcast_reader_mode{{mode=\"{mode}\"}}")));
    assert_eq!(modes.iter().sum::<i64>(), 1);
    // Measured with each round of retention.
    let measured = |metrics: &Metrics| metrics.get("rowcast_log_bytes") > 0;
    let metrics = Metrics::once(address, "the log is measured", measured).await;
    let usage: f64 = metrics.text("rowcast_notification_queue_usage_ratio").parse().unwrap();
    assert!((0.0..0.5).contains(&usage));

    let end = "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid()";
    world.sql(end).await;
    let back = |metrics: &Metrics| {
        metrics.get("rowcast_database_lost_total") >= 1 && metrics.get("rowcast_listening") == 1
    };
    Metrics::once(address, "the daemon is back", back).await;
    drop(client);
    let left = |m: &Metrics| m.get("rowcast_connections{transport=\"websocket\"}") == 0;
    Metrics::once(address, "nobody is connected", left).await;
    world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_private_address_nothing_is_told_on_the_public_one() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let private = free.local_addr().unwrap();
    drop(free);
    let settings = format!("{OPEN}\nserver.private_listen = \"{private}\"");
    let world = World::with(&settings).await;
    for path in ["/metrics", "/readyz", "/healthz"] {
        let answer = ask(world.daemon.address(), path).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
    assert_eq!(Metrics::of(private).await.get("rowcast_listening"), 1);
    world.daemon.stop().await;
}

/// Who asks whether to send clients here is told that they are on their way out.
#[tokio::test(flavor = "multi_thread")]
async fn the_private_address_says_draining_until_everybody_has_left() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let private = free.local_addr().unwrap();
    drop(free);
    let settings = format!("{OPEN}\nserver.private_listen = \"{private}\"");
    let world = World::with(&settings).await;
    // Its socket is held open, and it never answers a close.
    let mut lingering = world.client("ana").await;
    let stopping = tokio::spawn(world.daemon.stop());
    lingering.skip_to(|message| message["event"] == "draining").await;
    let answer = ask(private, "/readyz").await.expect("it is there until the end");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("draining"), "{answer}");
    stopping.await.unwrap();
    drop(lingering);
    assert!(ask(private, "/readyz").await.is_err());
}

async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_is_told_that_the_schema_is_missing_and_the_daemon_goes_on_once_it_is_there() {
    let db = Database::empty().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let private = free.local_addr().unwrap();
    drop(free);
    let settings = format!("{OPEN}\nserver.private_listen = \"{private}\"");
    let config = World::config(db.url(), &settings);
    let starting = tokio::spawn(async move { Daemon::start(&config, None).await });
    until("it says that the schema is missing", async || {
        let answer = ask(private, "/readyz").await.unwrap_or_default();
        answer.contains("rowcast migrate").then_some(())
    })
    .await;
    migrate(&mut db.client().await).await.unwrap();
    starting.await.unwrap().unwrap().stop().await;
}

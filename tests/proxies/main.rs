//! The daemon behind nginx and Caddy and before Prometheus, with the files of `contrib/` as they are shipped but for
//! their marked lines.
//!
//! Needs these programs: `./test` fetches them. A test without its program fails and says so.

#[path = "../integration/harness/mod.rs"]
mod harness;

mod caddy;
#[path = "../documents/fetch.rs"]
mod fetch;
mod front;
mod nginx;
mod prometheus;
#[path = "../documents/tools.rs"]
mod tools;
mod way;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use futures_util::SinkExt;
use harness::{OPEN, World};
use rowcast::auth::{Minter, Request};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use front::Front;
use way::{Refusal, Way};

/// A daemon that believes the proxies of this machine; other addresses of it are clients.
fn settings(limits: &str) -> String {
    format!("{OPEN}\n[server]\ntrusted_proxies = [\"127.0.0.1\"]\n[limits]\n{limits}\n")
}

async fn a_page_follows_a_channel(front: impl AsyncFn(&[SocketAddr]) -> Front) {
    let world = World::with(&settings("")).await;
    let front = front(&[world.daemon.address()]).await;
    // A page of the host itself, as Chromium sends it: the token is a subprotocol.
    let origin = format!("https://{}", front.host());
    let token = world.token("ana");
    let page = Way::to(&front, "127.0.0.5")
        .with("origin", &origin)
        .with("sec-websocket-protocol", &format!("rowcast.v1, bearer.{token}"));
    let mut socket = page.admitted().await;
    assert_eq!(way::next(&mut socket).await["type"], "welcome");
    let subscribe = json!({ "type": "subscribe", "channel": "orders" });
    socket.send(Message::text(subscribe.to_string())).await.unwrap();
    assert_eq!(way::next(&mut socket).await["type"], "ok");
    for n in 0..20 {
        world.sql(&format!("select rowcast.emit('orders', 'n', '{n}')")).await;
        assert_eq!(way::next(&mut socket).await["row"], n);
    }
    let elsewhere = Way::to(&front, "127.0.0.5")
        .with("origin", "https://evil.example")
        .with("sec-websocket-protocol", &format!("rowcast.v1, bearer.{token}"));
    assert_eq!(elsewhere.refused().await.status(), 403);
    // What is not about a WebSocket goes through as well, and so does the largest token.
    let ticket = Way::to(&front, "127.0.0.5").with("authorization", &format!("Bearer {token}"));
    let (status, body) = ticket.request("POST", "/v1/tickets").await;
    assert_eq!(status, 200, "{body}");
    let ticket: Value = serde_json::from_str(&body).unwrap();
    let url = format!("/v1/ws?token={}", ticket["ticket"].as_str().unwrap());
    Way::to(&front, "127.0.0.5").at(&url).admitted().await;
    let large = format!("rowcast.v1, bearer.{}", largest_token(&world));
    Way::to(&front, "127.0.0.5").with("sec-websocket-protocol", &large).admitted().await;
}

/// Of the 8 KiB that it may have.
fn largest_token(world: &World) -> String {
    let tokens = (5_800..).map(|size| world.sign("ana", &[("filler", "x".repeat(size).into())]));
    let largest = tokens.take_while(|token| token.len() <= 8_192).last();
    largest.expect("the first of them has less")
}

async fn each_client_is_counted_by_its_own_address(front: impl AsyncFn(&[SocketAddr]) -> Front) {
    let world = World::with(&settings("connections_per_address = 1")).await;
    let front = front(&[world.daemon.address()]).await;
    let bearer = format!("Bearer {}", world.token("ana"));
    let from = |source| Way::to(&front, source).with("authorization", &bearer);
    let _first = from("127.0.0.5").admitted().await;
    is_one_too_many(&from("127.0.0.5").refused().await);
    for made_up in ["9.9.9.9", "9.9.9.9, 127.0.0.1", "127.0.0.1", "unknown"] {
        let spoofed = from("127.0.0.5").with("x-forwarded-for", made_up);
        is_one_too_many(&spoofed.refused().await);
    }
    let _other = from("127.0.0.6").admitted().await;
    // Whoever was named in vain has its own share still.
    let _named = from("127.0.0.9").with("x-forwarded-for", "127.0.0.6").admitted().await;
}

#[track_caller]
fn is_one_too_many(refusal: &Refusal) {
    assert_eq!(refusal.status(), 429, "{refusal:?}");
    assert!(refusal.headers().contains_key("retry-after"), "{refusal:?}");
}

async fn what_is_the_operators_is_not_public(front: impl AsyncFn(&[SocketAddr]) -> Front) {
    let world = World::with(&settings("")).await;
    let front = front(&[world.daemon.address()]).await;
    let hidden = [
        "/metrics",
        "/readyz",
        "/healthz",
        "/",
        "//metrics",
        "/v1/../metrics",
        "/v1/..%2fmetrics",
        "/v1/%2e%2e/metrics",
        "/v1//../metrics",
        "/v1/./../metrics?",
    ];
    for path in hidden {
        let (status, body) = Way::to(&front, "127.0.0.5").request("GET", path).await;
        assert!([400, 404].contains(&status), "{path}: {status} {body}");
        assert!(!body.contains("rowcast_"), "{path}: {body}");
    }
    let (status, _) = Way::to(&front, "127.0.0.5").request("GET", "/v1/ws").await;
    assert_eq!(status, 426, "what is below /v1 reaches the daemon");
}

async fn no_token_is_in_any_log(front: impl AsyncFn(&[SocketAddr]) -> Front) {
    let world = World::with(&settings("")).await;
    let front = front(&[world.daemon.address()]).await;
    let token = world.token("ana");
    let in_url = Way::to(&front, "127.0.0.5").at(&format!("/v1/ws?token={token}"));
    in_url.admitted().await;
    let offered = format!("rowcast.v1, bearer.{token}");
    let in_subprotocol = || Way::to(&front, "127.0.0.5").with("sec-websocket-protocol", &offered);
    in_subprotocol().admitted().await;
    let bearer = format!("Bearer {token}");
    let in_header = || Way::to(&front, "127.0.0.5").with("authorization", &bearer);
    in_header().admitted().await;
    world.daemon.stop().await;
    // A daemon that is away is an error, and errors have a log of their own.
    for way in [in_url, in_subprotocol(), in_header()] {
        let status = way.refused().await.status().as_u16();
        assert!([502, 503].contains(&status), "{status}");
    }
    let logs = front.stop();
    assert!(logs.matches("/v1/ws").count() >= 6, "{logs}");
    assert!(logs.contains("127.0.0.5"), "{logs}");
    // The signature alone would do.
    let signature = token.rsplit('.').next().unwrap();
    assert!(!logs.contains(signature), "{logs}");
}

async fn a_node_that_goes_away_is_left_out(front: impl AsyncFn(&[SocketAddr]) -> Front) {
    let World { db, daemon, .. } = World::with(&settings("")).await;
    let settings = settings("");
    let second = World::on(db, &settings).await;
    let front = front(&[daemon.address(), second.daemon.address()]).await;
    let bearer = format!("Bearer {}", second.token("ana"));
    let client = || Way::to(&front, "127.0.0.5").with("authorization", &bearer);
    let before = (client().admitted().await, client().admitted().await);
    daemon.stop().await;
    drop(before);
    for _ in 0..6 {
        let mut socket = client().admitted().await;
        assert_eq!(way::next(&mut socket).await["type"], "welcome");
    }
}

fn long_token(world: &World) -> String {
    let config = World::config(world.db.url(), &settings(""));
    let (user, ttl) = ("ana".to_owned(), Duration::from_secs(600));
    let request = Request { user, role: None, claims: Vec::new(), ttl };
    Minter::new(&config.auth).unwrap().sign(request, SystemTime::now()).unwrap()
}

/// Longer than any timeout of the files, with nothing but the daemon's pings on the line.
async fn a_quiet_connection_stays(front: impl AsyncFn(&[SocketAddr]) -> Front) {
    let world = World::with(&settings("")).await;
    let front = front(&[world.daemon.address()]).await;
    let bearer = format!("Bearer {}", world.token("ana"));
    let mut socket = Way::to(&front, "127.0.0.5").with("authorization", &bearer).admitted().await;
    assert_eq!(way::next(&mut socket).await["type"], "welcome");
    // The token's own end, after 60 s and its leeway, would be one.
    let token = long_token(&world);
    socket
        .send(Message::text(json!({ "type": "auth", "token": token }).to_string()))
        .await
        .unwrap();
    assert_eq!(way::next(&mut socket).await["type"], "ok");
    way::is_quiet_for(&mut socket, Duration::from_secs(110)).await;
    socket.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
    assert_eq!(way::next(&mut socket).await["type"], "pong");
}

/// Each proxy passes each of these.
macro_rules! behind {
    ($front:ident: $($test:ident),+ $(,)?) => {
        mod $front {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::super::$test(crate::$front::start).await;
                }
            )+

            #[tokio::test(flavor = "multi_thread")]
            #[ignore = "takes two minutes"]
            async fn a_quiet_connection_stays() {
                super::super::a_quiet_connection_stays(crate::$front::start).await;
            }
        }
    };
}

mod behind {
    behind!(nginx:
        a_page_follows_a_channel,
        each_client_is_counted_by_its_own_address,
        what_is_the_operators_is_not_public,
        no_token_is_in_any_log,
        a_node_that_goes_away_is_left_out,
    );
    behind!(caddy:
        a_page_follows_a_channel,
        each_client_is_counted_by_its_own_address,
        what_is_the_operators_is_not_public,
        no_token_is_in_any_log,
        a_node_that_goes_away_is_left_out,
    );
}

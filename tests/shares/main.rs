//! What one address, one user and one proxy's client may take, at the daemon as it is configured and run.

#[path = "../integration/harness/mod.rs"]
mod harness;

mod descriptors;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use harness::{Client, OPEN, World};
use rowcast::telemetry::refusals::Refused;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message, http};
use tokio_tungstenite::{WebSocketStream, client_async};

/// The whole configuration beside the database; `[limits]` and `[server]` are these.
fn settings(limits: &str, server: &str) -> String {
    format!("{OPEN}\n[limits]\n{limits}\n[server]\n{server}\n")
}

/// Somebody is named, so nobody else of this machine is exempt.
const SOMEBODY: &str = r#"trusted_proxies = ["192.0.2.1"]"#;

/// A proxy on this machine.
const LOCAL_PROXY: &str = r#"trusted_proxies = ["127.0.0.1", "10.0.0.0/8"]"#;

type Socket = WebSocketStream<TcpStream>;
type Refusal = http::Response<Option<Vec<u8>>>;

/// A way to connect.
struct Way<'a> {
    world: &'a World,
    source: &'static str,
    headers: Vec<(&'static str, String)>,
}

impl<'a> Way<'a> {
    fn to(world: &'a World) -> Self {
        Self { world, source: "127.0.0.1", headers: Vec::new() }
    }

    fn from(self, source: &'static str) -> Self {
        Self { source, ..self }
    }

    fn with(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((header, value.into()));
        self
    }

    fn user(self, user: &str) -> Self {
        let token = self.world.token(user);
        self.with("authorization", format!("Bearer {token}"))
    }

    async fn tcp(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(self.source.parse::<IpAddr>().unwrap(), 0)).unwrap();
        socket.connect(self.world.daemon.address()).await.unwrap()
    }

    async fn open(&self) -> Result<Socket, Refusal> {
        let address = self.world.daemon.address();
        let mut request = format!("ws://{address}/v1/ws").into_client_request().unwrap();
        for (name, value) in &self.headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        match timeout(DEADLINE, client_async(request, self.tcp().await)).await.expect("in time") {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(refusal)) => Err(*refusal),
            Err(error) => panic!("{error}"),
        }
    }

    async fn admitted(&self) -> Socket {
        match self.open().await {
            Ok(socket) => socket,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    async fn refused(&self) -> Refusal {
        match self.open().await {
            Ok(_) => panic!("let in"),
            Err(refusal) => refusal,
        }
    }

    /// Comes back until there is a seat.
    async fn admitted_at_last(&self) -> Socket {
        let trying = async {
            loop {
                if let Ok(socket) = self.open().await {
                    return socket;
                }
            }
        };
        timeout(DEADLINE, trying).await.expect("a free seat in time")
    }
}

/// Refused with this status and code, and told when to come back.
#[track_caller]
fn is_told_to_come_back(refusal: &Refusal, status: u16, code: &str) -> u64 {
    let body = refusal.body().clone().unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{refusal:?}"));
    assert_eq!((refusal.status().as_u16(), &body["error"]["code"]), (status, &json!(code)));
    let wait = body["error"]["retry_after_ms"].as_u64().expect("a time to wait");
    let seconds: u64 = refusal.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(wait > 0 && seconds == wait.div_ceil(1000), "{wait} ms and {seconds} s");
    wait
}

/// What the daemon says to these bytes until it closes.
async fn exchange(way: &Way<'_>, bytes: &[u8]) -> String {
    let mut socket = way.tcp().await;
    let _ = socket.write_all(bytes).await;
    let mut read = Vec::new();
    let _ = timeout(DEADLINE, socket.read_to_end(&mut read)).await.expect("an end in time");
    String::from_utf8(read).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_so_many_connections_and_a_free_one_can_be_taken_again() {
    let world = World::with(&settings("connections_per_user = 2", "")).await;
    let ana = Way::to(&world).user("ana");
    let (first, _second) = (ana.admitted().await, ana.admitted().await);
    is_told_to_come_back(&ana.refused().await, 429, "rate_limited");
    assert_eq!(world.daemon.observer().refused(Refused::ConnectionsPerUser), 1);
    assert_eq!(world.daemon.observer().refused(Refused::ConnectionsPerAddress), 0);
    let mut good = world.client("ben").await;
    assert_eq!(
        good.ask(json!({ "type": "ping" })).await["type"],
        "pong",
        "another user is not concerned"
    );
    drop(first);
    ana.admitted_at_last().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_named_by_the_first_message_is_counted_too() {
    let world = World::with(&settings("connections_per_user = 1", "")).await;
    let auth = json!({ "type": "auth", "token": world.token("ana") });
    let mut first = Client::connect(world.daemon.address(), None).await;
    assert_eq!(first.ask(auth.clone()).await["type"], "welcome");
    assert_eq!(first.next().await["type"], "ok");
    // The same token again is no second connection.
    assert_eq!(first.ask(auth.clone()).await["type"], "ok");

    let mut second = Client::connect(world.daemon.address(), None).await;
    second.send(auth.clone()).await;
    assert_eq!(second.close_code().await, 4429);
    assert_eq!(world.daemon.observer().refused(Refused::ConnectionsPerUser), 1);
    is_told_to_come_back(&Way::to(&world).user("ana").refused().await, 429, "rate_limited");
    assert_eq!(first.ask(json!({ "type": "ping" })).await["type"], "pong");
    drop(first);
    Way::to(&world).user("ana").admitted_at_last().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_name_themselves_at_once_do_not_share_the_last_seat() {
    let world = World::with(&settings("connections_per_user = 5", "")).await;
    let auth = Message::text(json!({ "type": "auth", "token": world.token("ana") }).to_string());
    let mut crowd = Vec::new();
    for _ in 0..40 {
        crowd.push(Way::to(&world).admitted().await);
    }
    let outcomes = crowd.iter_mut().map(async |socket| {
        futures_util::SinkExt::send(socket, auth.clone()).await.unwrap();
        match timeout(DEADLINE, socket.next()).await.expect("in time") {
            Some(Ok(Message::Text(_))) => 1,
            Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == 4429 => 0,
            other => panic!("{other:?}"),
        }
    });
    let admitted: usize = futures_util::future::join_all(outcomes).await.into_iter().sum();
    assert_eq!(admitted, 5);
    assert_eq!(world.daemon.observer().refused(Refused::ConnectionsPerUser), 35);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections() {
    let world = World::with(&settings("connections_per_address = 2", SOMEBODY)).await;
    let way = || Way::to(&world);
    let first = way().user("ana").admitted().await;
    let _second = way().user("ben").admitted().await;
    is_told_to_come_back(&way().user("eve").refused().await, 429, "rate_limited");
    assert_eq!(world.daemon.observer().refused(Refused::ConnectionsPerAddress), 1);
    way().user("eve").from("127.0.0.2").admitted().await;
    drop(first);
    way().user("eve").admitted_at_last().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_attempts() {
    let world = World::with(&settings("connect_attempts_per_minute = 2", SOMEBODY)).await;
    let way = || Way::to(&world).user("ana");
    let _open = (way().admitted().await, way().admitted().await);
    let wait = is_told_to_come_back(&way().refused().await, 429, "rate_limited");
    assert!(wait <= 30_000, "half a minute brings the next one: {wait}");
    assert_eq!(world.daemon.observer().refused(Refused::Attempts), 1);
    way().from("127.0.0.2").admitted().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_this_machine_that_nobody_named_is_not_taken_for_one_client() {
    let few = "connections_per_address = 1\nconnect_attempts_per_minute = 1";
    let world = World::with(&settings(few, "")).await;
    let way = || Way::to(&world).user("ana");
    let _all = (way().admitted().await, way().admitted().await, way().admitted().await);
    assert_eq!(Refused::ALL.map(|what| world.daemon.observer().refused(what)), [0; 11]);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_in_all_are_bounded_and_the_refusal_says_so() {
    let world = World::with(&settings("connections = 1", "")).await;
    let first = Way::to(&world).user("ana").admitted().await;
    is_told_to_come_back(&Way::to(&world).user("ben").refused().await, 503, "unavailable");
    assert_eq!(world.daemon.observer().refused(Refused::Connections), 1);
    drop(first);
    Way::to(&world).user("ben").admitted_at_last().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_its_clients_are_counted_and_what_they_claim_is_not_believed() {
    let world = World::with(&settings("connections_per_address = 1", LOCAL_PROXY)).await;
    let client = |forwarded: &str| Way::to(&world).user("ana").with("x-forwarded-for", forwarded);
    let first = client("198.51.100.7").admitted().await;
    let again = client("1.2.3.4, 198.51.100.7").refused().await;
    is_told_to_come_back(&again, 429, "rate_limited");
    // Through a second proxy, and on two lines.
    let chain = client("198.51.100.7, 10.0.0.9").refused().await;
    is_told_to_come_back(&chain, 429, "rate_limited");
    let lines = client("6.6.6.6").with("x-forwarded-for", "198.51.100.7,10.0.0.9");
    is_told_to_come_back(&lines.refused().await, 429, "rate_limited");
    assert_eq!(world.daemon.observer().refused(Refused::ConnectionsPerAddress), 3);

    let _other = client("198.51.100.8").admitted().await;
    let _network = client("2001:db8:0:1::7").admitted().await;
    is_told_to_come_back(&client("2001:db8:0:1::8").refused().await, 429, "rate_limited");
    let _odd = (client("unknown").admitted().await, client("unknown").admitted().await);
    drop(first);
    client("198.51.100.7").admitted_at_last().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_each_request_of_a_client_is_an_attempt() {
    let world = World::with(&settings("connect_attempts_per_minute = 2", LOCAL_PROXY)).await;
    let client = |forwarded: &str| Way::to(&world).user("ana").with("x-forwarded-for", forwarded);
    let _open = (client("198.51.100.7").admitted().await, client("198.51.100.7").admitted().await);
    let refused = client("198.51.100.7").refused().await;
    is_told_to_come_back(&refused, 429, "rate_limited");
    assert_eq!(world.daemon.observer().refused(Refused::Attempts), 1);
    client("198.51.100.8").admitted().await;
    // The proxy's own health checks, over one connection and over many.
    let health = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(9);
    let health = health + "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for _ in 0..3 {
        let answers = exchange(&Way::to(&world), health.as_bytes()).await;
        assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 10, "{answers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_untrusted_peer_says_of_its_address_changes_nothing() {
    let world = World::with(&settings("connections_per_address = 2", SOMEBODY)).await;
    let claiming = |forwarded: &str| Way::to(&world).user("ana").with("x-forwarded-for", forwarded);
    let _open = (claiming("1.1.1.1").admitted().await, claiming("1.1.1.2").admitted().await);
    let refused = claiming("192.0.2.1").refused().await;
    is_told_to_come_back(&refused, 429, "rate_limited");
    // Nor does it take anything from whom it names.
    Way::to(&world).user("ana").from("127.0.0.3").admitted().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_header_and_a_forwarded_address_behind_it_are_one_chain() {
    let server = format!("{LOCAL_PROXY}\nproxy_protocol = true");
    let world = World::with(&settings("connect_attempts_per_minute = 2", &server)).await;
    let way = Way::to(&world);
    let request = |client: &str, forwarded: &str| {
        format!(
            "PROXY TCP4 {client} 10.0.0.1 4242 443\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\
             X-Forwarded-For: {forwarded}\r\nConnection: close\r\n\r\n"
        )
    };
    // The header names a client: what that says of others counts for nothing.
    for (n, status) in [(1, "200"), (2, "200"), (3, "429")] {
        let answer =
            exchange(&way, request("198.51.100.7", &format!("1.1.1.{n}")).as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
    }
    // The header names another proxy, which is believed in its turn.
    for (n, status) in [(1, "200"), (2, "200"), (3, "429")] {
        let answer =
            exchange(&way, request(&format!("10.0.0.{n}"), "198.51.100.8").as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
    }
    assert_eq!(world.daemon.observer().refused(Refused::Attempts), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_and_origins_are_counted() {
    let world = World::start().await;
    let bad = Way::to(&world).with("authorization", "Bearer nonsense").refused().await;
    assert_eq!(bad.status(), 401);
    let page = Way::to(&world).user("ana").with("origin", "https://evil.example").refused().await;
    assert_eq!(page.status(), 403);
    let counted =
        Refused::ALL.into_iter().filter(|what| world.daemon.observer().refused(*what) > 0);
    assert_eq!(counted.collect::<Vec<_>>(), [Refused::Credential, Refused::Origin]);
}

const DEADLINE: Duration = Duration::from_secs(30);

//! A daemon on a database of its own, and clients that speak to it over real sockets.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt};
use rowcast::app::Daemon;
use rowcast::auth::{Minter, Request};
use rowcast::config::{Config, Sources};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::Database;

pub struct World {
    pub db: Database,
    pub daemon: Daemon,
    config: Config,
}

impl World {
    /// A daemon that lets every user subscribe to everything but other users' own channels.
    pub async fn start() -> Self {
        Self::with(OPEN).await
    }

    /// The same, on a database in which this has been done before it starts.
    pub async fn after(sql: &str) -> Self {
        let db = Database::migrated().await;
        db.batch_execute(sql).await;
        Self::on(db, OPEN).await
    }

    /// A daemon with this configuration, beside the database and the key.
    pub async fn with(settings: &str) -> Self {
        Self::on(Database::migrated().await, settings).await
    }

    /// A daemon with this configuration on this database.
    pub async fn on(db: Database, settings: &str) -> Self {
        let url = db.url().to_owned();
        Self::at(db, &url, settings).await
    }

    /// The same, where the daemon takes a way of its own to the database.
    pub async fn at(db: Database, url: &str, settings: &str) -> Self {
        super::said::listen();
        let config = config(url, settings);
        let daemon = Daemon::start(&config, None).await.expect("the daemon starts");
        Self { db, daemon, config }
    }

    /// What such a daemon is configured with.
    pub fn config(url: &str, settings: &str) -> Config {
        config(url, settings)
    }

    /// Another node on the same database.
    pub async fn another_node(&self) -> Daemon {
        Daemon::start(&self.config, None).await.expect("the daemon starts")
    }

    pub fn token(&self, user: &str) -> String {
        self.sign(user, &[])
    }

    pub fn sign(&self, user: &str, claims: &[(&str, Value)]) -> String {
        let claims = claims.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let request = Request {
            user: user.to_owned(),
            role: None,
            claims: claims.collect(),
            ttl: Duration::from_secs(60),
        };
        let minter = Minter::new(&self.config.auth).expect("the test's key signs");
        let token = minter.sign(request, SystemTime::now()).expect("the claims can be signed");
        super::secret(&token);
        token
    }

    /// A welcomed client of this user.
    pub async fn client(&self, user: &str) -> Client {
        self.client_of(&self.daemon, user).await
    }

    /// The same at another node.
    pub async fn client_of(&self, daemon: &Daemon, user: &str) -> Client {
        let mut client = Client::connect(daemon.address(), Some(&self.token(user))).await;
        assert_eq!(client.next().await["type"], "welcome");
        client
    }

    /// `None` where the daemon has no seat.
    pub async fn try_client(&self, user: &str) -> Option<Client> {
        let headers = [("authorization", format!("Bearer {}", self.token(user)))];
        Client::try_connect(self.daemon.address(), "", &headers).await.ok()
    }

    /// The same, subscribed to these channels.
    pub async fn subscriber(&self, user: &str, channels: &[&str]) -> Client {
        let mut client = self.client(user).await;
        for channel in channels {
            client.subscribe(channel).await;
        }
        client
    }

    pub async fn sql(&self, sql: &str) {
        self.db.batch_execute(sql).await;
    }
}

pub fn config(url: &str, settings: &str) -> Config {
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    std::io::Write::write_all(&mut file, settings.as_bytes()).expect("the file can be written");
    let environment = [("DATABASE_URL", url), ("ROWCAST_JWT_SECRET", SECRET)];
    let mut flags = vec![("server.listen".to_owned(), "127.0.0.1:0".to_owned())];
    flags.extend(std::env::var(SHARDS).ok().map(|count| ("server.shards".to_owned(), count)));
    let sources = Sources {
        file: Some(file.path().to_owned()),
        environment: environment
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect(),
        flags,
    };
    match sources.load() {
        Ok(loaded) => loaded.config,
        Err(faults) => panic!("{faults}"),
    }
}

/// A client of the protocol, over a WebSocket library that is not ours.
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub async fn connect(address: SocketAddr, token: Option<&str>) -> Self {
        let headers = token.map(|token| ("authorization", format!("Bearer {token}")));
        match Self::try_connect(address, "", headers.as_slice()).await {
            Ok(client) => client,
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn try_connect(
        address: SocketAddr,
        query: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Self, tungstenite::Error> {
        let mut request = format!("ws://{address}/v1/ws{query}").into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header value"));
        }
        let (socket, _) = Box::pin(tokio_tungstenite::connect_async(request)).await?;
        Ok(Self { socket })
    }

    pub async fn send(&mut self, message: Value) {
        self.send_frame(Message::text(message.to_string())).await;
    }

    pub async fn send_frame(&mut self, frame: Message) {
        self.socket.send(frame).await.expect("the connection is open");
    }

    /// The next message of the daemon.
    pub async fn next(&mut self) -> Value {
        match self.next_frame().await {
            Message::Text(text) => {
                let message = serde_json::from_str(&text).expect("every message is JSON");
                note_row(&message);
                message
            }
            other => panic!("no message but {other:?}"),
        }
    }

    /// The next frame but pings.
    pub async fn next_frame(&mut self) -> Message {
        // A daemon that has nothing else to say still pings.
        let frame = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(frame)) => return frame,
                    other => panic!("no frame but {other:?}"),
                }
            }
        };
        timeout(DEADLINE, frame).await.expect("the daemon answers in time")
    }

    /// The next frame of any kind; `None` once the connection is over.
    pub async fn try_next_frame(&mut self) -> Option<Message> {
        let frame = timeout(DEADLINE, self.socket.next()).await;
        frame.expect("the daemon acts in time").and_then(Result::ok)
    }

    /// The code the daemon closes with, after whatever it still sends.
    pub async fn close_code(&mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.next_frame().await {
                return frame.expect("the daemon names a code").code.into();
            }
        }
    }

    /// Sends a request, and takes the reply, which must come next.
    pub async fn ask(&mut self, message: Value) -> Value {
        self.send(message).await;
        self.next().await
    }

    pub async fn subscribe(&mut self, channel: &str) -> Value {
        let ok = self.ask(json!({ "type": "subscribe", "ref": 1, "channel": channel })).await;
        assert_eq!((&ok["type"], &ok["channel"]), (&json!("ok"), &json!(channel)), "{ok}");
        ok
    }

    /// Resumes behind an event; the answer.
    pub async fn resume(&mut self, channel: &str, after: &str) -> Value {
        self.ask(json!({ "type": "subscribe", "channel": channel, "after": after })).await
    }

    /// The next message of this kind, whatever comes before it.
    pub async fn skip_to(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.next().await;
            if wanted(&message) {
                return message;
            }
        }
    }

    /// The next changes; any other message fails the test.
    pub async fn changes(&mut self, count: usize) -> Vec<Value> {
        let mut changes = Vec::with_capacity(count);
        for _ in 0..count {
            let message = self.next().await;
            assert_eq!(message["type"], "change", "{message}");
            changes.push(message);
        }
        changes
    }
}

/// A row is nobody's but the subscriber's.
fn note_row(message: &Value) {
    if message["type"] == "change" && message["row"].is_object() {
        super::secret(&message["row"].to_string());
    }
}

/// Everybody may subscribe to everything but other users' own channels.
pub const OPEN: &str = r#"policy = [{ channel = "*", allow = ["subscribe"] }]"#;

/// How many shards the daemons of the run have, where it says so.
const SHARDS: &str = "ROWCAST_TEST_SHARDS";

pub const SECRET: &str = "a secret of the tests, 32 bytes or more";

/// Far above anything that happens when it works.
const DEADLINE: Duration = Duration::from_secs(30);

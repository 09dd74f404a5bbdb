//! A client that follows docs/protocol.md, and keeps account of all that it gets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt};
use rowcast::auth::{Minter, Request};
use rowcast::config::Sources;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::checker::{Account, Identity, Received};
use super::dice::Dice;

pub struct Client {
    name: String,
    user: String,
    patterns: Vec<&'static str>,
    dice: Dice,
    shared: Arc<Mutex<Book>>,
}

/// What a client has got so far.
#[derive(Debug, Default)]
pub struct Book {
    pub accounts: BTreeMap<&'static str, Account>,
    last: BTreeMap<&'static str, String>,
    pub latencies: Vec<Duration>,
    pub connections: u32,
    /// Resumes that were answered, and those of them that found everything.
    pub resumes: (u32, u32),
    pub lagged: u32,
}

impl Book {
    /// Whether the first subscribe to this was answered.
    pub fn has_place(&self, pattern: &str) -> bool {
        self.last.contains_key(pattern)
    }
}

/// What the clients are to do.
#[derive(Clone, Debug)]
pub struct Orders {
    pub nodes: Vec<SocketAddr>,
    /// How long a connection is kept, at most.
    pub stay: Duration,
    /// How long a client stays away, at most.
    pub away: Duration,
}

impl Client {
    pub fn new(name: String, user: &str, patterns: Vec<&'static str>, dice: Dice) -> Self {
        let account = |pattern: &&'static str| {
            let (client, user, received) = (name.clone(), user.to_owned(), Vec::new());
            (*pattern, Account { client, user, pattern: (*pattern).to_owned(), received })
        };
        let accounts = patterns.iter().map(account).collect();
        let shared = Arc::new(Mutex::new(Book { accounts, ..Book::default() }));
        Self { user: user.to_owned(), name, patterns, dice, shared }
    }

    pub fn book(&self) -> Arc<Mutex<Book>> {
        Arc::clone(&self.shared)
    }

    /// Connects again and again, to any of the nodes, until it is aborted.
    pub async fn run(mut self, orders: watch::Receiver<Orders>) {
        loop {
            let now = orders.borrow().clone();
            let node = *self.dice.pick(&now.nodes);
            let stay = self.dice.millis(1, millis(now.stay));
            // A line that is gone, a node that is not there yet: the next connection will tell.
            let _ = timeout(stay, self.connection(node)).await;
            let away = self.dice.millis(1, 2 + millis(now.away));
            tokio::time::sleep(away).await;
        }
    }

    async fn connection(&self, node: SocketAddr) -> Option<()> {
        let mut request = format!("ws://{node}/v1/ws").into_client_request().ok()?;
        let bearer = format!("Bearer {}", token(&self.user)).parse().ok()?;
        request.headers_mut().insert("authorization", bearer);
        let connecting = tokio_tungstenite::connect_async(request);
        let (mut socket, _) = timeout(Duration::from_secs(5), connecting).await.ok()?.ok()?;
        self.shared.lock().unwrap().connections += 1;
        for pattern in &self.patterns {
            let after = self.shared.lock().unwrap().last.get(pattern).cloned();
            let subscribe =
                json!({ "type": "subscribe", "ref": pattern, "channel": pattern, "after": after });
            socket.send(Message::text(subscribe.to_string())).await.ok()?;
        }
        loop {
            // A ping comes every 25 s; whoever hears nothing for longer talks to nobody.
            let frame = timeout(Duration::from_secs(30), socket.next()).await.ok()??.ok()?;
            if let Message::Text(text) = frame {
                let message = serde_json::from_str(&text).expect("every message is JSON");
                self.take(&message);
            }
        }
    }

    fn take(&self, message: &Value) {
        let mut book = self.shared.lock().unwrap();
        match message["type"].as_str() {
            Some("change") => self.take_change(&mut book, message),
            Some("ok") => {
                let Some(pattern) = self.pattern(&message["ref"]) else { return };
                if book.last.contains_key(pattern) {
                    book.resumes.0 += 1;
                    book.resumes.1 += u32::from(message["recovered"] == true);
                }
                if message["recovered"] == false {
                    book.last.remove(pattern);
                }
                if let Some(position) = message["position"].as_str() {
                    book.last.entry(pattern).or_insert_with(|| position.to_owned());
                }
            }
            Some("reset") => {
                let Some(pattern) = self.pattern(&message["channel"]) else { return };
                let reason = message["reason"].as_str().unwrap_or_default().to_owned();
                let at = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
                let account = book.accounts.get_mut(pattern).expect("it was subscribed to");
                account.received.push(Received::Reset { reason, at });
            }
            Some("lagged") => book.lagged += 1,
            Some("error") => panic!("{}: {message}", self.name),
            _ => {}
        }
    }

    fn take_change(&self, book: &mut Book, message: &Value) {
        let channel = message["channel"].as_str().expect("a change names its channel");
        let covers = |pattern: &&&'static str| match pattern.strip_suffix('*') {
            Some(prefix) => channel.starts_with(prefix),
            None => **pattern == channel,
        };
        let Some(pattern) = self.patterns.iter().find(covers).copied() else {
            panic!("{}: not subscribed to: {message}", self.name);
        };
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        let at = text("at");
        if let Ok(captured) = humantime::parse_rfc3339(&at) {
            book.latencies.push(captured.elapsed().unwrap_or_default());
        }
        let key = message["key"]["key"].as_i64().expect("every table has this key");
        let identity = Identity { table: text("table"), op: text("op"), key, at };
        let version = message["row"]["version"].as_i64();
        book.last.insert(pattern, text("id"));
        let account = book.accounts.get_mut(pattern).expect("it was subscribed to");
        account.received.push(Received::Event { identity, version });
    }

    fn pattern(&self, name: &Value) -> Option<&'static str> {
        self.patterns.iter().find(|pattern| *name == **pattern).copied()
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

fn token(user: &str) -> String {
    let request = Request {
        user: user.into(),
        role: None,
        claims: Vec::new().into_iter().collect(),
        ttl: Duration::from_secs(3600),
    };
    let sources = Sources {
        file: None,
        environment: [("ROWCAST_JWT_SECRET".to_owned(), SECRET.to_owned())].into_iter().collect(),
        flags: Vec::new(),
    };
    let Ok(loaded) = sources.load() else { panic!("the defaults are valid") };
    let minter = Minter::new(&loaded.config.auth).expect("the secret signs");
    minter.sign(request, SystemTime::now()).expect("the claims can be signed")
}

pub const SECRET: &str = "a secret of the ledger, 32 bytes or more";

//! A client of the demo: connects with a token, subscribes, and notes when each change arrives.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::task::AbortOnDropHandle;

use crate::cli::Failure;

pub struct Client {
    pub user: &'static str,
    /// Read by a task of its own, so that the time of arrival is no later than that.
    messages: mpsc::Receiver<Arrived>,
    _reader: AbortOnDropHandle<()>,
}

pub struct Change {
    pub channel: String,
    pub op: String,
    pub id: Option<i32>,
    pub arrived: Instant,
    /// By the database's clock, where that agrees with ours.
    pub age: Option<Duration>,
}

struct Arrived {
    text: String,
    at: Instant,
    clock: SystemTime,
}

impl Client {
    pub async fn connect(
        user: &'static str,
        address: SocketAddr,
        token: &str,
    ) -> Result<Self, Failure> {
        let mut request = format!("ws://{address}/v1/ws").into_client_request()?;
        let offered = format!("rowcast.v1, bearer.{token}");
        request.headers_mut().insert("sec-websocket-protocol", offered.parse()?);
        let (mut socket, _) = Box::pin(tokio_tungstenite::connect_async(request)).await?;
        for channel in CHANNELS {
            let subscribe = json!({ "type": "subscribe", "ref": channel, "channel": channel });
            socket.send(Message::text(subscribe.to_string())).await?;
        }
        let (sender, messages) = mpsc::channel(QUEUE);
        let reader = tokio::spawn(async move {
            while let Some(Ok(message)) = socket.next().await {
                let (at, clock) = (Instant::now(), SystemTime::now());
                let Message::Text(text) = message else { continue };
                if sender.send(Arrived { text: text.to_string(), at, clock }).await.is_err() {
                    return;
                }
            }
        });
        let mut client = Self { user, messages, _reader: AbortOnDropHandle::new(reader) };
        for _ in CHANNELS {
            client.until(|message| (message["type"] == "ok").then_some(())).await?;
        }
        Ok(client)
    }

    /// The changes up to the next one with this op on the channel of the orders, which is not among them.
    pub async fn until_event(&mut self, op: &str) -> Result<Vec<Change>, Failure> {
        let mut changes = Vec::new();
        loop {
            let change = self.next_change().await?;
            if change.channel == "orders" && change.op == op {
                return Ok(changes);
            }
            changes.push(change);
        }
    }

    async fn next_change(&mut self) -> Result<Change, Failure> {
        loop {
            let (message, arrived) = self.next().await?;
            if message["type"] == "change" {
                return Ok(Change::read(&message, &arrived));
            }
        }
    }

    async fn until<T>(&mut self, wanted: impl Fn(&Value) -> Option<T>) -> Result<T, Failure> {
        loop {
            if let Some(found) = wanted(&self.next().await?.0) {
                return Ok(found);
            }
        }
    }

    async fn next(&mut self) -> Result<(Value, Arrived), Failure> {
        let user = self.user;
        let arrived = match timeout(DEADLINE, self.messages.recv()).await {
            Ok(Some(arrived)) => arrived,
            Ok(None) => return Err(Failure::new(format!("the connection of {user} was closed"))),
            Err(_) => {
                return Err(Failure::new(format!(
                    "nothing arrived at {user} for {} seconds",
                    DEADLINE.as_secs()
                )));
            }
        };
        let message: Value = serde_json::from_str(&arrived.text)?;
        if message["type"] == "error" {
            return Err(Failure::new(format!("{user} was refused: {}", message["message"])));
        }
        Ok((message, arrived))
    }
}

impl Change {
    fn read(message: &Value, arrived: &Arrived) -> Self {
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        let at = humantime::parse_rfc3339(message["at"].as_str().unwrap_or_default()).ok();
        Self {
            channel: text("channel"),
            op: text("op"),
            id: message["key"]["id"].as_i64().and_then(|id| i32::try_from(id).ok()),
            arrived: arrived.at,
            age: at.and_then(|at| arrived.clock.duration_since(at).ok()),
        }
    }
}

const CHANNELS: [&str; 2] = ["orders", "stock"];

/// Far beyond what a loaded machine needs.
const DEADLINE: Duration = Duration::from_secs(20);

/// More than all messages of a check.
const QUEUE: usize = 1024;

//! A client with a token, and a request without one.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use rowcast::auth::{Minter, Request};
use rowcast::config::Sources;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

pub struct Visitor(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Visitor {
    /// A client that was welcomed.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut request = format!("ws://{address}/v1/ws").into_client_request().expect("a URL");
        let bearer = format!("Bearer {}", token()).parse().expect("a header value");
        request.headers_mut().insert("authorization", bearer);
        let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("let in");
        let mut visitor = Self(socket);
        assert!(visitor.next().await.to_string().contains("welcome"));
        visitor
    }

    pub async fn next(&mut self) -> Message {
        let frame = timeout(DEADLINE, self.0.next()).await.expect("the daemon says something");
        frame.expect("the connection is open").expect("the connection is open")
    }

    /// With what it is sent away, after whatever else it is told.
    pub async fn farewell(&mut self) -> (Vec<String>, CloseFrame) {
        let mut told = Vec::new();
        loop {
            match self.next().await {
                Message::Close(frame) => return (told, frame.expect("a reason")),
                Message::Text(text) => told.push(text.to_string()),
                _ => {}
            }
        }
    }
}

/// The status of the answer.
pub async fn status_of(address: SocketAddr, path: &str) -> u16 {
    let asking = async {
        let mut stream = TcpStream::connect(address).await.expect("somebody listens");
        let head = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    };
    timeout(DEADLINE, asking).await.expect("an answer in time")
}

fn token() -> String {
    let ttl = Duration::from_secs(3600);
    let request =
        Request { user: "ana".into(), role: None, claims: Vec::new().into_iter().collect(), ttl };
    let secret = ("ROWCAST_JWT_SECRET".to_owned(), super::client::SECRET.to_owned());
    let environment = [secret].into_iter().collect();
    let sources = Sources { file: None, environment, flags: Vec::new() };
    let Ok(loaded) = sources.load() else { panic!("the defaults are valid") };
    let minter = Minter::new(&loaded.config.auth).expect("the secret signs");
    minter.sign(request, SystemTime::now()).expect("the claims can be signed")
}

/// Far above anything that happens when it works.
const DEADLINE: Duration = Duration::from_secs(60);

//! An issuer that publishes its keys: a real server, which answers as it is told.

#![allow(dead_code, reason = "not every test needs every part")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rowcast::config::JwksUrl;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// A server that answers every request with the same bytes, and counts them.
pub struct Issuer {
    pub address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    asked: watch::Sender<usize>,
    server: Option<AbortOnDropHandle<()>>,
}

#[derive(Clone)]
pub enum Answer {
    Bytes(Vec<u8>),
    /// The same once this is true.
    After(watch::Receiver<bool>, Vec<u8>),
    /// Nothing, and the connection stays open.
    Silence,
    /// A good beginning, and then a byte from time to time for ever.
    Trickle,
}

impl Issuer {
    pub async fn start(keys: &[Value]) -> Self {
        let mut issuer = Self::named("127.0.0.1:0".parse().unwrap());
        issuer.publish(keys);
        issuer.come_up().await;
        issuer
    }

    /// One that is down.
    pub async fn away() -> Self {
        let mut issuer = Self::start(&[]).await;
        issuer.go_down();
        issuer
    }

    pub fn url(&self) -> JwksUrl {
        format!("http://{}/jwks.json", self.address).parse().unwrap()
    }

    fn named(address: SocketAddr) -> Self {
        let answer = Arc::new(Mutex::new(Answer::Silence));
        Self { address, answer, asked: watch::Sender::new(0), server: None }
    }

    pub async fn come_up(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let server = serve(listener, Arc::clone(&self.answer), self.asked.clone());
        self.server = Some(AbortOnDropHandle::new(tokio::spawn(server)));
    }

    pub fn go_down(&mut self) {
        self.server = None;
    }

    pub fn publish(&self, keys: &[Value]) {
        self.say(ok(&json!({ "keys": keys }).to_string()));
    }

    pub fn say(&self, bytes: impl Into<Vec<u8>>) {
        self.behave(Answer::Bytes(bytes.into()));
    }

    pub fn behave(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    pub async fn wait_until_asked(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        let enough = asked.wait_for(|asked| *asked >= times);
        timeout(DEADLINE, enough).await.expect("the issuer is asked").unwrap();
    }
}

async fn serve(listener: TcpListener, answer: Arc<Mutex<Answer>>, asked: watch::Sender<usize>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (answer, asked) = (Arc::clone(&answer), asked.clone());
        connections.spawn(async move { reply(stream, &answer, &asked).await });
    }
}

async fn reply(
    mut stream: TcpStream,
    answer: &Mutex<Answer>,
    asked: &watch::Sender<usize>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    assert!(head.starts_with(b"GET /jwks.json HTTP/1.1\r\n"), "{head:?}");
    let answer = answer.lock().unwrap().clone();
    asked.send_modify(|asked| *asked += 1);
    match answer {
        Answer::Bytes(bytes) => stream.write_all(&bytes).await,
        Answer::After(mut gate, bytes) => {
            let _ = gate.wait_for(|open| *open).await;
            stream.write_all(&bytes).await
        }
        Answer::Silence => std::future::pending().await,
        Answer::Trickle => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await?;
            loop {
                stream.write_all(b" ").await?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

pub fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

pub fn ok(body: &str) -> Vec<u8> {
    response("200 OK", "Content-Type: application/json\r\n", body)
}

const DEADLINE: Duration = Duration::from_secs(30);

//! The good client, an independent implementation, and the bare socket of the others.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct GoodClient(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl GoodClient {
    pub async fn connect(address: SocketAddr) -> Self {
        let connecting = connect_async(format!("ws://{address}/echo"));
        let (socket, _) = timeout(DEADLINE, connecting).await.expect("in time").unwrap();
        Self(socket)
    }

    pub async fn ask(&mut self, text: &str) -> String {
        self.0.send(Message::text(text)).await.unwrap();
        let answer = timeout(DEADLINE, self.0.next()).await.expect("an answer in time");
        answer.expect("an open connection").unwrap().into_text().unwrap().to_string()
    }
}

pub async fn raw(address: SocketAddr) -> TcpStream {
    timeout(DEADLINE, TcpStream::connect(address)).await.expect("in time").unwrap()
}

/// From this address of the machine.
pub async fn raw_from(source: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
    timeout(DEADLINE, socket.connect(address)).await.expect("in time").unwrap()
}

/// The answer to a request for `path`, on a connection of its own that begins with these bytes.
pub async fn answer(mut socket: TcpStream, begin: &[u8], path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    // Who is refused may find the connection closed already.
    let _ = socket.write_all(&[begin, request.as_bytes()].concat()).await;
    Answer(read_to_end(&mut socket).await)
}

pub struct Answer(pub String);

impl Answer {
    /// 0 where the connection ended without one.
    pub fn status(&self) -> u16 {
        self.0.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.0.split("\r\n\r\n").next().unwrap();
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(line, _)| line.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// The error's code, and after how many milliseconds to come back.
    #[track_caller]
    pub fn error(&self) -> (String, u64) {
        let body: Value = serde_json::from_str(self.body()).expect(&self.0);
        let error = &body["error"];
        assert!(error["message"].is_string(), "{}", self.0);
        (error["code"].as_str().unwrap().into(), error["retry_after_ms"].as_u64().unwrap_or(0))
    }

    /// Refused with this status and code, and told when to come back, in two ways that agree.
    #[track_caller]
    pub fn is_told_to_come_back(&self, status: u16, code: &str) -> u64 {
        assert_eq!(self.status(), status, "{}", self.0);
        let (named, wait) = self.error();
        assert_eq!(named, code);
        let seconds: u64 = self.header("retry-after").expect(&self.0).parse().unwrap();
        assert!(wait > 0 && seconds == wait.div_ceil(1000), "{}", self.0);
        wait
    }
}

/// Sends the bytes and reads until the server ends the connection.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = raw(address).await;
    socket.write_all(bytes).await.unwrap();
    read_to_end(&mut socket).await
}

/// A handshake by hand, with whatever follows it sent in the same write.
pub async fn upgraded(address: SocketAddr, early: &[u8]) -> TcpStream {
    let mut socket = raw(address).await;
    socket.write_all(&[HANDSHAKE.as_bytes(), early].concat()).await.unwrap();
    let answer = read_until(&mut socket, b"\r\n\r\n").await;
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    socket
}

pub async fn read_until(socket: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        match timeout(DEADLINE, socket.read_u8()).await.expect("bytes in time") {
            Ok(byte) => read.push(byte),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&read)),
        }
    }
    read
}

pub async fn read_exactly(socket: &mut TcpStream, expected: &[u8]) {
    let mut read = vec![0; expected.len()];
    timeout(DEADLINE, socket.read_exact(&mut read)).await.expect("bytes in time").unwrap();
    assert_eq!(read, expected);
}

/// A reset is an end too.
pub async fn read_to_end(socket: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let _ = timeout(DEADLINE, socket.read_to_end(&mut read)).await.expect("an end in time");
    String::from_utf8_lossy(&read).into_owned()
}

/// A masked text frame.
pub fn text(payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126).unwrap();
    let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [0x81, 0x80 | length].into_iter().chain(mask).chain(masked).collect()
}

pub const HANDSHAKE: &str = "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

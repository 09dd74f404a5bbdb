//! The good client, an independent implementation, and the bare socket of the others.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
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

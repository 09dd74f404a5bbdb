//! Sockets that mean no good, and a good client beside them.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{World, until};

async fn raw(world: &World) -> TcpStream {
    TcpStream::connect(world.daemon.address()).await.expect("the daemon accepts")
}

/// A handshake by hand, with whatever follows it sent in the same write.
async fn upgraded(world: &World, early: &[u8]) -> TcpStream {
    let mut socket = raw(world).await;
    let head = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Authorization: Bearer {}\r\n\r\n",
        world.token("ana")
    );
    socket.write_all(&[head.as_bytes(), early].concat()).await.unwrap();
    let answer = read_until(&mut socket, b"\r\n\r\n").await;
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    socket
}

/// A masked frame with a mask of zeros.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a small payload");
    [&[0x80 | opcode, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

async fn read_until(socket: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.windows(end.len()).any(|window| window == end) {
        match timeout(DEADLINE, socket.read_u8()).await.expect("the daemon answers") {
            Ok(byte) => read.push(byte),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&read)),
        }
    }
    read
}

async fn read_to_end(socket: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    // A reset is an end too.
    let _ = timeout(DEADLINE, socket.read_to_end(&mut read)).await.expect("the daemon ends it");
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_and_silence_are_ended_while_a_good_client_is_served() {
    let world = World::start().await;
    let mut slow = raw(&world).await;
    slow.write_all(b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nX-a: ").await.unwrap();
    let mut silent = raw(&world).await;
    let mut good = world.client("ana").await;
    assert_eq!(good.ask(json!({ "type": "ping" })).await["type"], "pong");
    read_to_end(&mut slow).await;
    read_to_end(&mut silent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_along_with_the_handshake_is_not_lost() {
    let world = World::start().await;
    let mut socket = upgraded(&world, &frame(1, br#"{"type":"ping","ref":"early"}"#)).await;
    read_until(&mut socket, br#""ref":"early""#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_come_one_at_a_time_make_a_message() {
    let world = World::start().await;
    let mut socket = upgraded(&world, b"").await;
    for byte in frame(1, br#"{"type":"ping","ref":"slow"}"#) {
        socket.write_all(&[byte]).await.unwrap();
        socket.flush().await.unwrap();
    }
    read_until(&mut socket, br#""ref":"slow""#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_of_eight_exabytes_ends_at_once() {
    let world = World::start().await;
    let mut socket = upgraded(&world, b"").await;
    socket.write_all(&[0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).await.unwrap();
    let read = read_to_end(&mut socket).await;
    assert!(read.windows(2).any(|code| code == 1009u16.to_be_bytes()), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmasked_frame_is_a_protocol_error() {
    let world = World::start().await;
    let mut socket = upgraded(&world, b"").await;
    socket.write_all(&[0x81, 1, b'x']).await.unwrap();
    let read = read_to_end(&mut socket).await;
    assert!(read.windows(2).any(|code| code == 1002u16.to_be_bytes()), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_is_answered_with_its_own_code() {
    let world = World::start().await;
    let mut socket = upgraded(&world, b"").await;
    socket.write_all(&frame(8, &4000u16.to_be_bytes())).await.unwrap();
    let read = read_to_end(&mut socket).await;
    assert!(read.ends_with(&[0x88, 2, 0x0f, 0xa0]), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_cap_are_told_to_come_back_and_a_seat_is_free_again() {
    let world = World::with("limits = { connections = 2 }").await;
    let (first, mut second) = (world.client("ana").await, world.client("ana").await);
    let mut third = raw(&world).await;
    third.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let answer = read_to_end(&mut third).await;
    assert!(answer.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(second.ask(json!({ "type": "ping" })).await["type"], "pong");
    drop(first);
    until("a seat is free", async || world.try_client("ana").await).await;
}

const DEADLINE: Duration = Duration::from_secs(30);

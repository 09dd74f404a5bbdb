//! What one address may take: connections at once, and attempts in a minute.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::future::join_all;
use rowcast::telemetry::refusals::Refused;
use rowcast::transport::gate::Rules;
use rowcast::transport::proxies::Proxies;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::clients::{
    Answer, DEADLINE, GoodClient, HANDSHAKE, answer, exchange, raw, raw_from, read_until,
};
use crate::echo_server::{EchoServer, PATIENT, generous};

fn connections(most: usize) -> Rules {
    Rules { connections_per_address: most, ..generous() }
}

fn attempts(most: u32) -> Rules {
    Rules { attempts_per_minute: NonZeroU32::new(most).unwrap(), ..generous() }
}

/// A WebSocket from this address, or what the server says instead.
async fn seated(server: &EchoServer, source: &str) -> Result<TcpStream, Answer> {
    let mut socket = raw_from(source, server.address).await;
    let _ = socket.write_all(HANDSHAKE.as_bytes()).await;
    let head = String::from_utf8(read_until(&mut socket, b"\r\n\r\n").await).unwrap();
    if head.starts_with("HTTP/1.1 101 ") { Ok(socket) } else { Err(Answer(head)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections_and_a_free_one_can_be_taken_again() {
    let server = EchoServer::with(PATIENT, connections(2));
    let first = seated(&server, "127.0.0.1").await.ok().unwrap();
    let _second = seated(&server, "127.0.0.1").await.ok().unwrap();
    let refused = answer(raw(server.address).await, b"", "/peer").await;
    refused.is_told_to_come_back(429, "rate_limited");
    assert_eq!(server.observer.refused(Refused::ConnectionsPerAddress), 1);
    assert_eq!(server.observer.refused(Refused::Attempts), 0);

    let other = raw_from("127.0.0.2", server.address).await;
    assert_eq!(answer(other, b"", "/peer").await.status(), 200, "another address has its own");
    drop(first);
    let again = async {
        loop {
            if let Ok(socket) = seated(&server, "127.0.0.1").await {
                return socket;
            }
        }
    };
    timeout(DEADLINE, again).await.expect("a free seat in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_without_connections_is_forgotten() {
    let server = EchoServer::with(PATIENT, connections(2));
    let sockets = [seated(&server, "127.0.0.1").await, seated(&server, "127.0.0.2").await];
    assert_eq!(server.gate.addresses(), 2);
    drop(sockets);
    let forgotten = async {
        while server.gate.addresses() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, forgotten).await.expect("in time");
}

#[tokio::test]
async fn an_address_has_so_many_attempts_in_a_minute() {
    let server = EchoServer::with(PATIENT, attempts(3));
    for _ in 0..3 {
        assert_eq!(answer(raw(server.address).await, b"", "/peer").await.status(), 200);
    }
    let refused = answer(raw(server.address).await, b"", "/peer").await;
    let wait = refused.is_told_to_come_back(429, "rate_limited");
    assert!(wait <= 20_000, "a third of a minute brings the next one: {wait}");
    assert_eq!(server.observer.refused(Refused::Attempts), 1);
    let other = raw_from("127.0.0.2", server.address).await;
    assert_eq!(answer(other, b"", "/peer").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_address_is_refused_beside_a_good_client() {
    let server = EchoServer::with(PATIENT, attempts(1));
    let mut good = GoodClient::connect(server.address).await;
    let crowd = (0..300).map(|_| exchange(server.address, b""));
    let answers = tokio::join!(join_all(crowd), good.ask("still there?")).0;
    for refused in answers {
        Answer(refused).is_told_to_come_back(429, "rate_limited");
    }
    assert_eq!(server.observer.refused(Refused::Attempts), 300);
    assert_eq!(good.ask("and now?").await, "and now?");
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_has_sent_its_request() {
    let server = EchoServer::with(PATIENT, connections(1));
    let _good = GoodClient::connect(server.address).await;
    for _ in 0..20 {
        let refused = answer(raw(server.address).await, HANDSHAKE.as_bytes(), "/peer").await;
        refused.is_told_to_come_back(429, "rate_limited");
    }
}

#[tokio::test]
async fn proxies_that_are_trusted_and_an_exempt_loopback_are_not_counted() {
    let strict = Rules { attempts_per_minute: NonZeroU32::MIN, ..connections(1) };
    let proxies = Proxies::new(&["127.0.0.0/30".parse().unwrap()]);
    for rules in [Rules { proxies, ..strict.clone() }, Rules { exempt_loopback: true, ..strict }] {
        let server = EchoServer::with(PATIENT, rules);
        let sockets = join_all((0..5).map(|_| seated(&server, "127.0.0.1"))).await;
        assert!(sockets.iter().all(Result::is_ok));
        assert_eq!(server.gate.addresses(), 0);
    }
}

/// Behind the deadline of a head, not before it.
#[tokio::test]
async fn a_connection_that_is_ended_gives_its_seat_back() {
    let limits = rowcast::transport::accept::Limits {
        header_timeout: Duration::from_millis(300),
        ..PATIENT
    };
    let server = EchoServer::with(limits, connections(1));
    let _silent = raw(server.address).await;
    let served =
        async { while answer(raw(server.address).await, b"", "/peer").await.status() != 200 {} };
    timeout(DEADLINE, served).await.expect("the silent one is ended in time");
    assert!(server.observer.refused(Refused::ConnectionsPerAddress) > 0);
}

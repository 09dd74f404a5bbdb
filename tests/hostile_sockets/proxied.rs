//! Connections that begin with a PROXY header, or should.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::future::join_all;
use rowcast::telemetry::refusals::Refused;
use rowcast::transport::accept::Limits;
use rowcast::transport::gate::Rules;
use rowcast::transport::proxies::Proxies;
use tokio::io::AsyncWriteExt;

use crate::clients::{Answer, HANDSHAKE};
use crate::clients::{answer, raw, raw_from, read_exactly, read_to_end, read_until, text};
use crate::echo_server::{EchoServer, PATIENT, generous};

fn rules() -> Rules {
    let proxies = Proxies::new(&["127.0.0.1/32".parse().unwrap(), "10.0.0.0/8".parse().unwrap()]);
    Rules { proxies, proxy_protocol: true, ..generous() }
}

const IMPATIENT: Limits = Limits { header_timeout: Duration::from_millis(500), ..PATIENT };

/// Version 2: command, family, and what comes behind the length.
fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[0x20 | command, family], &length, block].concat()
}

/// Source and destination, with their ports.
fn ipv4(source: [u8; 4]) -> Vec<u8> {
    [source.as_slice(), &[10, 0, 0, 1], &4242_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
}

fn ipv6(source: &str) -> Vec<u8> {
    let source = source.parse::<std::net::Ipv6Addr>().unwrap().octets();
    [source, [0; 16]].concat().into_iter().chain([0x10, 0x92, 0x01, 0xbb]).collect()
}

async fn peer_of(server: &EchoServer, header: &[u8]) -> Answer {
    answer(raw(server.address).await, header, "/peer").await
}

#[tokio::test]
async fn a_header_of_either_version_says_where_the_client_is() {
    let server = EchoServer::with(PATIENT, rules());
    let tls = [ipv4([198, 51, 100, 7]), vec![0x20, 0, 3, 1, 2, 3]].concat();
    for (header, client) in [
        (b"PROXY TCP4 198.51.100.7 10.0.0.1 4242 443\r\n".to_vec(), "198.51.100.7:4242"),
        (b"PROXY TCP6 2001:db8::7 ::1 4242 443\r\n".to_vec(), "[2001:db8::7]:4242"),
        (binary(1, 0x11, &ipv4([198, 51, 100, 7])), "198.51.100.7:4242"),
        (binary(1, 0x11, &tls), "198.51.100.7:4242"),
        (binary(1, 0x21, &ipv6("2001:db8::7")), "[2001:db8::7]:4242"),
    ] {
        let told = peer_of(&server, &header).await;
        assert_eq!((told.status(), told.body()), (200, client), "{header:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_names_nobody_speaks_for_itself() {
    let server = EchoServer::with(PATIENT, rules());
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ::1 65535 65535\r\n".to_vec(),
        binary(0, 0, b""),
        binary(0, 0x11, &ipv4([198, 51, 100, 7])),
        binary(1, 0, b""),
        binary(1, 0x31, &[0; 216]),
    ] {
        let told = peer_of(&server, &header).await;
        assert_eq!(told.status(), 200, "{header:?}");
        assert!(told.body().starts_with("127.0.0.1:"), "{}", told.0);
    }
}

#[tokio::test]
async fn a_header_in_pieces_is_put_together_and_nothing_behind_it_is_lost() {
    let server = EchoServer::with(PATIENT, rules());
    for header in [
        b"PROXY TCP4 198.51.100.7 10.0.0.1 4242 443\r\n".to_vec(),
        binary(1, 0x11, &ipv4([198, 51, 100, 7])),
    ] {
        let mut socket = raw(server.address).await;
        socket.set_nodelay(true).unwrap();
        for byte in &header {
            socket.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        socket.write_all(&[HANDSHAKE.as_bytes(), &text(b"early")].concat()).await.unwrap();
        assert!(read_until(&mut socket, b"\r\n\r\n").await.starts_with(b"HTTP/1.1 101 "));
        read_exactly(&mut socket, b"\x81\x05early").await;
    }
}

/// Nobody waits for more of these.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_header_ends_the_connection_at_once() {
    let never = Limits { header_timeout: Duration::from_secs(3600), ..PATIENT };
    let server = EchoServer::with(never, rules());
    let long_line = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
    for header in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"PROXY TCP4 198.51.100.7\r\n".to_vec(),
        b"PROXY TCP4 2001:db8::7 ::1 4242 443\r\n".to_vec(),
        b"PROXY TCP4 198.51.100.7 10.0.0.1 65536 443\r\n".to_vec(),
        b"PROXY UDP4 198.51.100.7 10.0.0.1 4242 443\r\n".to_vec(),
        b"PROXY TCP4 198.51.100.7 10.0.0.1 4242 443\n".to_vec(),
        b"PROXY \xff\xfe\xfd \r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00".to_vec(),
        long_line,
        binary(2, 0x11, &ipv4([198, 51, 100, 7])),
        binary(1, 0x11, &[1, 2, 3]),
        binary(1, 0x55, &[0; 12]),
        // It announces more than anybody needs.
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x08\x00".to_vec(),
    ] {
        let mut socket = raw(server.address).await;
        socket.write_all(&header).await.unwrap();
        assert_eq!(read_to_end(&mut socket).await, "", "{header:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_does_not_come_is_not_waited_for_beside_a_good_client() {
    let server = EchoServer::with(IMPATIENT, rules());
    let good = b"PROXY TCP4 198.51.100.7 10.0.0.1 4242 443\r\n";
    let mut upgraded = raw(server.address).await;
    upgraded.write_all(&[good, HANDSHAKE.as_bytes()].concat()).await.unwrap();
    read_until(&mut upgraded, b"\r\n\r\n").await;
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x01".as_slice();
    let beginnings = [b"".as_slice(), b"PRO", b"PROXY TCP4 198.51", &v2[..13], v2];
    let silent = beginnings.iter().cycle().take(200).map(async |beginning| {
        let mut socket = raw(server.address).await;
        socket.write_all(beginning).await.unwrap();
        read_to_end(&mut socket).await
    });
    assert!(join_all(silent).await.iter().all(String::is_empty));
    upgraded.write_all(&text(b"there?")).await.unwrap();
    read_exactly(&mut upgraded, b"\x81\x06there?").await;
    assert_eq!(peer_of(&server, good).await.status(), 200);
}

#[tokio::test]
async fn who_is_no_proxy_may_not_connect_and_is_not_listened_to() {
    let server = EchoServer::with(PATIENT, rules());
    for begin in [b"".as_slice(), b"PROXY TCP4 127.0.0.1 10.0.0.1 4242 443\r\n"] {
        let socket = raw_from("127.0.0.2", server.address).await;
        let refused = answer(socket, begin, "/peer").await;
        assert_eq!((refused.status(), refused.error().0.as_str()), (403, "forbidden"));
    }
    assert_eq!(server.observer.refused(Refused::Forbidden), 2);
}

#[tokio::test]
async fn the_clients_that_the_headers_name_are_counted_and_those_of_one_network_as_one() {
    let rules = Rules { attempts_per_minute: NonZeroU32::new(2).unwrap(), ..rules() };
    let server = EchoServer::with(PATIENT, rules);
    let of = |source| binary(1, 0x21, &ipv6(source));
    assert_eq!(peer_of(&server, &of("2001:db8:0:1::7")).await.status(), 200);
    assert_eq!(peer_of(&server, &of("2001:db8:0:1:ffff::8")).await.status(), 200);
    let third = peer_of(&server, &of("2001:db8:0:1::9")).await;
    third.is_told_to_come_back(429, "rate_limited");
    assert_eq!(peer_of(&server, &of("2001:db8:0:2::7")).await.status(), 200, "another network");
    // The same client in two ways of writing it.
    let mapped = of("::ffff:198.51.100.7");
    assert_eq!(peer_of(&server, &mapped).await.status(), 200);
    assert_eq!(peer_of(&server, &mapped).await.status(), 200);
    let plain = binary(1, 0x11, &ipv4([198, 51, 100, 7]));
    peer_of(&server, &plain).await.is_told_to_come_back(429, "rate_limited");
    for _ in 0..5 {
        assert_eq!(peer_of(&server, &binary(0, 0, b"")).await.status(), 200, "health checks");
    }
    assert_eq!(server.observer.refused(Refused::Attempts), 2);
}

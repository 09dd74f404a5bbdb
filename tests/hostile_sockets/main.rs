//! Sockets that mean no good, and a good client beside them, on the accept loop, the upgrade and the framing alone.

mod addresses;
mod clients;
mod crowd;
mod echo_server;
mod proxied;
mod sessions;

use std::time::Duration;

use futures_util::future::join_all;
use rowcast::telemetry::refusals::Refused;
use rowcast::transport::accept::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use clients::{
    Answer, DEADLINE, GoodClient, HANDSHAKE, exchange, raw, read_exactly, read_to_end, read_until,
    text, upgraded,
};
use echo_server::{EchoServer, MAX_MESSAGE_BYTES, PATIENT, listener};

const IMPATIENT: Limits = Limits { header_timeout: Duration::from_secs(1), ..PATIENT };

#[tokio::test(flavor = "multi_thread")]
async fn half_requests_and_silence_are_ended_beside_a_good_client() {
    let server = EchoServer::start(IMPATIENT);
    let mut good = GoodClient::connect(server.address).await;
    let hostile = (0..400).map(async |n| {
        let mut socket = raw(server.address).await;
        if n % 2 == 0 {
            socket.write_all(b"GET /echo HTTP/1.1\r\nHost: x\r\nX-a: ").await.unwrap();
        }
        read_to_end(&mut socket).await
    });
    let ends = tokio::join!(join_all(hostile), good.ask("still there?")).0;
    assert!(ends.iter().all(|answer| !answer.starts_with("HTTP/1.1 2")), "{ends:?}");
    assert_eq!(good.ask("and now?").await, "and now?");
}

#[tokio::test]
async fn a_header_that_drips_in_does_not_win_time() {
    let server = EchoServer::start(IMPATIENT);
    let (mut reading, mut writing) = raw(server.address).await.into_split();
    let mut drips = tokio::time::interval(Duration::from_millis(20));
    let drip = async {
        writing.write_all(b"GET /echo HTTP/1.1\r\nX-a: ").await.unwrap();
        loop {
            drips.tick().await;
            if writing.write_all(b"a").await.is_err() {
                // The end is for the reading side to see.
                std::future::pending::<()>().await;
            }
        }
    };
    let mut end = tokio::io::sink();
    tokio::select! {
        () = drip => unreachable!("it never ends"),
        ended = timeout(DEADLINE, tokio::io::copy(&mut reading, &mut end)) => drop(ended.expect("the server ends it")),
    }
}

#[tokio::test]
async fn an_idle_keep_alive_connection_is_ended() {
    let server = EchoServer::start(IMPATIENT);
    let mut socket = raw(server.address).await;
    socket.write_all(b"GET /peer HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let local = socket.local_addr().unwrap().to_string();
    let answer = read_to_end(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&local), "{answer}");
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let server = EchoServer::start(PATIENT);
    let head = format!("GET /echo HTTP/1.1\r\nX-a: {}\r\n", "a".repeat(20_000));
    let answer = exchange(server.address, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_over_the_cap_is_told_to_come_back_beside_a_good_client() {
    let server = EchoServer::start(Limits { connections: 1, ..PATIENT });
    let mut good = GoodClient::connect(server.address).await;
    let crowd = (0..200).map(|_| exchange(server.address, b""));
    let answers = tokio::join!(join_all(crowd), good.ask("still there?")).0;
    for answer in answers {
        Answer(answer).is_told_to_come_back(503, "unavailable");
    }
    assert_eq!(server.observer.refused(Refused::Connections), 200);
    assert_eq!(good.ask("and now?").await, "and now?");
}

#[tokio::test]
async fn a_refusal_over_the_cap_reaches_a_client_that_has_sent_its_request() {
    let server = EchoServer::start(Limits { connections: 1, ..PATIENT });
    let _good = GoodClient::connect(server.address).await;
    let mut socket = raw(server.address).await;
    socket.write_all(HANDSHAKE.as_bytes()).await.unwrap();
    // A reset could overtake the answer on its way.
    let mut answer = String::new();
    let reading = socket.read_to_string(&mut answer);
    timeout(DEADLINE, reading).await.expect("an end in time").expect("no reset");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[tokio::test]
async fn a_seat_is_kept_by_an_upgraded_socket_and_free_again_when_its_client_leaves() {
    let server = EchoServer::start(Limits { connections: 1, ..PATIENT });
    for _ in 0..3 {
        let socket = timeout(DEADLINE, seated(&server)).await.expect("a free seat in time");
        assert!(exchange(server.address, b"").await.starts_with("HTTP/1.1 503 "));
        drop(socket);
    }
}

/// Comes back until it is let in.
async fn seated(server: &EchoServer) -> tokio::net::TcpStream {
    loop {
        let mut socket = raw(server.address).await;
        socket.write_all(HANDSHAKE.as_bytes()).await.unwrap();
        let answer = read_until(&mut socket, b"\r\n\r\n").await;
        if answer.starts_with(b"HTTP/1.1 101 ") {
            return socket;
        }
    }
}

#[tokio::test]
async fn bytes_sent_along_with_the_handshake_are_not_lost() {
    let server = EchoServer::start(PATIENT);
    let mut socket = upgraded(server.address, &[text(b"one"), text(b"two")].concat()).await;
    read_exactly(&mut socket, b"\x81\x03one\x81\x03two").await;
    // Half a frame early, the rest later.
    let frame = text(b"three");
    let mut socket = upgraded(server.address, &frame[..4]).await;
    socket.write_all(&frame[4..]).await.unwrap();
    read_exactly(&mut socket, b"\x81\x05three").await;
}

#[tokio::test]
async fn a_message_of_one_byte_frames_arrives_whole() {
    let server = EchoServer::start(PATIENT);
    let mut socket = upgraded(server.address, b"").await;
    socket.set_nodelay(true).unwrap();
    for n in 0..2000 {
        let first = match n {
            0 => 0x01,
            1999 => 0x80,
            _ => 0x00,
        };
        socket.write_all(&[first, 0x81, 0, 0, 0, 0, b'x']).await.unwrap();
    }
    read_exactly(&mut socket, &[&[0x81, 126, 0x07, 0xd0], [b'x'; 2000].as_slice()].concat()).await;
}

#[tokio::test]
async fn huge_announcements_end_at_once() {
    let server = EchoServer::start(PATIENT);
    for (length, code) in [(1_u64 << 63, 1002_u16), ((1 << 63) - 1, 1009), (1 << 32, 1009)] {
        let mut socket = upgraded(server.address, b"").await;
        socket.write_all(&[&[0x81, 0xff], length.to_be_bytes().as_slice()].concat()).await.unwrap();
        let answer = read_until(&mut socket, &code.to_be_bytes()).await;
        assert_eq!((answer.len(), answer[0]), (4, 0x88), "{answer:?}");
    }
    let mut good = GoodClient::connect(server.address).await;
    let largest = "x".repeat(MAX_MESSAGE_BYTES);
    assert_eq!(good.ask(&largest).await, largest);
}

#[tokio::test]
async fn accepted_sockets_do_not_delay_small_writes() {
    let server = EchoServer::start(PATIENT);
    assert_eq!(GoodClient::connect(server.address).await.ask("nodelay?").await, "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_idle_connections_do_not_harm_a_good_client() {
    raise_descriptor_limit();
    let server = EchoServer::start(PATIENT);
    let mut good = GoodClient::connect(server.address).await;
    let mut idle = Vec::new();
    for _ in 0..2000 {
        idle.push(upgraded(server.address, b"").await);
    }
    for n in 0..100 {
        assert_eq!(good.ask(&n.to_string()).await, n.to_string());
    }
    for socket in &mut idle {
        socket.write_all(&text(b"up")).await.unwrap();
        read_exactly(socket, b"\x81\x02up").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_herd_that_comes_before_anybody_accepts_is_let_in_whole() {
    raise_descriptor_limit();
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let kernel_limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let size = kernel_limit.trim().parse::<usize>().unwrap().min(1000);
    let mut herd = Vec::new();
    for _ in 0..size {
        herd.push(raw(address).await);
    }
    let server = EchoServer::on(listener, PATIENT);
    for socket in &mut herd {
        socket.write_all(HANDSHAKE.as_bytes()).await.unwrap();
        assert!(read_until(socket, b"\r\n\r\n").await.starts_with(b"HTTP/1.1 101 "));
    }
    assert_eq!(GoodClient::connect(server.address).await.ask("in?").await, "in?");
}

/// Both ends of every connection are in this process.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

#[tokio::test]
async fn requests_that_are_no_handshake_are_told_what_is_wrong() {
    let server = EchoServer::start(PATIENT);
    let broken = |from: &str, to: &str| {
        assert!(HANDSHAKE.contains(from));
        HANDSHAKE.replace(from, to).replace("\r\n\r\n", "\r\nX-end: 1\r\n\r\n")
    };
    for (request, status, code) in [
        (broken("Upgrade: websocket", "Upgrade: h2c"), "426", "upgrade_required"),
        (broken("Connection: Upgrade", "Connection: keep-alive"), "426", "upgrade_required"),
        (broken("Version: 13", "Version: 8"), "426", "upgrade_required"),
        (broken("HTTP/1.1", "HTTP/1.0"), "426", "upgrade_required"),
        (broken("GET", "POST"), "405", "method_not_allowed"),
        (broken("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), "400", "bad_request"),
        (broken("Host: x", "Host: x\r\nSec-WebSocket-Protocol: chat"), "400", "bad_request"),
        (broken("Host: x", "Host: x\r\nContent-Length: 5") + "hello", "400", "bad_request"),
    ] {
        let mut socket = raw(server.address).await;
        socket.write_all(request.as_bytes()).await.unwrap();
        let answer = String::from_utf8(read_until(&mut socket, b"}}").await).unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
        assert!(
            answer.contains(&format!(r#"{{"error":{{"code":"{code}","message":""#)),
            "{answer}"
        );
        let tells_version = answer.contains("sec-websocket-version: 13\r\n");
        assert_eq!(tells_version, status == "426", "{answer}");
    }
}

#[tokio::test]
async fn the_subprotocol_is_selected_and_the_credential_beside_it_is_not() {
    let server = EchoServer::start(PATIENT);
    let mut socket = raw(server.address).await;
    let offer = "Host: x\r\nSec-WebSocket-Protocol: bearer.a.b.c, rowcast.v1";
    socket.write_all(HANDSHAKE.replace("Host: x", offer).as_bytes()).await.unwrap();
    let answer = String::from_utf8(read_until(&mut socket, b"\r\n\r\n").await).unwrap();
    assert!(answer.contains("\r\nsec-websocket-protocol: rowcast.v1\r\n"), "{answer}");
    assert!(
        answer.contains("\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_stop_answers_what_is_in_flight_and_leaves_upgraded_sockets_to_their_owner() {
    let mut server = EchoServer::start(PATIENT);
    let mut good = GoodClient::connect(server.address).await;
    let _idle = raw(server.address).await;
    let mut held = raw(server.address).await;
    held.write_all(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    timeout(DEADLINE, server.held.wait_for(|count| *count == 1)).await.unwrap().unwrap();

    server.stop.cancel();
    server.release.cancel();

    let answer = read_to_end(&mut held).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("released"), "{answer}");
    timeout(DEADLINE, server.serving).await.expect("the loop ends").unwrap();
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err(), "still listening");
    assert_eq!(good.ask("still there?").await, "still there?");
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_after_the_stop() {
    let mut server = EchoServer::start(Limits { drain: Duration::from_millis(100), ..PATIENT });
    let mut held = raw(server.address).await;
    held.write_all(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    timeout(DEADLINE, server.held.wait_for(|count| *count == 1)).await.unwrap().unwrap();
    server.stop.cancel();
    assert_eq!(read_to_end(&mut held).await, "");
    timeout(DEADLINE, server.serving).await.expect("the loop ends").unwrap();
}

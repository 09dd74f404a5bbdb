//! Sockets of real sessions that stop taking part.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use rowcast::access::{Access, Rights};
use rowcast::admission::{Admission, Tickets};
use rowcast::auth::Authenticator;
use rowcast::config::AuthConfig;
use rowcast::domain::policy::Policies;
use rowcast::domain::session::Options;
use rowcast::hub::{Hub, HubOptions};
use rowcast::postgres::connect::Target;
use rowcast::postgres::tickets::TicketTable;
use rowcast::session::{Services, Share, UserSeats};
use rowcast::telemetry::metrics::Observer;
use rowcast::telemetry::refusals::Refused;
use rowcast::transport::accept;
use rowcast::transport::gate::Gate;
use rowcast::transport::{Routes, public};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clients::{DEADLINE, HANDSHAKE, raw, read_until, text};
use crate::echo_server::{PATIENT, generous, listener};

struct Scene {
    address: std::net::SocketAddr,
    observer: Observer,
    sockets: TaskTracker,
}

impl Scene {
    /// The routes of the daemon; whoever is silent for twice this time is gone. Nothing here asks the database.
    fn start(heartbeat: Duration) -> Self {
        let observer = Observer::default();
        let sockets = TaskTracker::new();
        let gate = Arc::new(Gate::new(generous(), observer.clone()));
        let routes = Routes {
            services: Arc::new(services(heartbeat, &observer)),
            origins: Arc::default(),
            gate: Arc::clone(&gate),
            operations: None,
            sockets: sockets.clone(),
        };
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let routes = public(&routes, None);
        let stop = CancellationToken::new();
        tokio::spawn(accept::serve(listener, routes, PATIENT, gate, stop));
        Self { address, observer, sockets }
    }

    async fn socket(&self) -> TcpStream {
        let mut socket = raw(self.address).await;
        let handshake = HANDSHAKE.replace("/echo", "/v1/ws");
        socket.write_all(handshake.as_bytes()).await.unwrap();
        let head = read_until(&mut socket, b"\r\n\r\n").await;
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        socket
    }

    /// Every task of a socket has ended.
    async fn is_empty(&self) {
        self.sockets.close();
        timeout(DEADLINE, self.sockets.wait()).await.expect("the sockets end in time");
    }
}

fn services(heartbeat: Duration, observer: &Observer) -> Services {
    let pool = Target::parse("postgres://nobody@127.0.0.1:1/nothing").unwrap().pool(2);
    let identity = watch::channel(None).1;
    let minute = Duration::from_secs(60);
    let hub = HubOptions {
        queue_bytes: 1 << 20,
        queue_age: minute,
        patience: minute,
        recent_bytes: 1 << 20,
        shards: 1,
    };
    let options = Options {
        heartbeat,
        auth_timeout: minute,
        subscriptions: 10,
        max_message_bytes: 64 * 1024,
        leeway: Duration::ZERO,
    };
    let auth = AuthConfig { anonymous: true, ..AuthConfig::default() };
    let rights = Arc::<Rights>::default();
    Services {
        hub: Hub::start(hub, observer.clone()),
        admission: Admission::new(
            Authenticator::new(&auth).unwrap(),
            Tickets::new(TicketTable::new(pool), identity, minute),
            Arc::default(),
        ),
        access: Access::new(Policies::default(), None, Arc::clone(&rights)),
        rights,
        options: ArcSwap::from_pointee(options),
        share: ArcSwap::from_pointee(Share::new(NonZeroU32::new(1_000_000).unwrap())),
        seats: UserSeats::new(usize::MAX),
        observer: observer.clone(),
    }
}

/// Until the server ends the connection.
async fn read_all(socket: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    let _ = timeout(DEADLINE, socket.read_to_end(&mut read)).await.expect("an end in time");
    read
}

fn holds_code(read: &[u8], code: u16) -> bool {
    let [high, low] = code.to_be_bytes();
    read.windows(4).any(|frame| matches!(frame, [0x88, _, a, b] if (*a, *b) == (high, low)))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_no_ping_is_ended_and_who_does_goes_on() {
    let scene = Scene::start(Duration::from_millis(300));
    let mut good = scene.socket().await;
    let silent = (0..50).map(async |_| read_all(&mut scene.socket().await).await);
    let silent = join_all(silent);
    let lively = async {
        let mut buffer = [0; 4096];
        loop {
            let count = good.read(&mut buffer).await.unwrap();
            assert!(count > 0 && !holds_code(&buffer[..count], 4408), "{:?}", &buffer[..count]);
            // A pong, masked with zeros.
            good.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.unwrap();
        }
    };
    tokio::select! {
        () = lively => unreachable!("it never ends"),
        ended = timeout(DEADLINE, silent) => for read in ended.expect("in time") {
            assert!(holds_code(&read, 4408), "{read:?}");
        },
    }
    drop(good);
    scene.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_announces_too_much_is_counted_and_ended() {
    let scene = Scene::start(Duration::from_secs(60));
    for (length, code) in [(1_u64 << 63, 1002), ((1 << 63) - 1, 1009), (1 << 20, 1009)] {
        let mut socket = scene.socket().await;
        let frame = [&[0x81, 0xff], length.to_be_bytes().as_slice(), &[0; 4]].concat();
        socket.write_all(&frame).await.unwrap();
        let read = read_all(&mut socket).await;
        assert!(holds_code(&read, code), "{length}: {read:?}");
    }
    assert_eq!(scene.observer.refused(Refused::MessageBytes), 2);
    scene.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_one_byte_make_a_message_beside_a_hundred_who_never_finish_theirs() {
    let scene = Scene::start(Duration::from_secs(60));
    let mut halves = Vec::new();
    for _ in 0..100 {
        let mut socket = scene.socket().await;
        socket.write_all(&[0x01, 0x81, 0, 0, 0, 0, b'x']).await.unwrap();
        halves.push(socket);
    }
    let mut good = scene.socket().await;
    let message = br#"{"type":"ping","ref":"bytes"}"#;
    let last = message.len() - 1;
    for (n, byte) in message.iter().enumerate() {
        let first = u8::from(n == 0) | (u8::from(n == last) << 7);
        good.write_all(&[first, 0x81, 0, 0, 0, 0, *byte]).await.unwrap();
    }
    let wanted = br#""ref":"bytes""#;
    let mut read = Vec::new();
    while !read.windows(wanted.len()).any(|window| window == wanted) {
        read.push(timeout(DEADLINE, good.read_u8()).await.expect("in time").unwrap());
    }
    good.write_all(&text(b"{}")).await.unwrap();
    drop((halves, good));
    scene.is_empty().await;
}

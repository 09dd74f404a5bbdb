//! A process without file descriptors left tells its clients, and goes on accepting once it has some again.
//!
//! Alone in its process, since the limit is the process's own.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rowcast::telemetry::metrics::Observer;
use rowcast::telemetry::refusals::Refused;
use rowcast::transport::accept::{self, Limits};
use rowcast::transport::gate::Gate;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::span;
use warp::Filter;
use warp::reply::Reply;

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_clients_are_told_so_and_accepting_goes_on_later() {
    let warnings = Warnings::default();
    tracing::subscriber::set_global_default(warnings.clone()).unwrap();
    let listener = accept::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let minute = Duration::from_secs(60);
    let limits = Limits { connections: 100, farewells: 4, header_timeout: minute, drain: minute };
    let routes = warp::any().map(|| "served".into_response()).boxed();
    let stop = CancellationToken::new();
    let observer = Observer::default();
    let gate = Arc::new(Gate::of_all(observer.clone()));
    let serving = tokio::spawn(accept::serve(listener, routes, limits, gate, stop.clone()));

    // The clients have their descriptors before the last one is taken, and the server has begun.
    let clients: Vec<_> = (0..7).map(|_| TcpSocket::new_v4().unwrap()).collect();
    let _before = served(address).await;
    let mut clients = clients.into_iter();
    let last = clients.next().unwrap();
    let taken = take_all_descriptors();
    let began = Instant::now();
    let mut refused = Vec::new();
    for client in clients {
        let (answer, socket) = ask(client, address).await;
        refused.push(socket);
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"unavailable\""),
            "{answer}"
        );
    }
    // 5, 10, 20, 40 and 80 ms lie between six attempts; a loop that spins needs none of it.
    warnings.wait_for(6).await;
    assert!(began.elapsed() >= Duration::from_millis(155), "{:?}", began.elapsed());
    assert_eq!(observer.refused(Refused::Connections), 6);
    assert!(!serving.is_finished());

    drop(taken);
    let (after, _) = ask(last, address).await;
    assert!(after.starts_with("HTTP/1.1 200 ") && after.ends_with("served"), "{after}");
    stop.cancel();
    timeout(DEADLINE, serving).await.expect("the loop ends").unwrap();
}

/// A connection that stays, so that its end frees no descriptor.
async fn served(address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"served") {
        answer.push(timeout(DEADLINE, socket.read_u8()).await.expect("in time").unwrap());
    }
    socket
}

/// The answer, and the socket, whose descriptor is not to be free yet.
async fn ask(client: TcpSocket, address: SocketAddr) -> (String, TcpStream) {
    let mut socket = client.connect(address).await.unwrap();
    // Who is refused may find the connection closed already.
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let _ = socket.write_all(request).await;
    let mut answer = String::new();
    let _ = timeout(DEADLINE, socket.read_to_string(&mut answer)).await.expect("in time");
    (answer, socket)
}

fn take_all_descriptors() -> Vec<File> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(128), maximum }).unwrap();
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    taken
}

/// Counts what is worth a warning.
#[derive(Clone, Default)]
struct Warnings {
    count: Arc<AtomicUsize>,
    another: Arc<Notify>,
}

impl Warnings {
    async fn wait_for(&self, count: usize) {
        let waiting = async {
            while self.count.load(Ordering::SeqCst) < count {
                self.another.notified().await;
            }
        };
        timeout(DEADLINE, waiting).await.expect("the warnings in time");
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN && metadata.target().starts_with("rowcast")
    }

    fn event(&self, _: &tracing::Event<'_>) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.another.notify_one();
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

const DEADLINE: Duration = Duration::from_secs(60);

//! A real listener behind the real accept loop, whose sockets say again what they hear.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rowcast::domain::close::CloseReason;
use rowcast::protocol::websocket::{self, Decoder, Incoming};
use rowcast::transport::accept::{self, Limits, Peer};
use rowcast::transport::refusal::Refusal;
use rowcast::transport::upgrade::{self, Handshake, Upgraded};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::{Reply, Response};

/// Long enough that a good client on a busy machine never meets it.
pub const PATIENT: Limits = Limits {
    connections: 10_000,
    header_timeout: Duration::from_secs(60),
    drain: Duration::from_secs(60),
};

pub struct EchoServer {
    pub address: SocketAddr,
    pub stop: CancellationToken,
    /// The accept loop itself.
    pub serving: JoinHandle<()>,
    /// How many requests to `/held` have come in.
    pub held: watch::Receiver<usize>,
    /// Answers the requests to `/held`.
    pub release: CancellationToken,
}

impl EchoServer {
    pub fn start(limits: Limits) -> Self {
        Self::on(listener(), limits)
    }

    pub fn on(listener: TcpListener, limits: Limits) -> Self {
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let release = CancellationToken::new();
        let (arrivals, held) = watch::channel(0);
        let routes = echo()
            .or(held_back(arrivals, release.clone()))
            .unify()
            .or(warp::path!("peer").and(warp::ext::get::<Peer>()).map(tell_peer))
            .unify()
            .boxed();
        let serving = tokio::spawn(accept::serve(listener, routes, limits, stop.clone()));
        Self { address, stop, serving, held, release }
    }
}

/// On a free port, with nobody accepting yet.
pub fn listener() -> TcpListener {
    accept::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
}

fn echo() -> BoxedFilter<(Response,)> {
    let tasks = TaskTracker::new();
    warp::path!("echo")
        .and(upgrade::handshake())
        .map(move |handshake: Result<Handshake, Refusal>| match handshake {
            Ok(handshake) => handshake.grant(&tasks, |upgraded| async {
                // A client that leaves in the middle is what these tests are about.
                let _ = say_again(upgraded).await;
            }),
            Err(refusal) => refusal.into_response(),
        })
        .boxed()
}

fn held_back(
    arrivals: watch::Sender<usize>,
    release: CancellationToken,
) -> BoxedFilter<(Response,)> {
    warp::path!("held")
        .then(move || {
            arrivals.send_modify(|count| *count += 1);
            let release = release.clone();
            async move {
                release.cancelled().await;
                "released".into_response()
            }
        })
        .boxed()
}

fn tell_peer(Peer(address): Peer) -> Response {
    address.to_string().into_response()
}

async fn say_again(upgraded: Upgraded) -> io::Result<()> {
    let Upgraded { mut stream, early, seat } = upgraded;
    let _seat = seat;
    let mut decoder = Decoder::new(MAX_MESSAGE_BYTES);
    let mut open = answer(&mut decoder, &mut stream, &early).await?;
    let mut buffer = [0; 1024];
    while open {
        let count = stream.read(&mut buffer).await?;
        open = count > 0 && answer(&mut decoder, &mut stream, &buffer[..count]).await?;
    }
    Ok(())
}

/// Whether the connection goes on.
async fn answer(
    decoder: &mut Decoder,
    stream: &mut TcpStream,
    mut input: &[u8],
) -> io::Result<bool> {
    loop {
        let frame = match decoder.next(&mut input) {
            Ok(None) => return Ok(true),
            Ok(Some(Incoming::Text(text))) if text == "nodelay?" => {
                websocket::text(stream.nodelay()?.to_string().as_bytes())
            }
            Ok(Some(Incoming::Text(text))) => websocket::text(text.as_bytes()),
            Ok(Some(Incoming::Ping(payload))) => websocket::pong(&payload),
            Ok(Some(Incoming::Pong)) => continue,
            Ok(Some(Incoming::Close(code))) => {
                stream.write_all(&websocket::close(code.unwrap_or(1000), "")).await?;
                return Ok(false);
            }
            Err(reason) => {
                stream.write_all(&refused(reason)).await?;
                return Ok(false);
            }
        };
        stream.write_all(&frame).await?;
    }
}

fn refused(reason: CloseReason) -> bytes::Bytes {
    websocket::close(reason.code(), &reason.text())
}

pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

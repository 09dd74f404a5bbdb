//! The accept loop: from a listening socket to requests for the routes.
//!
//! In: TCP connections. Out: HTTP/1.1 requests for warp's routes, each with its [`Peer`] and its
//! [`Seat`] among the extensions. Invariant: whatever clients do, the number of connections is bounded,
//! a head that does not come in time ends its connection, who is refused is told so before anything of
//! theirs is read, and the loop neither spins nor ends before `stop`.
//!
//! warp's own server has no place for a header deadline, a cap or `TCP_NODELAY`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::descriptors::{self, Spare};
use super::gate::{AddressSeat, COME_BACK, Entry, Gate, Place};
use super::proxy_header::{self, BadHeader};
use super::refusal::Refusal;
use crate::telemetry::refusals::Refused;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at once, upgraded ones among them.
    pub connections: usize,
    /// Connections beside those that are being told to come back later; past them, nobody waits to be read.
    pub farewells: usize,
    /// How long a request's head may take to arrive, and an idle connection may wait for the next one.
    pub header_timeout: Duration,
    /// How long requests in flight may go on after `stop`.
    pub drain: Duration,
}

/// Where the connection of a request comes from, as the kernel or a PROXY header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// A connection's share of [`Limits::connections`], and of its address's: free again once the last clone is
/// dropped, so whoever takes over the socket keeps the seat beside it.
#[derive(Clone, Debug)]
pub struct Seat {
    _place: Arc<Place>,
    address: Option<Arc<AddressSeat>>,
}

impl Seat {
    /// The same, taken from the share of an address too, where it is counted.
    #[must_use]
    pub fn of_address(self, address: Option<AddressSeat>) -> Self {
        Self { address: address.map(Arc::new).or(self.address), ..self }
    }
}

/// Binds the address, with room for all clients of a restarted daemon to knock at once.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart need not wait for the last connections of the process before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A socket that was opened by somebody else, who keeps it: what waits behind it outlives this process.
pub fn take_over(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Serves `routes` until `stop`, then returns once the requests in flight are answered or out of time.
///
/// Upgraded connections are not waited for: they belong to the tasks that took them over.
pub async fn serve(
    listener: TcpListener,
    routes: BoxedFilter<(Response,)>,
    limits: Limits,
    gate: Arc<Gate>,
    stop: CancellationToken,
) {
    let door = Arc::new(Door::new(routes, limits, gate, stop.clone()));
    let mut spare = Spare::keep();
    let mut failures = 0;
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => {
                failures = 0;
                door.admit(stream, peer);
            }
            Err(error) => {
                let pause = pause_after(failures);
                failures += 1;
                let exhausted = descriptors::are_exhausted(&error);
                let refused =
                    if exhausted { door.send_away(&mut spare, &listener).await } else { 0 };
                tracing::warn!(%error, refused, ?pause, "cannot accept connections");
                stop.run_until_cancelled(sleep(pause)).await;
            }
        }
    }
    drop(listener);
    door.close().await;
}

/// Out of file descriptors the listener stays ready, so trying again at once would only spin.
fn pause_after(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE)
}

/// What every new connection is given.
struct Door {
    http: http1::Builder,
    routes: BoxedFilter<(Response,)>,
    gate: Arc<Gate>,
    farewells: Arc<Semaphore>,
    header_timeout: Duration,
    drain: Duration,
    stop: CancellationToken,
    open: TaskTracker,
}

impl Door {
    fn new(
        routes: BoxedFilter<(Response,)>,
        limits: Limits,
        gate: Arc<Gate>,
        stop: CancellationToken,
    ) -> Self {
        gate.set_connections(limits.connections);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(MAX_HEAD_BYTES);
        Self {
            http,
            routes,
            gate,
            farewells: Arc::new(Semaphore::new(limits.farewells)),
            header_timeout: limits.header_timeout,
            drain: limits.drain,
            stop,
            open: TaskTracker::new(),
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        // Else the second of two events waits some 40 ms for the first one's acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, %peer, "connection lost before it was served");
            return;
        }
        match self.gate.enter(peer).and_then(|entry| Ok((entry, self.seat(peer)?))) {
            Ok((Entry::Open(address), seat)) => {
                self.converse(stream, Peer(peer), seat.of_address(address));
            }
            Ok((Entry::Header, seat)) => self.hear_proxy(stream, peer, seat),
            Err(refusal) => self.turn_away(stream, &refusal),
        }
    }

    fn seat(&self, peer: SocketAddr) -> Result<Seat, Refusal> {
        match self.gate.place() {
            Ok(place) => Ok(Seat { _place: Arc::new(place), address: None }),
            Err(_full) => Err(self.gate.refuse(Refused::Connections, no_room(), peer.ip())),
        }
    }

    /// Serves the connection once its proxy has said whose it is.
    fn hear_proxy(self: &Arc<Self>, mut stream: TcpStream, proxy: SocketAddr, seat: Seat) {
        let door = Arc::clone(self);
        self.open.spawn(async move {
            let header = timeout(door.header_timeout, proxy_header::read(&mut stream));
            let Some(header) = door.stop.run_until_cancelled(header).await else { return };
            let peer = match header.unwrap_or(Err(BadHeader::Late)) {
                Ok(client) => client.unwrap_or(proxy),
                Err(error) => return door.gate.complain(proxy.ip(), &error),
            };
            match door.gate.seat_of_peer(peer) {
                Ok(address) => door.converse(stream, Peer(peer), seat.of_address(address)),
                Err(refusal) => door.turn_away(stream, &refusal),
            }
        });
    }

    async fn send_away(&self, spare: &mut Spare, listener: &TcpListener) -> usize {
        let refused = spare.send_away(listener, &no_room().farewell()).await;
        (0..refused).for_each(|_| self.gate.count(Refused::Connections));
        refused
    }

    fn converse(&self, stream: TcpStream, peer: Peer, seat: Seat) {
        let routes = TowerToHyperService::new(warp::service(self.routes.clone()));
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(seat.clone());
            routes.call(request)
        });
        let connection = self.http.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let (stop, drain) = (self.stop.clone(), self.drain);
        self.open.spawn(async move {
            let mut connection = Box::pin(connection);
            if let Some(end) = stop.run_until_cancelled(connection.as_mut()).await {
                return log_end(end, peer);
            }
            connection.as_mut().graceful_shutdown();
            match timeout(drain, connection).await {
                Ok(end) => log_end(end, peer),
                Err(_) => tracing::info!(peer = %peer.0, "request cut off by the stop"),
            }
        });
    }

    fn turn_away(&self, stream: TcpStream, refusal: &Refusal) {
        let farewell = refusal.farewell();
        match Arc::clone(&self.farewells).try_acquire_owned() {
            Ok(permit) => {
                self.open.spawn(async move {
                    let _permit = permit;
                    // A client that is gone needs no answer.
                    let _ = timeout(FAREWELL, say(stream, farewell)).await;
                });
            }
            // Nobody waits for this one: it gets what its empty send buffer takes at once.
            Err(_) => drop(stream.into_std().and_then(|mut stream| stream.write_all(&farewell))),
        }
    }

    async fn close(&self) {
        self.open.close();
        self.open.wait().await;
    }
}

/// Closing while the request is still unread would reset the connection, and the answer be lost.
async fn say(mut stream: TcpStream, farewell: Bytes) -> io::Result<()> {
    stream.write_all(&farewell).await?;
    stream.shutdown().await?;
    let mut unread = [0; 512];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

fn no_room() -> Refusal {
    Refusal::unavailable(
        "there are as many connections as there may be; come back later",
        COME_BACK,
    )
}

fn log_end(end: hyper::Result<()>, peer: Peer) {
    if let Err(error) = end {
        tracing::debug!(%error, peer = %peer.0, "connection ended early");
    }
}

/// The kernel takes no more than `net.core.somaxconn`. Past the customary 128, connections are dropped for a second
/// and more, and some clients go on believing that they are connected.
const BACKLOG: u32 = 65_535;

/// Room for a long token in each place that may carry one; a longer head is answered with 431.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// A client reads its refusal within a round trip.
const FAREWELL: Duration = Duration::from_secs(1);

const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// Short enough that clients hardly notice once descriptors are free again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        assert_eq!(pause_after(0), FIRST_PAUSE);
        assert_eq!(pause_after(3), FIRST_PAUSE * 8);
        assert_eq!(pause_after(u32::MAX), LONGEST_PAUSE);
    }
}

//! The accept loop: from a listening socket to requests for the routes.
//!
//! In: TCP connections. Out: HTTP/1.1 requests for warp's routes, each with its [`Peer`] and its
//! [`Seat`] among the extensions. Invariant: whatever clients do, the number of connections is bounded,
//! a head that does not come in time ends its connection, and the loop neither spins nor ends before `stop`.
//!
//! warp's own server has no place for a header deadline, a cap or `TCP_NODELAY`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::filters::BoxedFilter;
use warp::reply::Response;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at once, upgraded ones among them.
    pub connections: usize,
    /// How long a request's head may take to arrive, and an idle connection may wait for the next one.
    pub header_timeout: Duration,
    /// How long requests in flight may go on after `stop`.
    pub drain: Duration,
}

/// Where the connection of a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// A connection's share of [`Limits::connections`]: free again once the last clone is dropped, so
/// whoever takes over the socket keeps the seat beside it.
#[derive(Clone, Debug)]
pub struct Seat {
    _permit: Arc<OwnedSemaphorePermit>,
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
    stop: CancellationToken,
) {
    let door = Door::new(routes, limits, stop.clone());
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
                tracing::warn!(%error, ?pause, "cannot accept a connection");
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
    seats: Arc<Semaphore>,
    /// Bounds the connections that are being told to come back later.
    farewells: Arc<Semaphore>,
    drain: Duration,
    stop: CancellationToken,
    open: TaskTracker,
}

impl Door {
    fn new(routes: BoxedFilter<(Response,)>, limits: Limits, stop: CancellationToken) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(MAX_HEAD_BYTES);
        Self {
            http,
            routes,
            seats: Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS))),
            farewells: Arc::new(Semaphore::new(FAREWELLS)),
            drain: limits.drain,
            stop,
            open: TaskTracker::new(),
        }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        // Else the second of two events waits some 40 ms for the first one's acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, %peer, "connection lost before it was served");
            return;
        }
        match Arc::clone(&self.seats).try_acquire_owned() {
            Ok(permit) => self.converse(stream, Peer(peer), Seat { _permit: Arc::new(permit) }),
            Err(_) => self.turn_away(stream),
        }
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

    fn turn_away(&self, stream: TcpStream) {
        match Arc::clone(&self.farewells).try_acquire_owned() {
            Ok(permit) => {
                self.open.spawn(async move {
                    let _permit = permit;
                    // A client that is gone needs no answer.
                    let _ = timeout(FAREWELL, say_busy(stream)).await;
                });
            }
            // Nobody waits for this one: it gets what its empty send buffer takes at once.
            Err(_) => drop(stream.into_std().and_then(|mut stream| stream.write_all(BUSY))),
        }
    }

    async fn close(&self) {
        self.open.close();
        self.open.wait().await;
    }
}

/// Closing while the request is still unread would reset the connection, and the answer be lost.
async fn say_busy(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(BUSY).await?;
    stream.shutdown().await?;
    let mut unread = [0; 512];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
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

const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A client reads its refusal within a round trip.
const FAREWELL: Duration = Duration::from_secs(1);

/// Few enough that a flood costs next to nothing.
const FAREWELLS: usize = 64;

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

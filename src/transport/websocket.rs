//! Runs one upgraded socket.
//!
//! In: bytes of the client. Out: messages to its session, which answers through the hub. Invariant: an idle
//! connection holds no buffer; bytes are read into the stack, and only a frame's missing rest is remembered.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::timeout_at;

use super::accept::Seat;
use super::upgrade::Upgraded;
use crate::domain::close::CloseReason;
use crate::domain::principal::Principal;
use crate::hub::Sink;
use crate::protocol::native::Native;
use crate::protocol::websocket::{Decoder, Incoming};
use crate::session::{Connection, Services, UserSeat};
use crate::telemetry::metrics::Observer;
use crate::telemetry::notice::{Notice, Transport};
use crate::telemetry::refusals::Refused;

/// Takes the socket in; `None` when it is over already.
pub async fn open(
    upgraded: Upgraded,
    services: Arc<Services>,
    principal: Option<Principal>,
    seat: Option<UserSeat>,
) -> Option<Socket> {
    let stream = Arc::new(upgraded.stream);
    let observer = services.observer.clone();
    let sink = Arc::clone(&stream);
    let connection = Connection::open(services, sink, &Native, principal, seat).await?;
    observer.note(&Notice::ConnectionOpened(Transport::WebSocket));
    let (begun, closing, seat) = (None, None, upgraded.seat);
    let mut socket = Socket { stream, begun, connection, closing, observer, _seat: seat };
    socket.take(&upgraded.early).await.then_some(socket)
}

/// A connection that does nothing is as large as this and what it waits for.
pub struct Socket {
    stream: Arc<TcpStream>,
    /// Reads on where a message was cut.
    begun: Option<Box<Decoder>>,
    connection: Connection,
    /// How long the client has to answer a close.
    closing: Option<Instant>,
    observer: Observer,
    /// Free for the next connection once this one is over.
    _seat: Seat,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.observer.note(&Notice::ConnectionEnded(Transport::WebSocket));
    }
}

impl Socket {
    /// Until either side closes it. No `async fn`, which would hold the socket twice.
    #[expect(clippy::manual_async_fn, reason = "an argument of one is held twice")]
    pub fn serve(mut self) -> impl Future<Output = ()> + Send {
        async move { while self.go_on().await {} }
    }

    /// What is done for a client is boxed, so that one that does nothing is not as large as all of it.
    async fn go_on(&mut self) -> bool {
        match self.wait().await {
            Happened::Readable => Box::pin(self.read()).await,
            Happened::Gone => false,
            Happened::Due => Box::pin(self.tick()).await,
            Happened::RightsChanged => Box::pin(self.review_rights()).await,
        }
    }

    async fn wait(&mut self) -> Happened {
        let due = self.deadline().into();
        // `readable` would hold a place in a list of many who wait, and nobody else reads.
        let readable = poll_fn(|context| self.stream.poll_read_ready(context));
        tokio::select! {
            readable = timeout_at(due, readable) => Happened::of(readable),
            () = self.connection.rights_changed(), if self.closing.is_none() => {
                Happened::RightsChanged
            }
        }
    }

    fn deadline(&self) -> Instant {
        self.closing.unwrap_or_else(|| self.connection.deadline())
    }

    async fn tick(&mut self) -> bool {
        if self.closing.is_some() {
            return false;
        }
        self.connection.tick().await;
        self.note_close();
        true
    }

    async fn review_rights(&mut self) -> bool {
        self.connection.review_rights().await;
        self.note_close();
        true
    }

    async fn read(&mut self) -> bool {
        match self.decode_some() {
            Ok(incoming) => self.handle(incoming).await,
            Err(Stop::Gone) => false,
            Err(Stop::Broken(incoming, reason)) => {
                self.handle(incoming).await && self.refuse(reason).await
            }
        }
    }

    async fn take(&mut self, early: &[u8]) -> bool {
        let mut incoming = VecDeque::new();
        match self.decode(early, &mut incoming) {
            Ok(()) => self.handle(incoming).await,
            Err(reason) => self.handle(incoming).await && self.refuse(reason).await,
        }
    }

    /// Not async, so that the buffer is no part of the connection's state.
    fn decode_some(&mut self) -> Result<VecDeque<Incoming>, Stop> {
        let mut buffer = [0; READ_BYTES];
        let mut incoming = VecDeque::new();
        match self.stream.try_read(&mut buffer) {
            Ok(0) => Err(Stop::Gone),
            Ok(count) => match self.decode(&buffer[..count], &mut incoming) {
                Ok(()) => Ok(incoming),
                Err(reason) => Err(Stop::Broken(incoming, reason)),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(incoming),
            Err(_) => Err(Stop::Gone),
        }
    }

    /// Between two messages nothing is kept.
    fn decode(
        &mut self,
        mut bytes: &[u8],
        incoming: &mut VecDeque<Incoming>,
    ) -> Result<(), CloseReason> {
        let fresh = || Decoder::new(self.connection.max_message_bytes());
        let mut decoder = self.begun.take().map_or_else(fresh, |begun| *begun);
        let decoded = loop {
            match decoder.next(&mut bytes) {
                Ok(Some(message)) => incoming.push_back(message),
                Ok(None) => break Ok(()),
                Err(reason) => break Err(reason),
            }
        };
        self.begun = (!decoder.is_fresh()).then(|| Box::new(decoder));
        decoded
    }

    /// Whether the connection goes on.
    async fn handle(&mut self, incoming: VecDeque<Incoming>) -> bool {
        for message in incoming {
            match message {
                Incoming::Text(text) => self.connection.text(&text).await,
                Incoming::Ping(payload) => self.connection.ping(&payload).await,
                Incoming::Pong => self.connection.pong(),
                Incoming::Close(code) => {
                    let answer = CloseReason::Answer(code.unwrap_or(NORMAL));
                    self.connection.close(answer).await;
                    return false;
                }
            }
        }
        self.note_close();
        true
    }

    async fn refuse(&mut self, reason: CloseReason) -> bool {
        if reason == CloseReason::TooBig {
            self.observer.note(&Notice::Refused(Refused::MessageBytes));
        }
        self.connection.close(reason).await;
        self.note_close();
        true
    }

    fn note_close(&mut self) {
        if self.connection.is_closed() && self.closing.is_none() {
            self.closing = Some(Instant::now() + CLOSE_ANSWER);
        }
    }
}

/// What a connection that does nothing is woken by.
enum Happened {
    Readable,
    Gone,
    Due,
    RightsChanged,
}

impl Happened {
    fn of(readable: Result<io::Result<()>, Elapsed>) -> Self {
        match readable {
            Ok(Ok(())) => Self::Readable,
            Ok(Err(_)) => Self::Gone,
            Err(_due) => Self::Due,
        }
    }
}

enum Stop {
    Gone,
    /// What came before the broken frame, and what is wrong with it.
    Broken(VecDeque<Incoming>, CloseReason),
}

/// The writing half, which the hub holds.
impl Sink for TcpStream {
    /// Straight to the kernel: what tokio keeps of the socket's readiness is of use only once it takes no more.
    fn try_write(&self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
        let socket = SockRef::from(self);
        let sent = match frames {
            [one] => socket.send(one),
            several => socket.send_vectored(several),
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.try_write_vectored(frames)
            }
            sent => sent,
        }
    }

    fn writable(&self) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>> {
        Box::pin(Self::writable(self))
    }

    fn finish(&self) {
        let _ = SockRef::from(self).shutdown(Shutdown::Write);
    }

    fn abort(&self) {
        let _ = SockRef::from(self).shutdown(Shutdown::Both);
    }
}

/// One read; requests are small, and what is longer takes a few reads more.
const READ_BYTES: usize = 4096;

/// The client's time to answer a close frame with its own.
const CLOSE_ANSWER: Duration = Duration::from_secs(5);

/// A close without a code is answered with this one (RFC 6455 section 7.4.1).
const NORMAL: u16 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten thousand of these are most of what a daemon holds.
    #[test]
    fn a_connection_that_does_nothing_is_small() {
        fn size<F>(_: impl FnOnce(Socket) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(Socket::serve) <= 768, "{} bytes", size(Socket::serve));
    }
}

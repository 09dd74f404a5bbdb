//! Who publishes: for rowcast a transaction an event, for the others whatever is quickest for them.
//!
//! In: when to publish. Out: events on their way. Invariant: publishing is done on the load's core, and never waits
//! for a server's answer.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::Outcome;
use crate::raw::Raw;

pub enum Publisher {
    /// Each permit is a commit, over a few connections.
    Commits(Arc<Semaphore>),
    Raw(Raw),
    Wire(Wire),
}

impl Publisher {
    /// So many events, which only the raw server takes together.
    pub fn publish(&mut self, events: u32) -> Outcome<()> {
        match self {
            Self::Commits(permits) if permits.is_closed() => Err("the publisher failed".into()),
            Self::Commits(permits) => {
                permits.add_permits(usize::try_from(events)?);
                Ok(())
            }
            Self::Raw(raw) => raw.send(events),
            Self::Wire(wire) => (0..events).try_for_each(|_| wire.publish()),
        }
    }
}

/// A connection on which an event is always the same bytes.
pub struct Wire {
    stream: TcpStream,
    event: Vec<u8>,
}

impl Wire {
    pub fn open(port: u16, event: Vec<u8>) -> Outcome<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, event })
    }

    fn publish(&mut self) -> Outcome<()> {
        let event = std::mem::take(&mut self.event);
        let said = self.say(&event);
        self.event = event;
        said
    }

    pub fn say(&mut self, mut bytes: &[u8]) -> Outcome<()> {
        while !bytes.is_empty() {
            self.listen()?;
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes the answers away; nobody reads them, but NATS asks whether we are still there.
    fn listen(&mut self) -> Outcome<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err("the server hung up on the publisher".into()),
            Ok(count) if buffer[..count].ends_with(b"PING\r\n") => {
                Ok(self.stream.write_all(b"PONG\r\n")?)
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

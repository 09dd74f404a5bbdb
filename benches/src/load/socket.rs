//! One client of the load: a socket, and what it has got.
//!
//! In: bytes of a server. Out: how many data frames are complete, and the texts of those that are asked for. Invariant:
//! what a server wants answered is answered, so that it goes on sending.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;

use crate::Outcome;
use crate::dialect::{Dialect, Ear, Heard};
use crate::frames::{CLOSE, PING, TEXT, Walker, masked};

pub(super) struct Socket {
    pub(super) stream: TcpStream,
    /// The answer to the upgrade, until it is complete; `None` from then on.
    pub(super) head: Option<Vec<u8>>,
    walker: Walker,
    pub(super) ear: Ear,
    pub(super) seen: u64,
    pub(super) kept: Vec<String>,
    pub(super) closed: bool,
}

impl Socket {
    pub(super) fn open(
        server: SocketAddr,
        request: Option<&str>,
        dialect: Dialect,
        buffer: Option<usize>,
    ) -> Outcome<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        if let Some(bytes) = buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.connect(&server.into())?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        // A reset at the end: thousands of ports that wait for a minute would be missing in the next case.
        socket.set_linger(Some(Duration::ZERO))?;
        let mut stream = TcpStream::from_std(socket.into());
        if let Some(request) = request {
            stream.write_all(request.as_bytes())?;
        }
        let head = request.map(|_| Vec::new());
        let (walker, ear, kept) = (Walker::default(), Ear::new(dialect), Vec::new());
        Ok(Self { stream, head, walker, ear, seen: 0, kept, closed: false })
    }

    pub(super) fn say(&mut self, text: &str) -> Outcome<()> {
        Ok(self.stream.write_all(&masked(TEXT, text.as_bytes()))?)
    }

    /// How many bytes have come; `None` where there are none.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    self.closed = true;
                    return None;
                }
                Ok(count) => return Some(count),
            }
        }
    }

    /// How many data frames are complete with these bytes.
    pub(super) fn take(&mut self, bytes: &[u8], keep: usize) -> Outcome<u64> {
        let mut rest = bytes;
        let joined;
        if let Some(head) = &mut self.head {
            head.extend(bytes);
            let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
                return Ok(0);
            };
            if !head.starts_with(b"HTTP/1.1 101") {
                return Err(format!("no upgrade: {}", String::from_utf8_lossy(head)).into());
            }
            joined = head.split_off(end + 4);
            self.head = None;
            rest = &joined;
        }
        let (mut new, mut answers) = (0, Vec::new());
        let (ear, kept, closed) = (&mut self.ear, &mut self.kept, &mut self.closed);
        self.walker.walk(rest, |opcode, piece| match opcode {
            PING if piece.last => answers.push(masked(PONG, &[])),
            PING => {}
            CLOSE => *closed = true,
            _ => ear.hear(piece, |heard| match heard {
                Heard::Message => {
                    new += 1;
                    if kept.len() < keep {
                        // Texts that came in parts are none that anybody looks at.
                        let text = if piece.first { piece.bytes } else { &[] };
                        kept.push(String::from_utf8_lossy(text).into_owned());
                    }
                }
                Heard::Question(answer) => answers.push(masked(TEXT, answer.as_bytes())),
            }),
        });
        for answer in answers {
            let _ = self.stream.write(&answer);
        }
        self.seen += new;
        Ok(new)
    }
}

pub(super) fn upgrade(token: &str) -> String {
    format!(
        "GET /v1/ws HTTP/1.1\r\nhost: bench\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
         authorization: Bearer {token}\r\n\r\n"
    )
}

pub fn upgrade_of_peer(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
}

const PONG: u8 = 10;

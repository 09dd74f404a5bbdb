//! What other servers say in the frames of a WebSocket.
//!
//! In: payloads, piece by piece. Out: which of it are messages, and what the server wants to hear. Invariant: of a
//! message only what is needed to know it for one is looked at, wherever the stream is cut.

use crate::frames::Piece;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A frame is a message, and a client that is connected is subscribed.
    Plain,
    /// Engine.IO 4 with Socket.IO 5 in it: the first characters say what a frame is.
    SocketIo,
    /// The protocol of NATS is a stream of its own, cut into frames anywhere.
    Nats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Message,
    /// Something to be answered so.
    Question(&'static str),
}

#[derive(Debug)]
pub struct Ear {
    dialect: Dialect,
    /// The server has said that it is subscribed.
    pub ready: bool,
    /// The beginning of a frame, or of a line of NATS.
    start: Vec<u8>,
    /// Bytes of a message of NATS that are still to come.
    left: usize,
}

impl Ear {
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, ready: dialect == Dialect::Plain, start: Vec::new(), left: 0 }
    }

    pub fn hear(&mut self, piece: Piece, mut heard: impl FnMut(Heard)) {
        match self.dialect {
            Dialect::Plain if piece.last => heard(Heard::Message),
            Dialect::Plain => {}
            Dialect::SocketIo => self.packet(piece).into_iter().for_each(heard),
            Dialect::Nats => self.stream(piece.bytes, heard),
        }
    }

    fn packet(&mut self, piece: Piece) -> Option<Heard> {
        if piece.first {
            self.start.clear();
        }
        let wanted = piece.bytes.iter().take(2 - self.start.len());
        self.start.extend(wanted);
        match self.start[..] {
            _ if !piece.last => None,
            [b'4', b'2'] => Some(Heard::Message),
            [b'4', b'0'] => {
                self.ready = true;
                None
            }
            [b'0', _] => Some(Heard::Question("40")),
            [b'2', ..] => Some(Heard::Question("3")),
            _ => None,
        }
    }

    fn stream(&mut self, mut bytes: &[u8], mut heard: impl FnMut(Heard)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = &bytes[taken..];
                if self.left == 0 {
                    heard(Heard::Message);
                }
                continue;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.start.extend(line);
            bytes = rest;
            if end.is_some() {
                self.line().into_iter().for_each(&mut heard);
                self.start.clear();
            }
        }
    }

    fn line(&mut self) -> Option<Heard> {
        let line = self.start.trim_ascii_end();
        if line.starts_with(b"MSG ") {
            let size = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
            let size = size.iter().fold(0, |size, digit| size * 10 + usize::from(digit - b'0'));
            self.left = size + b"\r\n".len();
        }
        self.ready |= line == b"PONG";
        match line {
            b"PING" => Some(Heard::Question("PONG\r\n")),
            line if line.starts_with(b"INFO ") => Some(Heard::Question(SUBSCRIBE)),
            _ => None,
        }
    }
}

/// What is answered with `PONG` has been done.
const SUBSCRIBE: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB all 1\r\nPING\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{Walker, unmasked};

    /// What is heard however the stream of frames is cut in two.
    fn heard(dialect: Dialect, frames: &[&str]) -> Vec<Heard> {
        let stream: Vec<u8> = frames.iter().flat_map(|text| unmasked(text.as_bytes())).collect();
        let all: Vec<Vec<Heard>> = (0..=stream.len())
            .map(|cut| {
                let (mut walker, mut ear, mut all) =
                    (Walker::default(), Ear::new(dialect), Vec::new());
                for part in [&stream[..cut], &stream[cut..]] {
                    walker.walk(part, |_, piece| ear.hear(piece, |heard| all.push(heard)));
                }
                assert!(ear.ready, "cut at {cut}");
                all
            })
            .collect();
        assert!(all.iter().all(|heard| *heard == all[0]), "depends on where it is cut: {all:?}");
        all[0].clone()
    }

    #[test]
    fn packets_of_socket_io_are_told_apart_by_their_beginning() {
        let frames = ["0{\"sid\":\"x\"}", "40{\"sid\":\"y\"}", "2", "42[\"event\",{}]", "42[]"];
        let (message, question) = (Heard::Message, Heard::Question);
        assert_eq!(
            heard(Dialect::SocketIo, &frames),
            [question("40"), question("3"), message, message]
        );
    }

    #[test]
    fn messages_of_nats_are_counted_whatever_frames_they_are_in() {
        let frames = [
            "INFO {\"version\":\"2\"}\r\n",
            "PONG\r\n",
            "MSG all 1 3\r\nabc\r\nMSG all 1 11\r\nMSG a 1 2\r\n",
            "\r\nPING\r\nMSG all 1 0\r\n\r\n",
        ];
        let (message, question) = (Heard::Message, Heard::Question);
        assert_eq!(
            heard(Dialect::Nats, &frames),
            [question(SUBSCRIBE), message, message, question("PONG\r\n"), message]
        );
    }
}

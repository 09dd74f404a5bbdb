//! RFC 6455, the server's side: frames of a client to messages, and messages to frames.
//!
//! In: bytes as they were read, cut anywhere. Out: [`Incoming`], or the [`CloseReason`] that the client
//! has earned; and encoded frames as `Bytes` that any number of sockets can share, since a server does not
//! mask. Invariant: memory follows the bytes received, never the bytes announced, and a connection that
//! stands between two messages holds no buffer at all.

mod encode;
mod head;

use std::mem;

use bytes::Bytes;

pub use self::encode::{close, ping, pong, text};
use self::head::{Frame, Head, Opcode, Situation};
use crate::domain::close::CloseReason;

/// What a client has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    Text(String),
    /// To be answered by a pong with the same payload.
    Ping(Bytes),
    Pong,
    /// The client closes, with the code it gave. Whatever follows is ignored.
    Close(Option<u16>),
}

/// Reads one client's frames. It keeps the begun message and nothing else.
#[derive(Debug)]
pub struct Decoder {
    max_message_bytes: usize,
    head: Head,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    /// The data frames of the begun message so far, unmasked.
    message: Vec<u8>,
    /// How much of `message` is known to be whole UTF-8 characters.
    checked: usize,
    /// Whether a message has begun whose last frame has not.
    fragmented: bool,
    control: Vec<u8>,
    over: bool,
}

impl Decoder {
    pub fn new(max_message_bytes: usize) -> Self {
        Self {
            max_message_bytes,
            head: Head::default(),
            frame: None,
            message: Vec::new(),
            checked: 0,
            fragmented: false,
            control: Vec::new(),
            over: false,
        }
    }

    /// Takes the next message off the front of `input`.
    ///
    /// `None` says that `input` is used up, so the caller can reuse or free its read buffer at once.
    /// After a close or an error everything further is swallowed.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, CloseReason> {
        let outcome = if self.over { Ok(None) } else { self.advance(input) };
        if matches!(outcome, Err(_) | Ok(Some(Incoming::Close(_)))) {
            *self = Self { over: true, ..Self::new(self.max_message_bytes) };
        }
        if self.over {
            *input = &[];
        }
        outcome
    }

    /// Whether a new one would go on in the same way.
    pub const fn is_fresh(&self) -> bool {
        let is_begun = self.fragmented || self.frame.is_some() || !self.head.is_empty();
        !self.over && !is_begun
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, CloseReason> {
        loop {
            let Some(mut frame) = self.frame.take() else {
                self.frame = self.head.read(input, self.situation())?;
                if self.frame.is_none() {
                    return Ok(None);
                }
                continue;
            };
            self.absorb(&mut frame, input)?;
            if frame.remaining > 0 {
                self.frame = Some(frame);
                return Ok(None);
            }
            if let Some(incoming) = self.finish(&frame)? {
                return Ok(Some(incoming));
            }
        }
    }

    fn situation(&self) -> Situation {
        Situation { fragmented: self.fragmented, room: self.max_message_bytes - self.message.len() }
    }

    fn absorb(&mut self, frame: &mut Frame, input: &mut &[u8]) -> Result<(), CloseReason> {
        let (piece, rest) = input.split_at(frame.remaining.min(input.len()));
        *input = rest;
        if frame.opcode.is_control() {
            frame.unmask_into(piece, &mut self.control);
            return Ok(());
        }
        frame.unmask_into(piece, &mut self.message);
        self.check_text()
    }

    /// Fails as soon as no continuation could make the text valid; a character cut in two may go on.
    fn check_text(&mut self) -> Result<(), CloseReason> {
        match str::from_utf8(&self.message[self.checked..]) {
            Ok(_) => self.checked = self.message.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(CloseReason::BrokenText),
        }
        Ok(())
    }

    fn finish(&mut self, frame: &Frame) -> Result<Option<Incoming>, CloseReason> {
        match frame.opcode {
            Opcode::Text | Opcode::Continuation => self.finish_data(frame.is_last),
            Opcode::Ping => Ok(Some(Incoming::Ping(mem::take(&mut self.control).into()))),
            Opcode::Pong => {
                self.control = Vec::new();
                Ok(Some(Incoming::Pong))
            }
            Opcode::Close => {
                close_code(&mem::take(&mut self.control)).map(Incoming::Close).map(Some)
            }
        }
    }

    fn finish_data(&mut self, is_last: bool) -> Result<Option<Incoming>, CloseReason> {
        self.fragmented = !is_last;
        if !is_last {
            return Ok(None);
        }
        self.checked = 0;
        // The last check: a text must not end inside a character.
        let text = String::from_utf8(mem::take(&mut self.message));
        text.map(Incoming::Text).map(Some).map_err(|_| CloseReason::BrokenText)
    }
}

/// The code in a close frame's payload: empty, or two bytes and a reason in UTF-8.
fn close_code(payload: &[u8]) -> Result<Option<u16>, CloseReason> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(CloseReason::BrokenFraming) };
    };
    let code = u16::from_be_bytes(*code);
    if !may_be_sent(code) {
        return Err(CloseReason::BrokenFraming);
    }
    str::from_utf8(reason).map(|_| Some(code)).map_err(|_| CloseReason::BrokenText)
}

/// RFC 6455 section 7.4 and the registrations since: 1004, 1005, 1006 and 1015 never travel.
const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod equivalence;

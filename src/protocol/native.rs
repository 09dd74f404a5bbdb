//! The `rowcast.v1` protocol: one JSON object a text frame.
//!
//! In: [`ServerMessage`]s and [`Event`]s, and the text of clients. Out: WebSocket frames and [`Request`]s.
//! Invariant: JSON that came from the database is passed on byte for byte.

mod decode;
mod encode;

use bytes::Bytes;

use super::{Wire, websocket};
use crate::domain::channel::Channel;
use crate::domain::close::CloseReason;
use crate::domain::event::Event;
use crate::domain::message::{BadRequest, Request, ServerMessage};

/// The native protocol over a WebSocket.
pub struct Native;

impl Wire for Native {
    fn slot(&self) -> usize {
        0
    }

    fn change(&self, event: &Event, id: &str, channel: &Channel) -> Bytes {
        websocket::text(encode::change(event, id, channel).as_bytes())
    }

    fn message(&self, message: &ServerMessage) -> Bytes {
        websocket::text(encode::message(message).to_string().as_bytes())
    }

    fn ping(&self) -> Bytes {
        websocket::ping(&[])
    }

    fn pong(&self, payload: &[u8]) -> Bytes {
        websocket::pong(payload)
    }

    fn close(&self, reason: CloseReason) -> Bytes {
        websocket::close(reason.code(), &reason.text())
    }

    fn decode(&self, text: &str) -> Result<Request, BadRequest> {
        decode::request(text)
    }
}

//! Wire formats: bytes to messages and back.
//!
//! In: text frames of clients, events and messages of the service. Out: [`Request`]s and frames ready for the
//! socket. Invariant: pure, and total: any bytes give a request or a refusal, never a panic.

pub mod native;
pub mod websocket;

use bytes::Bytes;

use crate::domain::channel::Channel;
use crate::domain::close::CloseReason;
use crate::domain::event::Event;
use crate::domain::message::{BadRequest, Request, ServerMessage};

/// How one kind of client is spoken to. A frame is everything that goes to the socket, so that one encoding
/// serves all subscribers of a channel on this wire.
pub trait Wire: Send + Sync + 'static {
    /// This wire's place in a table of [`WIRES`] encodings of one event.
    fn slot(&self) -> usize;

    /// `id` is the event's own, or one that knows what this subscriber has seen.
    fn change(&self, event: &Event, id: &str, channel: &Channel) -> Bytes;

    fn message(&self, message: &ServerMessage) -> Bytes;

    fn ping(&self) -> Bytes;

    fn pong(&self, payload: &[u8]) -> Bytes;

    fn close(&self, reason: CloseReason) -> Bytes;

    fn decode(&self, text: &str) -> Result<Request, BadRequest>;
}

/// How many wires there are.
pub const WIRES: usize = 1;

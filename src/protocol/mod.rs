//! Wire formats: bytes to messages and back.
//!
//! In: bytes of a client. Out: messages, and bytes for a client. Invariant: pure; nothing here does IO,
//! waits or knows who is connected.

pub mod websocket;

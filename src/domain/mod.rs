//! What the service means, without a socket, a clock or a database.
//!
//! In: values. Out: values. Invariant: nothing here does IO, reads a clock or knows tokio;
//! time and randomness arrive as arguments.

pub mod channel;
pub mod close;
pub mod compact;
pub mod event;
pub mod message;
pub mod past;
pub mod policy;
pub mod position;
pub mod principal;
pub mod rights;
pub mod routes;
pub mod session;
pub mod snapshot;
pub mod template;

//! Everything that speaks to PostgreSQL.
//!
//! In: connection strings, SQL files, the event log. Out: connections, batches of events, answers.
//! Invariant: nothing above this room sees a query, and nothing here knows who is subscribed.

pub mod authorize;
pub mod connect;
pub mod error;
mod parameters;
pub mod pool;
mod target;
mod tls;

pub mod diagnosis;
pub mod migrations;
pub mod watches;

pub mod backfill;
pub mod event_log;
pub mod identity;
pub mod listener;
pub mod replay_log;
pub mod retention;
pub mod revocations;
pub mod tickets;

pub mod scratch;
pub mod server_binaries;

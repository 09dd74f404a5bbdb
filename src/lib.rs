//! rowcast: live updates for applications that already live on PostgreSQL.
//!
//! The rooms, from the outside in; a room imports from rooms below it only (held by `tests/tidy.rs`):
//!
//! ```text
//! L5  cli · app                       composition: the only place that knows everything
//! L4  transport                       sockets and HTTP: warp lives here and nowhere else
//! L3  session · hub · ingest ·        services: tasks, channels, caches
//!     history · retention · access ·
//!     admission
//! L2  postgres · auth                 adapters: one outside system each
//! L1  protocol                        wire formats: bytes to messages and back, pure
//! L0  domain                          what the service means: pure; no tokio, no clock, no IO
//! --  config · telemetry · lifecycle  shared shelf
//! ```

pub mod domain;

pub mod protocol;

pub mod auth;
pub mod postgres;

pub mod access;
pub mod admission;
pub mod hub;

pub mod history;
pub mod ingest;
pub mod retention;
pub mod session;

pub mod transport;

pub mod app;
pub mod cli;

pub mod config;
pub mod lifecycle;
pub mod telemetry;

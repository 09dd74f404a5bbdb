//! How the daemon is: whether it is ready, and how it is asked to stop.
//!
//! In: what ingest says of the database, the signals of the process. Out: [`Health`] for whoever watches.
//! Invariant: ready means that LISTEN is up, the log was read once since, and nobody asked the daemon to stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The first connection to the database is being made.
    Starting,
    Ready,
    /// The database is away; why.
    Degraded(String),
    /// It can't be followed as things are set up; why.
    Refused(String),
    /// Somebody asked the daemon to stop.
    Draining,
}

impl Health {
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }
}

/// Cancels the token at SIGTERM or SIGINT.
pub fn stop_on_signal(stop: CancellationToken) -> io::Result<()> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

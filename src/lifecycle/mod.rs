//! How the daemon is, and how it speaks with whoever started it: a service manager, or a person.
//!
//! In: what ingest says of the database, the signals of the process, what a service manager hands over. Out:
//! [`Health`] for whoever watches, and what the [`Supervisor`] is told.
//! Invariant: ready means that LISTEN is up, the log was read once since, and nobody asked the daemon to stop.

mod indispensable;
mod notify;
mod sockets;
mod status;
mod watchdog;

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub use indispensable::indispensable;
pub use notify::Supervisor;
pub use sockets::{Handed, HandedFault};
pub use status::status;
pub use watchdog::{Hung, Pulse, Watchdog};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The first connection to the database is being made.
    Starting,
    Ready,
    /// The database is away, or is not as this program needs it; why.
    Degraded(String, Told),
    /// It can't be followed as things are set up; why.
    Refused(String),
    /// Somebody asked the daemon to stop.
    Draining,
}

/// What strangers may know of a trouble, which may name servers and users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Away,
    Schema,
}

impl Told {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Away => "the database is away",
            Self::Schema => {
                "the schema rowcast is not what this program needs: run rowcast migrate, or the program that fits it"
            }
        }
    }
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

/// Each SIGHUP from now on; the process is no longer ended by one.
pub fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

//! Everything worth noticing, in one list that the log and the metrics both read.
//!
//! In: one call where something happens. Out: a log line where a person wants one, and a figure for each. Invariant:
//! no notice holds a token, a secret or a row; what happens for each event costs a few additions.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use super::refusals::Refused;

pub enum Notice<'a> {
    /// A client's connection, from the upgrade to its end.
    ConnectionOpened(Transport),
    ConnectionEnded(Transport),
    Refused(Refused),
    /// Refused in a way that whoever runs the daemon may want to know of; `loud` now and then, however many there are.
    AddressRefused {
        what: Refused,
        address: IpAddr,
        loud: bool,
    },
    CredentialRefused(&'a dyn Display),
    /// A credential that nobody can judge at the moment.
    CredentialUnknown(&'a dyn Display),
    /// Events came from the database; the newest was captured so long ago.
    Read {
        source: Source,
        events: usize,
        age: Option<Duration>,
    },
    /// Frames went to the sockets in so many writes, the newest event's so long after it was captured.
    Delivered {
        frames: usize,
        writes: usize,
        age: Option<Duration>,
    },
    /// A subscription began with something of the past, or asked for it in vain.
    Resumed(&'static str),
    /// A socket was too slow, and its subscriptions are caught up.
    Lagged,
    /// A socket took nothing for too long.
    GivenUp,
    /// The daemon follows the database; whether it did before and had lost it.
    Following {
        again: bool,
    },
    Lost(&'a str),
    Mode(Mode),
    /// Rights changed, and those concerned are judged again.
    RightsChanged,
    Overrun,
    /// The log was pruned past what this node had read.
    Overtaken,
    PayloadIgnored(&'a dyn Display),
    HistoryUnread(&'a dyn Display),
    LogTrimmed {
        parts: i32,
        freed: i64,
        bytes: Option<i64>,
    },
    LogMeasured {
        bytes: Option<i64>,
        floor_age: Duration,
        queue_usage: f64,
    },
    LogTrouble(&'a str),
    FunctionSilent(&'a dyn Display),
    FunctionAnswers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    WebSocket,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Log,
    Notification,
}

/// How the log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every few milliseconds; writers don't notify.
    Awake,
    /// This node holds the lock that tells writers to notify.
    Asleep,
    /// Another node holds it, and may let go of it at any time.
    Beside,
}

impl Transport {
    pub const fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
        }
    }
}

impl Source {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Notification => "notification",
        }
    }
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Awake, Self::Asleep, Self::Beside];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Awake => "awake",
            Self::Asleep => "asleep",
            Self::Beside => "beside",
        }
    }
}

impl Notice<'_> {
    /// The line in the log, for what a person wants to read there.
    pub(super) fn log(&self) {
        match self {
            Self::AddressRefused { what, address, loud: true } => {
                let hint = match what {
                    Refused::Attempts | Refused::ConnectionsPerAddress => NAME_IT,
                    _ => "",
                };
                tracing::warn!(limit = what.name(), %address, "client refused{hint}");
            }
            Self::AddressRefused { what, address, loud: false } => {
                tracing::debug!(limit = what.name(), %address, "client refused");
            }
            Self::CredentialRefused(reason) => tracing::info!(%reason, "credential refused"),
            Self::CredentialUnknown(error) => {
                tracing::warn!(%error, "a credential can't be looked up");
            }
            Self::GivenUp => tracing::info!("closed a connection that took nothing for too long"),
            Self::Following { again: true } => tracing::info!("the database is back"),
            Self::Lost(cause) => tracing::warn!(cause, "cannot follow the database; trying again"),
            Self::Overrun => {
                tracing::warn!("notifications came faster than they could be taken; some are gone");
            }
            Self::Overtaken => tracing::warn!(
                "the log was pruned past what this node had read; every client is told"
            ),
            Self::PayloadIgnored(error) => tracing::debug!(%error, "notification ignored"),
            Self::HistoryUnread(error) => {
                tracing::warn!(%error, "the log could not be read for a client that came back");
            }
            Self::LogTrimmed { parts, freed, bytes } => {
                tracing::info!(parts, freed, bytes, "removed old events from the log");
            }
            Self::LogTrouble(cause) => {
                tracing::warn!(
                    cause,
                    "the event log cannot be kept within its limits; trying again"
                );
            }
            Self::FunctionSilent(error) => {
                tracing::error!(%error, "authorize.function cannot be asked: nobody may subscribe to what it decides");
            }
            Self::FunctionAnswers => tracing::info!("authorize.function is asked"),
            Self::ConnectionOpened(_)
            | Self::ConnectionEnded(_)
            | Self::Refused(_)
            | Self::Read { .. }
            | Self::Delivered { .. }
            | Self::Resumed(_)
            | Self::Lagged
            | Self::Following { again: false }
            | Self::Mode(_)
            | Self::RightsChanged
            | Self::LogMeasured { .. } => {}
        }
    }
}

const NAME_IT: &str = "; if it is a proxy, name it in server.trusted_proxies";

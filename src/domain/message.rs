//! The one vocabulary that all wires share: what clients ask and what the service answers.

use std::sync::Arc;

use super::channel::Pattern;

/// A request, already checked for form.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub reference: Option<Reference>,
    pub body: ClientMessage,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ClientMessage {
    Auth { token: String },
    Subscribe(Subscribe),
    Unsubscribe { pattern: Pattern },
    Ping,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    pub pattern: Pattern,
    /// Resume behind the event with this id.
    pub after: Option<String>,
    /// The last so many events first, where nothing is resumed.
    pub history: Option<u16>,
    /// Of what was missed, only the newest change of each row.
    pub compact: bool,
}

/// What a client calls its request; echoed in the reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Reference {
    Number(i64),
    Text(Box<str>),
}

/// A frame that is no request, with the reply it gets.
#[derive(Clone, Debug, PartialEq)]
pub struct BadRequest {
    /// Whether the frame was no JSON object at all: ten of those in a minute end the connection.
    pub unreadable: bool,
    pub refusal: Refusal,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ServerMessage {
    Welcome {
        session: Box<str>,
        user: Option<Arc<str>>,
        heartbeat_ms: u64,
        max_message_bytes: usize,
    },
    Authenticated {
        reference: Option<Reference>,
        user: Option<Arc<str>>,
    },
    Subscribed {
        reference: Option<Reference>,
        pattern: Pattern,
        /// `None` when nothing was ever read.
        position: Option<Box<str>>,
        recovered: bool,
        replayed: u64,
    },
    Unsubscribed {
        reference: Option<Reference>,
        pattern: Pattern,
    },
    Refused(Refusal),
    Reset {
        pattern: Pattern,
        reason: ResetReason,
    },
    /// The session was too slow, and is being caught up.
    Lagged {
        pattern: Pattern,
        /// `None` where the place has no name just now.
        position: Option<Box<str>>,
    },
    TokenExpiring {
        in_ms: u64,
    },
    System {
        event: SystemEvent,
        message: &'static str,
        at: Box<str>,
    },
    Pong {
        reference: Option<Reference>,
    },
}

/// An `error` message: a stable code and a sentence a developer can act on.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub reference: Option<Reference>,
    pub code: ErrorCode,
    pub message: String,
    pub channel: Option<String>,
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    pub fn new(reference: Option<Reference>, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { reference, code, message: message.into(), channel: None, retry_after_ms: None }
    }

    #[must_use]
    pub fn on(mut self, channel: impl Into<String>) -> Self {
        self.channel = Some(channel.into());
        self
    }

    #[must_use]
    pub const fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    BadMessage,
    UnknownType,
    BadChannel,
    BadFilter,
    Unauthorized,
    Forbidden,
    NotSubscribed,
    TooManySubscriptions,
    RateLimited,
    MessageTooBig,
    Unavailable,
    Internal,
}

impl ErrorCode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadMessage => "bad_message",
            Self::UnknownType => "unknown_type",
            Self::BadChannel => "bad_channel",
            Self::BadFilter => "bad_filter",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotSubscribed => "not_subscribed",
            Self::TooManySubscriptions => "too_many_subscriptions",
            Self::RateLimited => "rate_limited",
            Self::MessageTooBig => "message_too_big",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

/// Why events of a channel may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// The log no longer reaches back to the position.
    Pruned,
    /// The position belongs to another database, or to a time line that was left.
    Epoch,
    /// The channel carries events that are not logged.
    NotLogged,
    /// The text is no position of this service.
    BadPosition,
    /// The log could not be read just now.
    Unavailable,
}

impl ResetReason {
    pub const ALL: [Self; 5] =
        [Self::Pruned, Self::Epoch, Self::NotLogged, Self::BadPosition, Self::Unavailable];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pruned => "pruned",
            Self::Epoch => "epoch",
            Self::NotLogged => "not_logged",
            Self::BadPosition => "bad_position",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What the service tells every session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemEvent {
    /// The database is away; events wait there.
    Degraded,
    /// The database is back, and everything committed meanwhile follows.
    Recovered,
    /// The service stops; come back elsewhere or later.
    Draining,
}

impl SystemEvent {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Degraded => "degraded",
            Self::Recovered => "recovered",
            Self::Draining => "draining",
        }
    }

    pub const fn message(self) -> &'static str {
        match self {
            Self::Degraded => "the database is away; changes are delivered once it is back",
            Self::Recovered => "the database is back; everything committed meanwhile follows",
            Self::Draining => "the service stops; connect again and resume",
        }
    }
}

//! Why the service closes a connection, and what the client should do then.
//!
//! The range of a code is the instruction: 1001, 1012, 1013 and 4400 to 4499 mean come back and resume;
//! 1003, 1009 and 4500 to 4999 mean do not come back unchanged.

/// One reason for closing a connection. See section 3 of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closes; its code goes back to it (RFC 6455 section 5.5.1).
    Answer(u16),
    /// The service is going away.
    GoingAway,
    /// The service restarts.
    Restart,
    /// The client read too slowly for too long.
    TooSlow,
    /// Nothing was heard from the client for two heartbeats.
    NoHeartbeat,
    /// The client sent more than its share.
    RateLimited,
    /// A binary frame.
    Binary,
    /// A message over the size limit.
    TooBig,
    /// The bytes break RFC 6455.
    BrokenFraming,
    /// A text frame that is no UTF-8.
    BrokenText,
    /// Too many frames that are no messages.
    ProtocolErrors,
    /// The credential is missing, refused or has ended.
    Unauthorized,
    /// The credential or the user was revoked.
    Revoked,
}

impl CloseReason {
    pub const fn code(self) -> u16 {
        match self {
            Self::Answer(code) => code,
            Self::GoingAway => 1001,
            Self::BrokenFraming => 1002,
            Self::Binary => 1003,
            Self::BrokenText => 1007,
            Self::TooBig => 1009,
            Self::Restart => 1012,
            Self::TooSlow => 1013,
            Self::NoHeartbeat => 4408,
            Self::RateLimited => 4429,
            Self::ProtocolErrors => 4500,
            Self::Unauthorized => 4501,
            Self::Revoked => 4503,
        }
    }

    /// The reason text of the close frame: at most 123 bytes (RFC 6455 section 5.5).
    pub const fn text(self) -> &'static str {
        match self {
            Self::Answer(_) => "",
            Self::GoingAway => "server going away",
            Self::BrokenFraming => "protocol error",
            Self::Binary => "send text frames",
            Self::BrokenText => "text is not valid UTF-8",
            Self::TooBig => "message over max_message_bytes",
            Self::Restart => "server restarts",
            Self::TooSlow => "too slow for too long",
            Self::NoHeartbeat => "no heartbeat",
            Self::RateLimited => "rate limit",
            Self::ProtocolErrors => "too many bad messages",
            Self::Unauthorized => "unauthorized",
            Self::Revoked => "revoked",
        }
    }
}

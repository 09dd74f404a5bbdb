//! Why the service closes a connection, and what the client should do then.
//!
//! The range of a code is the instruction: 1001, 1012, 1013 and 4400 to 4499 mean come back and resume;
//! 1003, 1009 and 4500 to 4999 mean do not come back unchanged.

use std::borrow::Cow;
use std::time::Duration;

/// One reason for closing a connection. See section 3 of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closes; its code goes back to it (RFC 6455 section 5.5.1).
    Answer(u16),
    /// The service is going away.
    GoingAway,
    /// The service restarts; the client is to come back in its turn.
    Restart { retry_after_ms: u32 },
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
            Self::Restart { .. } => 1012,
            Self::TooSlow => 1013,
            Self::NoHeartbeat => 4408,
            Self::RateLimited => 4429,
            Self::ProtocolErrors => 4500,
            Self::Unauthorized => 4501,
            Self::Revoked => 4503,
        }
    }

    /// The reason text of the close frame: at most 123 bytes (RFC 6455 section 5.5).
    pub fn text(self) -> Cow<'static, str> {
        let text = match self {
            Self::Answer(_) => "",
            Self::GoingAway => "server going away",
            Self::BrokenFraming => "protocol error",
            Self::Binary => "send text frames",
            Self::BrokenText => "text is not valid UTF-8",
            Self::TooBig => "message over max_message_bytes",
            Self::Restart { retry_after_ms } => {
                return format!("server restarts; retry_after_ms={retry_after_ms}").into();
            }
            Self::TooSlow => "too slow for too long",
            Self::NoHeartbeat => "no heartbeat",
            Self::RateLimited => "rate limit",
            Self::ProtocolErrors => "too many bad messages",
            Self::Unauthorized => "unauthorized",
            Self::Revoked => "revoked",
        };
        Cow::Borrowed(text)
    }

    /// For the client at this place of all that are sent away at once: their returns are spread evenly.
    pub fn restart(place: usize, clients: usize) -> Self {
        let (place, clients) = (place.min(clients) as u128, clients.max(1) as u128);
        let all = (RETURN.as_micros() * clients).min(LAST_RETURN.as_micros());
        let wait = all * place / clients / 1_000;
        Self::Restart { retry_after_ms: wait.try_into().unwrap_or(u32::MAX) }
    }
}

/// Five thousand a second: about half of what one core takes of upgrades, tokens and subscriptions.
const RETURN: Duration = Duration::from_micros(200);

/// More clients than come back in this time come back closer together.
const LAST_RETURN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(place: usize, clients: usize) -> u32 {
        match CloseReason::restart(place, clients) {
            CloseReason::Restart { retry_after_ms } => retry_after_ms,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ten_thousand_clients_come_back_within_two_seconds_and_evenly() {
        let waits: Vec<u32> = (0..10_000).map(|place| wait(place, 10_000)).collect();
        assert_eq!((waits[0], waits[9_999]), (0, 1_999));
        for tenth in 0..20 {
            let here = waits.iter().filter(|wait| *wait / 100 == tenth).count();
            assert_eq!(here, 500, "in tenth {tenth} of a second");
        }
    }

    #[test]
    fn few_come_back_at_once_and_no_crowd_waits_for_ever() {
        assert_eq!(wait(0, 1), 0);
        assert_eq!(wait(5, 6), 1);
        assert_eq!(wait(0, 0), 0);
        assert!(wait(usize::MAX, usize::MAX) <= 30_000);
    }

    #[test]
    fn the_reason_fits_into_a_close_frame() {
        let reason = CloseReason::Restart { retry_after_ms: u32::MAX };
        assert_eq!(reason.text(), "server restarts; retry_after_ms=4294967295");
        assert!(reason.text().len() <= 123);
    }
}

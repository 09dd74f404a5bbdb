//! The credential of a request: which one counts, and whether it is well-formed.
//!
//! In: headers and query of a request. Out: at most one [`Offered`] token, unverified. Invariant: the first
//! place that holds anything decides; a bad credential never falls through to the next place.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, header};

use super::refusal::Refusal;
use super::upgrade::items;
use crate::admission;
use crate::auth::Place;
use crate::telemetry::metrics::Observer;
use crate::telemetry::notice::Notice;

/// A token as it came, and the place that says what it may be.
#[derive(Clone, PartialEq, Eq)]
pub struct Offered {
    pub token: String,
    pub place: Place,
}

/// Why what a request carries is no token. For the log: the client is told no more than 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCredential {
    #[error("the authorization header is not one of the form: Bearer token")]
    Authorization,
    #[error("the subprotocol bearer. carries no token, or there are several")]
    Subprotocol,
    #[error("the query parameter token is empty, or there are several")]
    Query,
}

/// Why a credential was refused. For the log only.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialRefusal {
    #[error("none came")]
    Missing,
    #[error(transparent)]
    Form(#[from] BadCredential),
    #[error(transparent)]
    Admission(#[from] admission::Refusal),
}

const UNAVAILABLE: Duration = Duration::from_secs(1);

impl CredentialRefusal {
    /// What the client is told: the same whatever was wrong with it.
    pub(super) fn told(&self, observer: &Observer) -> Refusal {
        match self {
            Self::Admission(refusal @ admission::Refusal::Unavailable(_)) => {
                observer.note(&refusal.notice());
                Refusal::unavailable("the service can't tell now; try again", UNAVAILABLE)
            }
            refusal => {
                observer.note(&Notice::CredentialRefused(refusal));
                Refusal::unauthorized()
            }
        }
    }
}

/// `None` where the request carries none in any place.
pub fn offered(headers: &HeaderMap, query: &str) -> Result<Option<Offered>, BadCredential> {
    if let Some(token) = authorization(headers)? {
        return Ok(Some(Offered { token, place: Place::Header }));
    }
    if let Some(token) = subprotocol(headers)? {
        return Ok(Some(Offered { token, place: Place::Subprotocol }));
    }
    Ok(parameter(query)?.map(|token| Offered { token, place: Place::Query }))
}

/// Another scheme is a bad credential too: whoever sends one does not mean to be anonymous.
fn authorization(headers: &HeaderMap) -> Result<Option<String>, BadCredential> {
    let lines = headers.get_all(header::AUTHORIZATION).into_iter();
    let tokens = lines.map(|line| line.to_str().ok().and_then(bearer).unwrap_or_default());
    sole_token(tokens.map(str::to_owned), BadCredential::Authorization)
}

/// The token of `Bearer …` (RFC 6750), whose characters include neither blanks nor commas.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim_start();
    let is_one = !token.contains([' ', '\t', ',']);
    (scheme.eq_ignore_ascii_case("bearer") && is_one).then_some(token)
}

fn subprotocol(headers: &HeaderMap) -> Result<Option<String>, BadCredential> {
    let offered = items(headers, &header::SEC_WEBSOCKET_PROTOCOL);
    let tokens = offered.filter_map(|item| item.strip_prefix("bearer."));
    sole_token(tokens.map(str::to_owned), BadCredential::Subprotocol)
}

fn parameter(query: &str) -> Result<Option<String>, BadCredential> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let tokens = pairs.filter(|(name, _)| name == "token").map(|(_, value)| value.into_owned());
    sole_token(tokens, BadCredential::Query)
}

/// Two tokens in one place would let a proxy judge the one and us the other.
fn sole_token(
    mut tokens: impl Iterator<Item = String>,
    bad: BadCredential,
) -> Result<Option<String>, BadCredential> {
    match (tokens.next(), tokens.next()) {
        (None, _) => Ok(None),
        (Some(token), None) if !token.is_empty() => Ok(Some(token)),
        _ => Err(bad),
    }
}

impl From<BadCredential> for Refusal {
    fn from(_: BadCredential) -> Self {
        Self::unauthorized()
    }
}

/// Without the token, which must not reach a log.
impl fmt::Debug for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offered").field("place", &self.place).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const AUTHORIZATION: HeaderName = header::AUTHORIZATION;
    const PROTOCOL: HeaderName = header::SEC_WEBSOCKET_PROTOCOL;

    fn offer(
        lines: &[(HeaderName, &'static str)],
        query: &str,
    ) -> Result<Option<(String, Place)>, BadCredential> {
        let lines = lines.iter().cloned();
        let headers = lines.map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
        offered(&headers, query).map(|found| found.map(|offered| (offered.token, offered.place)))
    }

    #[track_caller]
    fn finds(lines: &[(HeaderName, &'static str)], query: &str, token: &str, place: Place) {
        assert_eq!(offer(lines, query), Ok(Some((token.to_owned(), place))));
    }

    #[test]
    fn each_place_is_read() {
        finds(&[(AUTHORIZATION, "Bearer a.b.c")], "", "a.b.c", Place::Header);
        finds(&[(AUTHORIZATION, "bearer  a.b.c")], "", "a.b.c", Place::Header);
        finds(&[(PROTOCOL, "rowcast.v1, bearer.a.b.c")], "", "a.b.c", Place::Subprotocol);
        finds(
            &[(PROTOCOL, "bearer.a.b.c"), (PROTOCOL, "rowcast.v1")],
            "",
            "a.b.c",
            Place::Subprotocol,
        );
        finds(&[], "x=1&token=a.b%2Ec&y", "a.b.c", Place::Query);
    }

    #[test]
    fn nothing_offered_is_no_credential() {
        assert_eq!(offer(&[], ""), Ok(None));
        assert_eq!(offer(&[(PROTOCOL, "rowcast.v1")], "channel=a&tokens=b&Token=c"), Ok(None));
    }

    #[test]
    fn the_first_place_counts() {
        let both = [(AUTHORIZATION, "Bearer h"), (PROTOCOL, "rowcast.v1, bearer.s")];
        finds(&both, "token=q", "h", Place::Header);
        finds(&both[1..], "token=q", "s", Place::Subprotocol);
    }

    #[test]
    fn a_malformed_header_is_present_and_bad() {
        for bad in
            ["", "Bearer", "Bearer ", "Basic dTpw", "a.b.c", "Bearer a b", "Bearer a, Bearer b"]
        {
            let outcome = offer(&[(AUTHORIZATION, bad), (PROTOCOL, "bearer.s")], "token=q");
            assert_eq!(outcome, Err(BadCredential::Authorization), "{bad}");
        }
        let twice = [(AUTHORIZATION, "Bearer a"), (AUTHORIZATION, "Bearer a")];
        assert_eq!(offer(&twice, ""), Err(BadCredential::Authorization));
        let obscure = HeaderValue::from_bytes(b"Bearer \xff").unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, obscure)]);
        assert_eq!(offered(&headers, "token=q"), Err(BadCredential::Authorization));
    }

    #[test]
    fn empty_and_doubled_tokens_are_bad_everywhere() {
        for bad in ["bearer.", "bearer.a, bearer.b", "bearer.a, bearer."] {
            assert_eq!(
                offer(&[(PROTOCOL, bad)], "token=q"),
                Err(BadCredential::Subprotocol),
                "{bad}"
            );
        }
        for bad in ["token=", "token", "token=a&token=a", "token=a&x=1&token="] {
            assert_eq!(offer(&[], bad), Err(BadCredential::Query), "{bad}");
        }
    }

    #[test]
    fn a_token_does_not_show_in_debug_output() {
        let offered = Offered { token: "secret".to_owned(), place: Place::Query };
        assert!(!format!("{offered:?}").contains("secret"));
    }
}

//! Tokens that count no longer, before their end.
//!
//! In: what `rowcast.revoke` said. Out: whether that covers somebody. Invariant: nothing is forgotten while the
//! process lives, save that a later word about a user replaces an earlier one.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::domain::principal::Principal;
use crate::domain::rights::Whose;
use crate::postgres::revocations::Revocation;

#[derive(Default)]
pub struct Revocations(RwLock<Known>);

#[derive(Default)]
struct Known {
    users: HashMap<Box<str>, SystemTime>,
    tokens: HashSet<Box<str>>,
}

impl Revocations {
    /// Takes in what was read, some of it for the second time; whom the news concerns.
    pub fn add(&self, found: Vec<Revocation>) -> Vec<Whose> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        found.into_iter().filter_map(|revocation| known.add(revocation)).collect()
    }

    pub fn cover(&self, principal: &Principal) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let token = principal.claims.get("jti").and_then(Value::as_str);
        token.is_some_and(|jti| known.tokens.contains(jti))
            || principal.user.as_deref().is_some_and(|user| {
                known.users.get(user).is_some_and(|at| issued_at(principal) <= *at)
            })
    }
}

impl Known {
    fn add(&mut self, revocation: Revocation) -> Option<Whose> {
        match revocation {
            Revocation::User { user, at } => {
                let known = self.users.entry(user.clone()).or_insert(SystemTime::UNIX_EPOCH);
                let is_new = *known < at;
                *known = at.max(*known);
                is_new.then_some(Whose::User(user))
            }
            Revocation::Token(jti) => self.tokens.insert(jti).then_some(Whose::Everyone),
        }
    }
}

/// A token that does not say counts as old. Verified ones always say.
fn issued_at(principal: &Principal) -> SystemTime {
    let seconds = principal.claims.get("iat").and_then(Value::as_f64).unwrap_or(0.0);
    let since = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn principal(user: &str, iat: u64, jti: &str) -> Principal {
        let claims = json!({"iat": iat, "jti": jti});
        let claims = claims.as_object().cloned().unwrap_or_default();
        Principal { user: Some(user.into()), claims, ..Principal::default() }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_user_s_tokens_of_before_are_covered_and_later_ones_are_not() {
        let revocations = Revocations::default();
        let revoked = Revocation::User { user: "7".into(), at: at(100) };
        assert_eq!(revocations.add(vec![revoked.clone()]), [Whose::User("7".into())]);
        assert!(revocations.cover(&principal("7", 99, "a")));
        assert!(revocations.cover(&principal("7", 100, "a")));
        assert!(!revocations.cover(&principal("7", 101, "a")));
        assert!(!revocations.cover(&principal("8", 99, "a")));
        assert_eq!(revocations.add(vec![revoked]), []);
        let earlier = Revocation::User { user: "7".into(), at: at(50) };
        assert_eq!(revocations.add(vec![earlier]), []);
        assert!(revocations.cover(&principal("7", 99, "a")));
    }

    #[test]
    fn one_token_is_covered_by_its_id() {
        let revocations = Revocations::default();
        assert_eq!(revocations.add(vec![Revocation::Token("a".into())]), [Whose::Everyone]);
        assert!(revocations.cover(&principal("7", 1, "a")));
        assert!(!revocations.cover(&principal("7", 1, "b")));
        assert!(!revocations.cover(&Principal::anonymous()));
    }
}

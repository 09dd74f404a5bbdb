//! Who is connected: the user, the role and the claims a verified credential carried.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value};

/// The subject of a session. An anonymous one has no user and no claims.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Principal {
    pub user: Option<Arc<str>>,
    pub role: Option<Arc<str>>,
    pub claims: Map<String, Value>,
    /// When the credential ends; `None` only for an anonymous session.
    pub expires_at: Option<SystemTime>,
}

impl Principal {
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// The same in little memory, as a connection holds it that rarely asks for a claim.
    pub fn pack(self) -> Packed {
        let Self { user, role, claims, expires_at } = self;
        let claims = (!claims.is_empty()).then(|| Value::Object(claims).to_string().into());
        Packed { user, role, claims, expires_at }
    }

    /// The claim at a dotted path such as `app_metadata.org`; a claim whose own name has the dots wins.
    pub fn claim(&self, path: &str) -> Option<&Value> {
        self.claims.get(path).or_else(|| {
            let mut parts = path.split('.');
            let first = self.claims.get(parts.next()?)?;
            parts.try_fold(first, |value, part| value.get(part))
        })
    }
}

/// A principal whose claims are text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Packed {
    pub user: Option<Arc<str>>,
    role: Option<Arc<str>>,
    claims: Option<Box<str>>,
    pub expires_at: Option<SystemTime>,
}

impl Packed {
    pub fn unpack(&self) -> Principal {
        let Self { user, role, claims, expires_at } = self.clone();
        let claims = claims.map(|text| {
            serde_json::from_str(&text).expect("what was printed from an object is one")
        });
        Principal { user, role, claims: claims.unwrap_or_default(), expires_at }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn unpacked_a_principal_is_what_it_was() {
        let claims = json!({
            "sub": "ana", "exp": 2_000_000_000.25, "org_id": u64::MAX, "low": i64::MIN, "": null,
            "app": { "teams": ["rot \u{1f534}", "\u{0}\"\\"], "ratio": -1.5e-7 },
        });
        let Value::Object(claims) = claims else { unreachable!("it is written as an object") };
        let expires_at = Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_500));
        let (user, role) = (Some("ana".into()), Some("clerk".into()));
        for principal in [Principal { user, role, claims, expires_at }, Principal::anonymous()] {
            assert_eq!(principal.clone().pack().unpack(), principal);
        }
    }
}

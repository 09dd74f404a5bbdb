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

    /// The claim at a dotted path such as `app_metadata.org`; a claim whose own name has the dots wins.
    pub fn claim(&self, path: &str) -> Option<&Value> {
        self.claims.get(path).or_else(|| {
            let mut parts = path.split('.');
            let first = self.claims.get(parts.next()?)?;
            parts.try_fold(first, |value, part| value.get(part))
        })
    }
}

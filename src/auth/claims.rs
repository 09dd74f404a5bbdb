//! What a token's claims must say.
//!
//! In: the claims of a token whose signature is right, and the time. Out: the [`Principal`]. Invariant:
//! every claim that is relied on is present and of its type; nothing is guessed.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::TokenRefusal;
use crate::config::AuthConfig;
use crate::domain::principal::Principal;

pub(super) struct Expectations {
    issuer: Option<String>,
    audience: Option<String>,
    user_claim: String,
    role_claim: String,
    leeway: Duration,
    max_life: Duration,
}

impl Expectations {
    pub fn of(config: &AuthConfig) -> Self {
        Self {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            user_claim: config.user_claim.clone(),
            role_claim: config.role_claim.clone(),
            leeway: config.leeway,
            max_life: config.max_life,
        }
    }

    /// `query_life` bounds the life of a token that came in a URL.
    pub fn check(
        &self,
        claims: Map<String, Value>,
        query_life: Option<Duration>,
        now: SystemTime,
    ) -> Result<Principal, TokenRefusal> {
        let principal = Principal { claims, ..Principal::default() };
        let expires_at = self.check_times(&principal, query_life, now)?;
        self.check_issuer(&principal)?;
        self.check_audience(&principal)?;
        let user = self.user(&principal)?;
        let role = principal.claim(&self.role_claim).and_then(Value::as_str).map(Into::into);
        Ok(Principal { user: Some(user.into()), role, expires_at: Some(expires_at), ..principal })
    }

    fn check_times(
        &self,
        principal: &Principal,
        query_life: Option<Duration>,
        now: SystemTime,
    ) -> Result<SystemTime, TokenRefusal> {
        let missing = |name: &str| TokenRefusal::Claim(name.to_owned());
        let expires_at = time(principal, "exp")?.ok_or_else(|| missing("exp"))?;
        let issued_at = time(principal, "iat")?.ok_or_else(|| missing("iat"))?;
        if now >= expires_at + self.leeway {
            return Err(TokenRefusal::Expired);
        }
        let starts_at = time(principal, "nbf")?.map_or(issued_at, |at| at.max(issued_at));
        if starts_at > now + self.leeway {
            return Err(TokenRefusal::NotYet);
        }
        let life = expires_at.duration_since(issued_at).map_err(|_| TokenRefusal::Expired)?;
        match query_life {
            _ if life > self.max_life => Err(TokenRefusal::LongLived),
            Some(most) if most.is_zero() || life > most => Err(TokenRefusal::LongLivedInQuery),
            _ => Ok(expires_at),
        }
    }

    fn check_issuer(&self, principal: &Principal) -> Result<(), TokenRefusal> {
        match (&self.issuer, principal.claims.get("iss")) {
            (None, None | Some(Value::String(_))) => Ok(()),
            (Some(wanted), Some(Value::String(issuer))) if issuer == wanted => Ok(()),
            (Some(_), Some(Value::String(_))) => Err(TokenRefusal::Issuer),
            _ => Err(TokenRefusal::Claim("iss".to_owned())),
        }
    }

    fn check_audience(&self, principal: &Principal) -> Result<(), TokenRefusal> {
        let Some(wanted) = &self.audience else { return Ok(()) };
        let members = match principal.claims.get("aud") {
            Some(Value::Array(members)) => members.as_slice(),
            Some(one @ Value::String(_)) => std::slice::from_ref(one),
            _ => return Err(TokenRefusal::Claim("aud".to_owned())),
        };
        if !members.iter().all(Value::is_string) {
            return Err(TokenRefusal::Claim("aud".to_owned()));
        }
        if members.iter().any(|member| member == wanted) {
            Ok(())
        } else {
            Err(TokenRefusal::Audience)
        }
    }

    /// A string, as RFC 7519 wants `sub`; a claim of the application's own may be a whole number.
    fn user(&self, principal: &Principal) -> Result<String, TokenRefusal> {
        let is_typed = |sub: &Value| sub.as_str().is_some_and(|text| !text.is_empty());
        if !principal.claims.get("sub").is_none_or(is_typed) {
            return Err(TokenRefusal::Claim("sub".to_owned()));
        }
        match principal.claim(&self.user_claim) {
            Some(Value::String(user)) if !user.is_empty() => Ok(user.clone()),
            Some(Value::Number(id)) if id.is_i64() || id.is_u64() => Ok(id.to_string()),
            _ => Err(TokenRefusal::Claim(self.user_claim.clone())),
        }
    }
}

/// Seconds since 1970, not necessarily whole (RFC 7519 section 2).
fn time(principal: &Principal, name: &str) -> Result<Option<SystemTime>, TokenRefusal> {
    let Some(value) = principal.claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..YEAR_10000).contains(seconds));
    let seconds = seconds.ok_or_else(|| TokenRefusal::Claim(name.to_owned()))?;
    Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds)))
}

/// Later times only serve to overflow something.
const YEAR_10000: f64 = 253_402_300_800.0;

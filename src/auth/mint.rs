//! Signs tokens to try things with.
//!
//! In: a [`Request`]. Out: a token that the same configuration accepts. Invariant: only a configured
//! HMAC secret signs, the first that there is; a public key cannot.

use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value};

use crate::config::{AuthConfig, AuthKey};

pub struct Minter {
    key: EncodingKey,
    header: Header,
    config: AuthConfig,
}

/// What a token is to say.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub user: String,
    pub role: Option<String>,
    /// By dotted path; these overrule the ones that a token has anyway.
    pub claims: Vec<(String, Value)>,
    pub ttl: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum MintError {
    #[error(
        "a token needs a secret to sign with: name a file in auth.secret_file or in a [[key]] table, or set ROWCAST_JWT_SECRET"
    )]
    NoSecret,
    #[error("the token would live longer than auth.max_life allows, so nobody would accept it")]
    LongLived,
    #[error("the user is empty")]
    NoUser,
    #[error("signing the token")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

impl Minter {
    pub fn new(config: &AuthConfig) -> Result<Self, MintError> {
        let own = config.key.iter().map(|key| (None, key, &config.algorithms));
        let further =
            config.further_keys.iter().map(|key| (key.id.clone(), &key.key, &key.algorithms));
        let secret = own.chain(further).find_map(|(id, key, algorithms)| match key {
            AuthKey::Hmac(secret) => Some((id, secret, algorithms)),
            AuthKey::PublicPem(_) => None,
        });
        let (key_id, secret, algorithms) = secret.ok_or(MintError::NoSecret)?;
        let algorithm = algorithms.first().copied().unwrap_or(Algorithm::HS256);
        let header = Header { kid: key_id, ..Header::new(algorithm) };
        let key = EncodingKey::from_secret(secret.expose());
        Ok(Self { key, header, config: config.clone() })
    }

    pub fn sign(&self, request: Request, now: SystemTime) -> Result<String, MintError> {
        if request.ttl > self.config.max_life {
            return Err(MintError::LongLived);
        }
        if request.user.is_empty() {
            return Err(MintError::NoUser);
        }
        let claims = Value::Object(self.claims(request, now));
        Ok(jsonwebtoken::encode(&self.header, &claims, &self.key)?)
    }

    fn claims(&self, request: Request, now: SystemTime) -> Map<String, Value> {
        let issued_at = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut claims = Map::new();
        let mut put = |path: &str, value: Value| put_at(&mut claims, path, value);
        put("iat", issued_at.into());
        put("exp", (issued_at + request.ttl.as_secs()).into());
        put(&self.config.user_claim, request.user.into());
        let given = [
            (self.config.role_claim.as_str(), request.role.as_ref()),
            ("iss", self.config.issuer.as_ref()),
            ("aud", self.config.audience.as_ref()),
        ];
        for (path, value) in given {
            if let Some(value) = value {
                put(path, value.as_str().into());
            }
        }
        for (path, value) in request.claims {
            put(&path, value);
        }
        claims
    }
}

/// `app.org` goes into the object `app`, where [`Principal::claim`] finds it again.
///
/// [`Principal::claim`]: crate::domain::principal::Principal::claim
fn put_at(claims: &mut Map<String, Value>, path: &str, value: Value) {
    let Some((first, rest)) = path.split_once('.') else {
        claims.insert(path.to_owned(), value);
        return;
    };
    let inner = claims.entry(first).or_insert_with(|| Value::Object(Map::new()));
    if !inner.is_object() {
        *inner = Value::Object(Map::new());
    }
    if let Value::Object(inner) = inner {
        put_at(inner, rest, value);
    }
}

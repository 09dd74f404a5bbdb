//! Whom a token speaks for, or that it counts for nothing.
//!
//! In: a JWT, the place where it was found, the time. Out: a [`Principal`], or a [`TokenRefusal`] whose
//! reason is for the log only. Invariant: the key says which algorithms count, never the token; what is
//! not understood is refused.

mod choice;
mod claims;
mod fetch;
mod header;
mod issuer;
mod json;
mod jwk;
mod key;
mod mint;
mod pace;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::config::AuthConfig;
use crate::domain::principal::Principal;

pub use mint::{MintError, Minter, Request};
pub use pace::Pace;

use choice::{Keys, Published};
use claims::Expectations;
use issuer::Issuer;
use key::Key;

/// Verifies tokens. Cheap to ask, built once for each configuration.
pub struct Authenticator {
    configured: Vec<Key>,
    issuer: Option<Arc<Issuer>>,
    expectations: Expectations,
    query_token_max_life: Duration,
    anonymous: bool,
}

/// Where a token was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Header,
    Subprotocol,
    /// A URL ends up in logs and histories, so its token has to be short-lived.
    Query,
    Message,
}

impl Authenticator {
    pub fn new(config: &AuthConfig) -> Result<Self, AuthError> {
        Self::at_pace(config, Pace::default())
    }

    /// The same with a pace of one's own at which the issuer is asked.
    pub fn at_pace(config: &AuthConfig, pace: Pace) -> Result<Self, AuthError> {
        let issuer = config.jwks_url.as_ref().map(|url| {
            Issuer::new(url, &config.algorithms, pace)
                .map(Arc::new)
                .map_err(|fault| AuthError::new("auth", fault))
        });
        Ok(Self {
            configured: key::configured(config)?,
            issuer: issuer.transpose()?,
            expectations: Expectations::of(config),
            query_token_max_life: config.query_token_max_life,
            anonymous: config.anonymous,
        })
    }

    /// Whom the token speaks for; a key that is unknown may be one that the issuer has just begun to use.
    pub async fn authenticate(
        &self,
        token: &str,
        place: Place,
        now: SystemTime,
    ) -> Result<Principal, TokenRefusal> {
        match (self.verify(token, place, now), &self.issuer) {
            (Err(TokenRefusal::UnknownKey), Some(issuer)) if issuer.ask().await => {
                self.verify(token, place, now)
            }
            (verdict, _) => verdict,
        }
    }

    /// The same with the keys that are known now.
    pub fn verify(
        &self,
        token: &str,
        place: Place,
        now: SystemTime,
    ) -> Result<Principal, TokenRefusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenRefusal::TooLong);
        }
        if !self.has_key() {
            return Err(TokenRefusal::NoKey);
        }
        let parts = Parts::of(token)?;
        self.check_signature(&parts)?;
        let claims = json::decode(parts.claims)?;
        let life = match place {
            Place::Query => Some(self.query_token_max_life),
            Place::Header | Place::Subprotocol | Place::Message => None,
        };
        self.expectations.check(claims, life, now)
    }

    /// The same for claims that were signed and verified before, and kept.
    pub fn admit(
        &self,
        claims: Map<String, Value>,
        now: SystemTime,
    ) -> Result<Principal, TokenRefusal> {
        self.expectations.check(claims, None, now)
    }

    /// Whether any token can be good.
    pub const fn has_key(&self) -> bool {
        !self.configured.is_empty() || self.issuer.is_some()
    }

    /// Keeps the issuer's keys fresh for as long as it is polled; without an issuer there is nothing to do.
    pub fn keep_fresh(&self) -> impl Future<Output = ()> + Send + use<> {
        let issuer = self.issuer.clone();
        async move {
            if let Some(issuer) = issuer {
                issuer.keep_fresh().await;
            }
        }
    }

    fn check_signature(&self, parts: &Parts<'_>) -> Result<(), TokenRefusal> {
        let header = header::read(parts.header)?;
        let published = self.issuer.as_ref().map(|issuer| (issuer.keys(), issuer.algorithms()));
        let issuer = published.as_ref().map(|(keys, algorithms)| Published { keys, algorithms });
        let choice = Keys { configured: &self.configured, issuer }.choose(&header)?;
        for key in choice.keys {
            let (key, algorithm) = (&key.decoding, header.algorithm);
            let signed =
                jsonwebtoken::crypto::verify(parts.signature, parts.message, key, algorithm);
            if signed.map_err(|_| TokenRefusal::Malformed)? {
                return Ok(());
            }
        }
        Err(choice.otherwise)
    }

    /// Who connects without any token, where the configuration allows that.
    pub fn anonymous(&self) -> Option<Principal> {
        self.anonymous.then(Principal::anonymous)
    }
}

/// `header.claims.signature`, and what the signature is about.
struct Parts<'a> {
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
    message: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Result<Self, TokenRefusal> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenRefusal::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(TokenRefusal::Malformed)?;
        if claims.contains('.') {
            return Err(TokenRefusal::Malformed);
        }
        Ok(Self { header, claims, signature, message: message.as_bytes() })
    }
}

/// Why a token was refused. For the log: the client is told nothing but that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    #[error("no key is configured")]
    NoKey,
    #[error("longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    #[error("not three parts of base64url and JSON without duplicate names")]
    Malformed,
    #[error("the algorithm is not one of those that the key is for")]
    Algorithm,
    #[error("no key has this kid")]
    UnknownKey,
    #[error("names no kid, and several of the issuer's keys could have signed it")]
    NoKeyId,
    #[error("the header {0:?} is not accepted")]
    Header(&'static str),
    #[error("the signature is wrong")]
    Signature,
    #[error("the claim {0:?} is missing or of the wrong type")]
    Claim(String),
    #[error("expired")]
    Expired,
    #[error("not valid yet")]
    NotYet,
    #[error("lives longer than auth.max_life")]
    LongLived,
    #[error("lives longer than auth.query_token_max_life, which counts for a token in a URL")]
    LongLivedInQuery,
    #[error("from another issuer")]
    Issuer,
    #[error("for another audience")]
    Audience,
}

/// Why a key cannot be used, and which.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct AuthError {
    key: String,
    fault: KeyFault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("holds a private key: only its public half belongs here (`openssl pkey -pubout`)")]
    PrivateKey,
    #[error("is no PEM public key of the kind that its algorithms need (RSA, EC or Ed25519)")]
    NotAKey,
    #[error("the RSA key is shorter than 2048 bits: make a longer one")]
    ShortRsaKey,
    #[error("ES256 needs a P-256 key and ES384 a P-384 key: algorithms names the other one")]
    Curve,
    #[error("mixes algorithms of different kinds of key: keep those of the key that is configured")]
    MixedAlgorithms,
    #[error(
        "this machine has no trusted certificates to check the issuer's with: install the package ca-certificates"
    )]
    NoRoots,
}

impl AuthError {
    /// `table` is the configuration's name of the table that the key stands in.
    fn new(table: &str, fault: KeyFault) -> Self {
        let field = match fault {
            KeyFault::PrivateKey | KeyFault::NotAKey | KeyFault::ShortRsaKey | KeyFault::Curve => {
                "public_key_file"
            }
            KeyFault::MixedAlgorithms => "algorithms",
            KeyFault::NoRoots => "jwks_url",
        };
        Self { key: format!("{table}.{field}"), fault }
    }

    /// The key of the configuration to mend.
    pub fn key(&self) -> &str {
        &self.key
    }

    pub const fn fault(&self) -> KeyFault {
        self.fault
    }
}

/// Tokens of identity providers have 1 to 3 kB; nothing longer is decoded.
const MAX_TOKEN_BYTES: usize = 8 << 10;

//! Whom a token speaks for, or that it counts for nothing.
//!
//! In: a JWT, the place where it was found, the time. Out: a [`Principal`], or a [`TokenRefusal`] whose
//! reason is for the log only. Invariant: the key says which algorithms count, never the token; what is
//! not understood is refused.

mod claims;
mod header;
mod json;
mod key;
mod mint;

use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use crate::config::AuthConfig;
use crate::domain::principal::Principal;

pub use mint::{MintError, Minter, Request};

use claims::Expectations;

/// Verifies tokens. Cheap to ask, built once for each configuration.
pub struct Authenticator {
    key: Option<DecodingKey>,
    algorithms: Vec<Algorithm>,
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
        let decoding = |key| key::decoding(key, &config.algorithms);
        Ok(Self {
            key: config.key.as_ref().map(decoding).transpose()?,
            algorithms: config.algorithms.clone(),
            expectations: Expectations::of(config),
            query_token_max_life: config.query_token_max_life,
            anonymous: config.anonymous,
        })
    }

    pub fn verify(
        &self,
        token: &str,
        place: Place,
        now: SystemTime,
    ) -> Result<Principal, TokenRefusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenRefusal::TooLong);
        }
        let key = self.key.as_ref().ok_or(TokenRefusal::NoKey)?;
        let parts = Parts::of(token)?;
        let algorithm = header::check(parts.header, &self.algorithms)?;
        let signed = jsonwebtoken::crypto::verify(parts.signature, parts.message, key, algorithm);
        if !signed.map_err(|_| TokenRefusal::Malformed)? {
            return Err(TokenRefusal::Signature);
        }
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
    #[error("the algorithm is not one of auth.algorithms")]
    Algorithm,
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

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("holds a private key: only its public half belongs here (`openssl pkey -pubout`)")]
    PrivateKey,
    #[error("is no PEM public key of the kind that auth.algorithms needs (RSA, EC or Ed25519)")]
    NotAKey,
    #[error("the RSA key is shorter than 2048 bits: make a longer one")]
    ShortRsaKey,
    #[error("ES256 needs a P-256 key and ES384 a P-384 key: auth.algorithms names the other one")]
    Curve,
    #[error("mixes algorithms of different kinds of key: keep those of the key that is configured")]
    MixedAlgorithms,
}

impl AuthError {
    /// The key of the configuration to mend.
    pub const fn key(self) -> &'static str {
        match self {
            Self::PrivateKey | Self::NotAKey | Self::ShortRsaKey | Self::Curve => {
                "auth.public_key_file"
            }
            Self::MixedAlgorithms => "auth.algorithms",
        }
    }
}

/// Tokens of identity providers have 1 to 3 kB; nothing longer is decoded.
const MAX_TOKEN_BYTES: usize = 8 << 10;

//! `[auth]`: which tokens are believed.

use std::path::Path;
use std::time::Duration;

use jsonwebtoken::Algorithm;

use super::bounded::Time;
use super::reader::Findings;
use super::{Environment, Secret, Visitor, key_file};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    pub secret_file: Option<String>,
    pub public_key_file: Option<String>,
    pub jwks_url: Option<String>,
    pub algorithms: Vec<Algorithm>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub user_claim: String,
    pub role_claim: String,
    pub leeway: Duration,
    pub max_life: Duration,
    pub query_token_max_life: Duration,
    pub ticket_life: Duration,
    pub anonymous: bool,
    /// What `secret_file`, `ROWCAST_JWT_SECRET` or `public_key_file` hold.
    pub key: Option<AuthKey>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthKey {
    /// For HS256, HS384 and HS512.
    Hmac(Secret<Vec<u8>>),
    /// For RS*, PS*, ES* and EdDSA.
    PublicPem(Vec<u8>),
}

impl AuthConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.section("auth", "Which tokens (JWT) are believed.");
        visitor.field("secret_file", SECRET_FILE, &mut self.secret_file);
        visitor.field("public_key_file", PUBLIC_KEY_FILE, &mut self.public_key_file);
        visitor.field("jwks_url", JWKS_URL, &mut self.jwks_url);
        visitor.field("algorithms", ALGORITHMS, &mut self.algorithms);
        visitor.field("issuer", ISSUER, &mut self.issuer);
        visitor.field("audience", AUDIENCE, &mut self.audience);
        visitor.field("user_claim", USER_CLAIM, &mut self.user_claim);
        visitor.field("role_claim", ROLE_CLAIM, &mut self.role_claim);
        visitor.field("leeway", LEEWAY, &mut Time(&mut self.leeway, Duration::ZERO..=MINUTE * 5));
        visitor.field("max_life", MAX_LIFE, &mut Time(&mut self.max_life, SECOND..=YEAR * 10));
        let query_life = &mut Time(&mut self.query_token_max_life, Duration::ZERO..=YEAR * 10);
        visitor.field("query_token_max_life", QUERY_TOKEN_MAX_LIFE, query_life);
        let ticket_life = &mut Time(&mut self.ticket_life, SECOND..=MINUTE * 60);
        visitor.field("ticket_life", TICKET_LIFE, ticket_life);
        visitor.field("anonymous", ANONYMOUS, &mut self.anonymous);
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            secret_file: None,
            public_key_file: None,
            jwks_url: None,
            algorithms: vec![Algorithm::HS256],
            issuer: None,
            audience: None,
            user_claim: "sub".to_owned(),
            role_claim: "role".to_owned(),
            leeway: SECOND * 5,
            max_life: MINUTE * 60 * 24,
            query_token_max_life: MINUTE * 5,
            ticket_life: SECOND * 30,
            anonymous: false,
            key: None,
        }
    }
}

/// Fetches the key from where it is kept: the environment wins over a file.
pub(super) fn read_keys(
    config: &mut AuthConfig,
    base: &Path,
    environment: &Environment,
    findings: &mut Findings,
) {
    if config.secret_file.is_some() && config.public_key_file.is_some() {
        findings.fault("auth.public_key_file", "contradicts auth.secret_file: keep one of the two");
    }
    let hmac = match environment.value(SECRET_VARIABLE) {
        Some(secret) => Some(check_secret(secret.as_bytes().to_vec(), SECRET_VARIABLE, findings)),
        None => config
            .secret_file
            .as_deref()
            .and_then(|name| read_key(name, "auth.secret_file", base, environment, findings))
            .map(|bytes| check_secret(bytes, "auth.secret_file", findings)),
    };
    let public = config
        .public_key_file
        .as_deref()
        .and_then(|name| read_key(name, "auth.public_key_file", base, environment, findings));
    config.key =
        hmac.map(|secret| AuthKey::Hmac(Secret::new(secret))).or(public.map(AuthKey::PublicPem));
}

fn read_key(
    name: &str,
    key: &str,
    base: &Path,
    environment: &Environment,
    findings: &mut Findings,
) -> Option<Vec<u8>> {
    match key_file::read(name, base, environment) {
        Ok(file) => {
            if file.open_to_all && key == "auth.secret_file" {
                findings
                    .warn(key, format!("the file {name} can be read by everybody: chmod 0600 it"));
            }
            Some(file.bytes)
        }
        Err(message) => {
            findings.fault(key, format!("the file {name}: {message}"));
            None
        }
    }
}

fn check_secret(secret: Vec<u8>, key: &str, findings: &mut Findings) -> Vec<u8> {
    if key == SECRET_VARIABLE && Environment::is_broken(&String::from_utf8_lossy(&secret)) {
        findings.fault(
            key,
            "is no UTF-8: put the secret into a file and name that in auth.secret_file",
        );
    }
    if secret.len() < SECRET_MIN_BYTES {
        let message = format!(
            "the secret has {} bytes and needs {SECRET_MIN_BYTES}: make one with `openssl rand -hex 32`",
            secret.len()
        );
        findings.fault(key, message);
    }
    secret
}

/// RFC 7518 section 3.2: as long as the hash of HS256.
const SECRET_MIN_BYTES: usize = 32;
pub(super) const SECRET_VARIABLE: &str = "ROWCAST_JWT_SECRET";

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

const SECRET_FILE: &str = "File that holds the secret of HS256, HS384, HS512: at least 32 bytes. ROWCAST_JWT_SECRET overrides it.";
const PUBLIC_KEY_FILE: &str = "PEM file with the public key of RS*, PS*, ES* or EdDSA.";
const JWKS_URL: &str = "Where the issuer publishes its public keys.";
const ALGORITHMS: &str =
    "The algorithms that the key is used with; a token's own header never decides.";
const ISSUER: &str = "The token's iss must be this; empty: not looked at.";
const AUDIENCE: &str = "The token's aud must hold this; empty: not looked at.";
const USER_CLAIM: &str = "The claim that names the user; a dotted path goes into objects.";
const ROLE_CLAIM: &str =
    "The claim that `role` means in a policy; a dotted path goes into objects.";
const LEEWAY: &str = "How far the issuer's clock may be off.";
const MAX_LIFE: &str = "Tokens that live longer (exp minus iat) are refused.";
const QUERY_TOKEN_MAX_LIFE: &str = "The same for a token in a URL; 0 refuses those.";
const TICKET_LIFE: &str = "How long a ticket of POST /v1/tickets is good.";
const ANONYMOUS: &str =
    "Whether clients without a token may connect; policies without claims apply to them.";

//! `[auth]`: which tokens are believed.

use std::path::Path;
use std::time::Duration;

use jsonwebtoken::Algorithm;

use super::bounded::Time;
use super::jwks_url::JwksUrl;
use super::key::{self, AuthKey, Source, VerifyingKey};
use super::reader::Findings;
use super::{Environment, Visitor};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    pub secret_file: Option<String>,
    pub public_key_file: Option<String>,
    pub jwks_url: Option<JwksUrl>,
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
    /// What `secret_file`, `ROWCAST_JWT_SECRET` or `public_key_file` hold; it goes with `algorithms`.
    pub key: Option<AuthKey>,
    /// What the `[[key]]` tables hold.
    pub further_keys: Vec<VerifyingKey>,
}

impl AuthConfig {
    /// Whether any token can be good.
    pub fn has_key(&self) -> bool {
        self.key.is_some() || !self.further_keys.is_empty() || self.jwks_url.is_some()
    }

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
            further_keys: Vec::new(),
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
    if let Some(secret) = environment.value(SECRET_VARIABLE) {
        if Environment::is_broken(secret) {
            findings.fault(SECRET_VARIABLE, SECRET_NOT_TEXT);
        }
        let secret = secret.as_bytes().to_vec();
        config.key = Some(key::secret(secret, SECRET_VARIABLE, findings));
        return;
    }
    let (secret_file, public_key_file) = (&config.secret_file, &config.public_key_file);
    let source = Source { table: "auth", secret_file, public_key_file };
    config.key = key::read(source, base, environment, findings);
}

const SECRET_VARIABLE: &str = "ROWCAST_JWT_SECRET";

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

const SECRET_FILE: &str = "File that holds the secret of HS256, HS384, HS512: at least 32 bytes. ROWCAST_JWT_SECRET overrides it.";
const PUBLIC_KEY_FILE: &str = "PEM file with the public key of RS*, PS*, ES* or EdDSA.";
const JWKS_URL: &str = "Where the issuer publishes its public keys (JWKS), over https; algorithms says which of them count.";
const ALGORITHMS: &str =
    "The algorithms that the key is used with; a token's own header never decides.";
const SECRET_NOT_TEXT: &str =
    "is no UTF-8: put the secret into a file and name that in auth.secret_file";
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

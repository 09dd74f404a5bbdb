//! What is wrong only when keys are looked at together.
//!
//! In: a filled [`Config`]. Out: faults and warnings. Invariant: pure; nothing is opened or asked.

use jsonwebtoken::Algorithm;

use super::reader::Findings;
use super::{AuthKey, Config};

pub(super) fn check(config: &Config, findings: &mut Findings) {
    check_openness(config, findings);
    check_algorithms(config, findings);
    check_claims(config, findings);
    check_origins(config, findings);
    check_addresses(config, findings);
    check_filter(config, findings);
    if config.presence.timeout <= config.presence.heartbeat {
        findings.fault("presence.timeout", "must be longer than presence.heartbeat");
    }
}

/// A server that others can reach needs to know whom it believes.
fn check_openness(config: &Config, findings: &mut Findings) {
    // A key that was named and could not be read has its own fault.
    let named = config.auth.secret_file.is_some() || config.auth.public_key_file.is_some();
    if config.auth.key.is_some() || named || config.auth.jwks_url.is_some() {
        return;
    }
    let public = !config.server.listen.ip().is_loopback();
    match (public, config.auth.anonymous) {
        (true, false) => findings.fault("server.listen", OPEN_WITHOUT_KEY),
        (true, true) => findings.warn("auth.anonymous", ANONYMOUS_ONLY),
        (false, true) => {}
        (false, false) => findings.warn("auth.secret_file", NO_KEY),
    }
}

/// An HMAC algorithm with a public key would make the public key the secret.
fn check_algorithms(config: &Config, findings: &mut Findings) {
    let is_hmac =
        |name: &&Algorithm| matches!(name, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512);
    let wrong = match config.auth.key {
        Some(AuthKey::Hmac(_)) => config.auth.algorithms.iter().find(|name| !is_hmac(name)),
        Some(AuthKey::PublicPem(_)) => config.auth.algorithms.iter().find(is_hmac),
        None => None,
    };
    if let Some(wrong) = wrong {
        let fit = match config.auth.key {
            Some(AuthKey::PublicPem(_)) => {
                "a public key: name the one that your issuer signs with, such as [\"ES256\"]"
            }
            _ => {
                "a secret: use HS256, HS384 or HS512, or name a public key in auth.public_key_file"
            }
        };
        findings.fault("auth.algorithms", format!("{wrong:?} does not go with {fit}"));
    }
}

fn check_claims(config: &Config, findings: &mut Findings) {
    let claims = [
        ("auth.user_claim", &config.auth.user_claim),
        ("auth.role_claim", &config.auth.role_claim),
    ];
    for (key, path) in claims {
        if path.split('.').any(str::is_empty) {
            findings.fault(key, "must be the name of a claim, or names joined by dots");
        }
    }
}

fn check_origins(config: &Config, findings: &mut Findings) {
    for origin in &config.server.allowed_origins {
        if !is_origin(origin) {
            let message = format!(
                "{origin:?} is no origin: write scheme, host and port if any, in lower case and without a \
                 path, as in \"https://app.example.com\""
            );
            findings.fault("server.allowed_origins", message);
        }
    }
}

/// As a browser sends it: RFC 6454 section 6.2.
fn is_origin(text: &str) -> bool {
    let host =
        text.split_once("://").filter(|(scheme, _)| !scheme.is_empty()).map(|(_, host)| host);
    let plain = |host: &str| !host.is_empty() && !host.contains(['/', '?', '#', '@', '*', ' ']);
    host.is_some_and(plain) && !text.contains(|c: char| c.is_ascii_uppercase())
}

fn check_addresses(config: &Config, findings: &mut Findings) {
    if config.server.private_listen == Some(config.server.listen)
        && config.server.listen.port() != 0
    {
        findings
            .fault("server.private_listen", "is the address of server.listen: choose another port");
    }
}

fn check_filter(config: &Config, findings: &mut Findings) {
    let filter = tracing_subscriber::EnvFilter::builder().parse(&config.telemetry.log_filter);
    if let Err(error) = filter {
        findings.fault(
            "telemetry.log_filter",
            format!("{error}; write it like \"info,rowcast::hub=debug\""),
        );
    }
}

const OPEN_WITHOUT_KEY: &str = "can be reached from other machines, yet no key says whose tokens count: \
    name one in auth.secret_file or auth.public_key_file, or listen on 127.0.0.1";
const ANONYMOUS_ONLY: &str = "no key is set and others can reach this server: everybody gets what the policies without claims allow";
const NO_KEY: &str = "no key is set, so no client can connect: make one with \
    `openssl rand -hex 32 > jwt-secret` and name it here, or set ROWCAST_JWT_SECRET";

//! What is wrong only when keys are looked at together.
//!
//! In: a filled [`Config`]. Out: faults and warnings. Invariant: pure; nothing is opened or asked.

use super::reader::Findings;
use super::{Config, key};

pub(super) fn check(config: &Config, findings: &mut Findings) {
    check_openness(config, findings);
    check_algorithms(config, findings);
    check_claims(config, findings);
    check_addresses(config, findings);
    check_proxies(config, findings);
    check_filter(config, findings);
    if config.presence.timeout <= config.presence.heartbeat {
        findings.fault("presence.timeout", "must be longer than presence.heartbeat");
    }
}

/// A server that others can reach needs to know whom it believes.
fn check_openness(config: &Config, findings: &mut Findings) {
    // A key that was named and could not be read has its own fault.
    let named = config.auth.secret_file.is_some() || config.auth.public_key_file.is_some();
    if config.auth.has_key() || named || !config.key.is_empty() {
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

/// The issuer's keys are public ones, so an HMAC algorithm can never be theirs.
fn check_algorithms(config: &Config, findings: &mut Findings) {
    let auth = &config.auth;
    if auth.jwks_url.is_some() && auth.algorithms.iter().copied().all(key::is_hmac) {
        let given = findings.weight("auth.algorithms").is_some();
        let key = if given { "auth.algorithms" } else { "auth.jwks_url" };
        findings.fault(key, NO_PUBLIC_ALGORITHM);
    } else if let Some(own) = &auth.key {
        key::check_algorithms(own, &auth.algorithms, "auth", findings);
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

fn check_addresses(config: &Config, findings: &mut Findings) {
    if config.server.private_listen == Some(config.server.listen)
        && config.server.listen.port() != 0
    {
        findings
            .fault("server.private_listen", "is the address of server.listen: choose another port");
    }
}

fn check_proxies(config: &Config, findings: &mut Findings) {
    let proxies = &config.server.trusted_proxies;
    let public = !config.server.listen.ip().is_loopback();
    if public && proxies.is_empty() {
        findings.warn("server.listen", IN_THE_CLEAR);
    }
    if public && config.server.private_listen.is_none() {
        findings.warn("server.private_listen", FIGURES_IN_PUBLIC);
    }
    if config.server.proxy_protocol && proxies.is_empty() {
        findings.fault("server.proxy_protocol", PROXIES_UNNAMED);
    }
    if proxies.iter().any(|network| network.prefix_len() == 0) {
        findings.warn("server.trusted_proxies", EVERYBODY_TRUSTED);
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

const NO_PUBLIC_ALGORITHM: &str = "auth.jwks_url needs what the issuer signs with in auth.algorithms, such as [\"RS256\"]; \
    a secret beside it goes into a [[key]] table";
const OPEN_WITHOUT_KEY: &str = "can be reached from other machines, yet no key says whose tokens count: \
    name one in auth.secret_file or auth.public_key_file, or listen on 127.0.0.1";
const ANONYMOUS_ONLY: &str = "no key is set and others can reach this server: everybody gets what the policies without claims allow";
const NO_KEY: &str = "no key is set, so no client can connect: make one with \
    `openssl rand -hex 32 > jwt-secret` and name it here, or set ROWCAST_JWT_SECRET";
const IN_THE_CLEAR: &str = "can be reached from other machines, and the daemon speaks no TLS: tokens and rows go over the network \
    in the clear unless a proxy is in front; name that in server.trusted_proxies, or listen on 127.0.0.1";
const FIGURES_IN_PUBLIC: &str = "is empty, so everybody who reaches server.listen can read /metrics: give it an address of its own";
const PROXIES_UNNAMED: &str =
    "needs to know who sends the header: name the proxies in server.trusted_proxies";
const EVERYBODY_TRUSTED: &str =
    "trusts every address, so that anybody may claim any: name the proxies only";

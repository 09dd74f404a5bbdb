//! What a token's header may say.
//!
//! In: the header and the algorithms of the key. Out: the one to use, or a refusal. Invariant: a header cannot choose a key, name a place to
//! fetch one from, or ask for an extension.

use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::{TokenRefusal, json};

pub(super) fn check(header: &str, algorithms: &[Algorithm]) -> Result<Algorithm, TokenRefusal> {
    let header = json::decode(header)?;
    if let Some(name) = FORBIDDEN.iter().find(|name| header.contains_key(**name)) {
        return Err(TokenRefusal::Header(name));
    }
    check_field(header.get("typ"), "typ", is_token_type)?;
    check_field(header.get("kid"), "kid", is_key_id)?;
    let algorithm = header.get("alg").and_then(Value::as_str).and_then(|name| name.parse().ok());
    algorithm.filter(|name| algorithms.contains(name)).ok_or(TokenRefusal::Algorithm)
}

fn check_field(
    value: Option<&Value>,
    name: &'static str,
    good: fn(&str) -> bool,
) -> Result<(), TokenRefusal> {
    match value {
        None => Ok(()),
        Some(Value::String(text)) if good(text) => Ok(()),
        Some(_) => Err(TokenRefusal::Header(name)),
    }
}

/// Explicit typing, RFC 8725 section 3.11: an ID token of another kind is no access token.
fn is_token_type(text: &str) -> bool {
    ["jwt", "at+jwt", "application/at+jwt"].iter().any(|name| text.eq_ignore_ascii_case(name))
}

/// The configured key has no id, so none is looked up; base64 ids have `/` and `+`, paths have `..`.
fn is_key_id(text: &str) -> bool {
    let is_id_byte = |b: u8| b.is_ascii_alphanumeric() || b"-_.:@=+/".contains(&b);
    (1..=128).contains(&text.len()) && text.bytes().all(is_id_byte) && !text.contains("..")
}

/// Headers that bring a key along or say where to fetch one, and extensions that must be understood.
const FORBIDDEN: [&str; 8] = ["crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc"];

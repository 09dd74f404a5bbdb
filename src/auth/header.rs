//! What a token's header may say.
//!
//! In: the header. Out: the algorithm and the key that it names, or a refusal. Invariant: a header cannot bring a key,
//! name a place to fetch one from, or ask for an extension.

use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::{TokenRefusal, json};
use crate::config::is_key_id;

pub(super) struct Header {
    pub algorithm: Algorithm,
    pub key_id: Option<String>,
}

pub(super) fn read(header: &str) -> Result<Header, TokenRefusal> {
    let header = json::decode(header)?;
    if let Some(name) = FORBIDDEN.iter().find(|name| header.contains_key(**name)) {
        return Err(TokenRefusal::Header(name));
    }
    check_field(header.get("typ"), "typ", is_token_type)?;
    check_field(header.get("kid"), "kid", is_key_id)?;
    let algorithm = header.get("alg").and_then(Value::as_str).and_then(|name| name.parse().ok());
    let algorithm = algorithm.ok_or(TokenRefusal::Algorithm)?;
    let key_id = header.get("kid").and_then(Value::as_str).map(str::to_owned);
    Ok(Header { algorithm, key_id })
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

/// Headers that bring a key along or say where to fetch one, and extensions that must be understood.
const FORBIDDEN: [&str; 8] = ["crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc"];

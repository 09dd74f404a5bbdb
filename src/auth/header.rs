//! What a token's header may say.
//!
//! In: the token. Out: nothing, or a refusal. Invariant: a header cannot choose a key, name a place to
//! fetch one from, or ask for an extension.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::TokenRefusal;
use super::json::Object;

pub(super) fn check(token: &str) -> Result<(), TokenRefusal> {
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenRefusal::Malformed);
    };
    let bytes = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenRefusal::Malformed)?;
    let Object(header) = serde_json::from_slice(&bytes).map_err(|_| TokenRefusal::Malformed)?;
    if let Some(name) = FORBIDDEN.iter().find(|name| header.contains_key(**name)) {
        return Err(TokenRefusal::Header(name));
    }
    check_field(header.get("typ"), "typ", is_token_type)?;
    check_field(header.get("kid"), "kid", is_key_id)
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

//! The keys that an issuer publishes (RFC 7517).
//!
//! In: the text of a JWKS, and the algorithms that the configuration allows. Out: the [`Key`]s to use, and why others
//! are not. Invariant: every key is a public one, strong enough, meant for signatures, and used with algorithms of its
//! kind only; one that is not understood spoils none of the others.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use super::json;
use super::key::Key;
use crate::config::is_key_id;

pub(super) struct KeySet {
    pub keys: Vec<Key>,
    /// Why the others are not used, by their number.
    pub ignored: Vec<String>,
    /// How many were not looked at, being too many.
    pub beyond: usize,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum BadSet {
    #[error("the answer is no JSON object without duplicate names")]
    Json(#[from] serde_json::Error),
    #[error("the answer has no list named \"keys\"")]
    NoKeys,
}

pub(super) fn read(text: &[u8], allowed: &[Algorithm]) -> Result<KeySet, BadSet> {
    let object = json::object(text)?;
    let members = object.get("keys").and_then(Value::as_array).ok_or(BadSet::NoKeys)?;
    let (mut keys, mut ignored) = (Vec::new(), Vec::new());
    for (index, member) in members.iter().take(MAX_KEYS).enumerate() {
        match key(member, allowed) {
            Ok(key) => keys.push(key),
            Err(reason) => ignored.push(format!("{}: {reason}", index + 1)),
        }
    }
    Ok(KeySet { keys, ignored, beyond: members.len().saturating_sub(MAX_KEYS) })
}

type Jwk = Map<String, Value>;

/// Why a key is not used.
type Unfit = &'static str;

fn key(member: &Value, allowed: &[Algorithm]) -> Result<Key, Unfit> {
    let jwk = member.as_object().ok_or("is no object")?;
    check_purpose(jwk)?;
    let (decoding, kind) = match jwk.get("kty").and_then(Value::as_str) {
        Some("RSA") => rsa(jwk)?,
        Some("EC") => ec(jwk)?,
        Some("OKP") => okp(jwk)?,
        // Who publishes a secret has none; and a public key must never be taken for one.
        _ => return Err("is of a kind that is not used here"),
    };
    if jwk.contains_key("d") {
        return Err("is a private key, which everybody can sign with now");
    }
    let own = own_algorithm(jwk)?;
    let fits = |name: &Algorithm| allowed.contains(name) && own.is_none_or(|own| own == *name);
    let algorithms: Vec<Algorithm> = kind.iter().copied().filter(fits).collect();
    if algorithms.is_empty() {
        return Err("is for none of auth.algorithms");
    }
    Ok(Key { id: id(jwk)?, algorithms, decoding })
}

fn check_purpose(jwk: &Jwk) -> Result<(), Unfit> {
    if jwk.get("use").is_some_and(|purpose| purpose != "sig") {
        return Err("is not meant for signatures");
    }
    let verifies = |operations: &Value| {
        operations.as_array().is_some_and(|names| names.iter().any(|name| name == "verify"))
    };
    match jwk.get("key_ops") {
        Some(operations) if !verifies(operations) => Err("is not meant for verifying"),
        _ => Ok(()),
    }
}

fn own_algorithm(jwk: &Jwk) -> Result<Option<Algorithm>, Unfit> {
    let Some(value) = jwk.get("alg") else { return Ok(None) };
    let algorithm = value.as_str().and_then(|name| name.parse().ok());
    algorithm.map(Some).ok_or("is for an algorithm that is not known here")
}

fn id(jwk: &Jwk) -> Result<Option<String>, Unfit> {
    match jwk.get("kid") {
        None => Ok(None),
        Some(Value::String(id)) if is_key_id(id) => Ok(Some(id.clone())),
        Some(_) => Err("has a kid that no token may name"),
    }
}

type Material = (DecodingKey, &'static [Algorithm]);

fn rsa(jwk: &Jwk) -> Result<Material, Unfit> {
    let (modulus, exponent) = (number(jwk, "n")?, number(jwk, "e")?);
    if !RSA_BITS.contains(&bits(&modulus)) {
        return Err("is shorter than 2048 bits, or longer than 8192");
    }
    let is_odd = exponent.last().is_some_and(|byte| byte % 2 == 1);
    if !is_odd || !EXPONENT_BITS.contains(&bits(&exponent)) {
        return Err("has an exponent that is not used with RSA");
    }
    Ok((DecodingKey::from_rsa_raw_components(&modulus, &exponent), RSA))
}

fn ec(jwk: &Jwk) -> Result<Material, Unfit> {
    let (length, curve, kind): (_, &dyn VerificationAlgorithm, _) =
        match jwk.get("crv").and_then(Value::as_str) {
            Some("P-256") => (32, &ECDSA_P256_SHA256_FIXED, P256),
            Some("P-384") => (48, &ECDSA_P384_SHA384_FIXED, P384),
            _ => return Err("is on a curve that is not used here"),
        };
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    // The mark of a point that is written out, and its coordinates.
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    if x.len() != length || ParsedPublicKey::new(curve, &point).is_err() {
        return Err("is no point on its curve");
    }
    Ok((DecodingKey::from_ec_der(&point), kind))
}

fn okp(jwk: &Jwk) -> Result<Material, Unfit> {
    if jwk.get("crv").and_then(Value::as_str) != Some("Ed25519") {
        return Err("is on a curve that is not used here");
    }
    let point = bytes(jwk, "x")?;
    if ParsedPublicKey::new(&ED25519, &point).is_err() {
        return Err("is no point on its curve");
    }
    Ok((DecodingKey::from_ed_der(&point), &[Algorithm::EdDSA]))
}

fn bytes(jwk: &Jwk, name: &str) -> Result<Vec<u8>, Unfit> {
    let text = jwk.get(name).and_then(Value::as_str);
    text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .ok_or("lacks a part, or has it in no base64url")
}

/// Without the zeros that some write in front of it.
fn number(jwk: &Jwk, name: &str) -> Result<Vec<u8>, Unfit> {
    Ok(bytes(jwk, name)?.into_iter().skip_while(|byte| *byte == 0).collect())
}

fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const P256: &[Algorithm] = &[Algorithm::ES256];
const P384: &[Algorithm] = &[Algorithm::ES384];

/// Longer ones only cost time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// From 3; with 1, every text would sign itself.
const EXPONENT_BITS: std::ops::RangeInclusive<usize> = 2..=33;

/// Issuers publish two to ten.
const MAX_KEYS: usize = 100;

#[cfg(test)]
mod tests {
    use jsonwebtoken::AlgorithmFamily;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ALLOWED: &[Algorithm] =
        &[Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

    /// RFC 7517 appendix A.1 and RFC 8037 appendix A.2, and what might be made of them.
    fn value() -> impl Strategy<Value = Value> {
        let known = [
            json!("RSA"),
            json!("EC"),
            json!("OKP"),
            json!("oct"),
            json!("P-256"),
            json!("Ed25519"),
            json!("sig"),
            json!("enc"),
            json!("verify"),
            json!(["verify"]),
            json!("RS256"),
            json!("HS256"),
            json!("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"),
            json!("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"),
            json!("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
            json!(URL_SAFE_NO_PAD.encode([0xff; 256])),
            json!("AQAB"),
            json!(""),
            json!("a"),
            json!(7),
            json!(null),
        ];
        prop_oneof![9 => prop::sample::select(known.to_vec()), 1 => ".{0,20}".prop_map(Value::from)]
    }

    fn jwk() -> impl Strategy<Value = Value> {
        let names = ["kty", "crv", "x", "y", "n", "e", "use", "key_ops", "alg", "kid", "d", "k"];
        let members =
            prop::collection::btree_map(prop::sample::select(names.to_vec()), value(), 0..10);
        members.prop_map(|members| json!(members))
    }

    proptest! {
        #[test]
        fn whatever_is_published_only_public_keys_with_allowed_algorithms_come_of_it(
            members in prop::collection::vec(jwk(), 0..8)
        ) {
            let count = members.len();
            let set = read(json!({ "keys": members }).to_string().as_bytes(), ALLOWED).unwrap();
            prop_assert_eq!(set.keys.len() + set.ignored.len(), count);
            for key in &set.keys {
                let family = key.decoding.family();
                prop_assert!(family != AlgorithmFamily::Hmac);
                prop_assert!(!key.algorithms.is_empty());
                prop_assert!(key.algorithms.iter().all(|name| name.family() == family && ALLOWED.contains(name)));
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = read(text.as_bytes(), ALLOWED);
            let _ = read(format!("{{\"keys\":[{text}]}}").as_bytes(), ALLOWED);
        }
    }

    #[test]
    fn the_keys_of_the_standards_are_keys() {
        let p256 = json!({ "kty": "EC", "crv": "P-256", "use": "enc", "kid": "1",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM" });
        let ed = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        assert_eq!(key(&p256, ALLOWED).err(), Some("is not meant for signatures"));
        let mut p256 = p256;
        p256.as_object_mut().unwrap().remove("use");
        assert_eq!(key(&p256, ALLOWED).unwrap().algorithms, [Algorithm::ES256]);
        assert_eq!(key(&ed, ALLOWED).unwrap().algorithms, [Algorithm::EdDSA]);
    }
}

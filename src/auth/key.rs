//! The keys of the configuration, each with its algorithms.
//!
//! In: [`AuthConfig`]. Out: [`Key`]s. Invariant: a key is of one kind and so are its algorithms, so a public key
//! never serves as an HMAC secret.

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

use super::{AuthError, KeyFault};
use crate::config::{AuthConfig, AuthKey};

/// What a signature may be checked with.
pub(super) struct Key {
    pub id: Option<String>,
    pub algorithms: Vec<Algorithm>,
    pub decoding: DecodingKey,
}

impl Key {
    pub fn is_named(&self, id: &str) -> bool {
        self.id.as_deref() == Some(id)
    }

    pub fn suits(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }
}

/// The key of `[auth]` first, then those of the `[[key]]` tables.
pub(super) fn configured(config: &AuthConfig) -> Result<Vec<Key>, AuthError> {
    let own = config.key.as_ref().map(|key| ("auth", None, key, &config.algorithms));
    let further = config
        .further_keys
        .iter()
        .map(|key| (key.table.as_str(), key.id.as_ref(), &key.key, &key.algorithms));
    let keys = own.into_iter().chain(further).map(|(table, id, key, algorithms)| {
        let decoding = decoding(key, algorithms).map_err(|fault| AuthError::new(table, fault))?;
        Ok(Key { id: id.cloned(), algorithms: algorithms.clone(), decoding })
    });
    keys.collect()
}

fn decoding(key: &AuthKey, algorithms: &[Algorithm]) -> Result<DecodingKey, KeyFault> {
    let family = algorithms.first().ok_or(KeyFault::MixedAlgorithms)?.family();
    if algorithms.iter().any(|algorithm| algorithm.family() != family) {
        return Err(KeyFault::MixedAlgorithms);
    }
    match (key, family) {
        (AuthKey::Hmac(secret), AlgorithmFamily::Hmac) => {
            Ok(DecodingKey::from_secret(secret.expose()))
        }
        (
            AuthKey::PublicPem(pem),
            AlgorithmFamily::Rsa | AlgorithmFamily::Ec | AlgorithmFamily::Ed,
        ) => public(pem, family, algorithms),
        _ => Err(KeyFault::MixedAlgorithms),
    }
}

fn public(
    pem: &[u8],
    family: AlgorithmFamily,
    algorithms: &[Algorithm],
) -> Result<DecodingKey, KeyFault> {
    if String::from_utf8_lossy(pem).contains("PRIVATE KEY") {
        return Err(KeyFault::PrivateKey);
    }
    let key = match family {
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem),
        _ => DecodingKey::from_ed_pem(pem),
    };
    let key = key.map_err(|_| KeyFault::NotAKey)?;
    let length = key.try_get_as_bytes().map_err(|_| KeyFault::NotAKey)?.len();
    match family {
        AlgorithmFamily::Rsa if length < RSA_2048_BYTES => Err(KeyFault::ShortRsaKey),
        AlgorithmFamily::Ec if !algorithms.iter().all(|name| fits_curve(*name, length)) => {
            Err(KeyFault::Curve)
        }
        _ => Ok(key),
    }
}

/// An uncompressed point: one byte and two coordinates.
fn fits_curve(algorithm: Algorithm, point_bytes: usize) -> bool {
    match algorithm {
        Algorithm::ES256 => point_bytes == 1 + 2 * 32,
        Algorithm::ES384 => point_bytes == 1 + 2 * 48,
        _ => false,
    }
}

/// The modulus alone; the DER form around it is longer.
const RSA_2048_BYTES: usize = 256;

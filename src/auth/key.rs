//! The key that tokens are verified with, and that it goes with the algorithms.
//!
//! In: an [`AuthKey`] and the configured algorithms. Out: the library's key. Invariant: a key is of one
//! kind and so are its algorithms, so a public key never serves as an HMAC secret.

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

use super::AuthError;
use crate::config::AuthKey;

pub(super) fn decoding(key: &AuthKey, algorithms: &[Algorithm]) -> Result<DecodingKey, AuthError> {
    let family = algorithms.first().ok_or(AuthError::MixedAlgorithms)?.family();
    if algorithms.iter().any(|algorithm| algorithm.family() != family) {
        return Err(AuthError::MixedAlgorithms);
    }
    match (key, family) {
        (AuthKey::Hmac(secret), AlgorithmFamily::Hmac) => {
            Ok(DecodingKey::from_secret(secret.expose()))
        }
        (
            AuthKey::PublicPem(pem),
            AlgorithmFamily::Rsa | AlgorithmFamily::Ec | AlgorithmFamily::Ed,
        ) => public(pem, family, algorithms),
        _ => Err(AuthError::MixedAlgorithms),
    }
}

fn public(
    pem: &[u8],
    family: AlgorithmFamily,
    algorithms: &[Algorithm],
) -> Result<DecodingKey, AuthError> {
    if String::from_utf8_lossy(pem).contains("PRIVATE KEY") {
        return Err(AuthError::PrivateKey);
    }
    let key = match family {
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem),
        _ => DecodingKey::from_ed_pem(pem),
    };
    let key = key.map_err(|_| AuthError::NotAKey)?;
    let length = key.try_get_as_bytes().map_err(|_| AuthError::NotAKey)?.len();
    match family {
        AlgorithmFamily::Rsa if length < RSA_2048_BYTES => Err(AuthError::ShortRsaKey),
        AlgorithmFamily::Ec if !algorithms.iter().all(|name| fits_curve(*name, length)) => {
            Err(AuthError::Curve)
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

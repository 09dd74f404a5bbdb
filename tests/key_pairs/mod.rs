//! Key pairs of every kind, made anew for each test.

#![allow(dead_code, reason = "not every test needs every part")]

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// A key pair: the private half to sign with, the public half as PEM.
pub struct Pair {
    pub private: EncodingKey,
    pub public: Vec<u8>,
}

pub fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")).into_bytes()
}

pub fn rsa() -> Pair {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let private = pem("PRIVATE KEY", private.as_ref());
    Pair {
        private: EncodingKey::from_rsa_pem(&private).unwrap(),
        public: pem("PUBLIC KEY", public.as_ref()),
    }
}

pub fn p256() -> Pair {
    ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)
}

pub fn p384() -> Pair {
    ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING)
}

fn ec(curve: &'static signature::EcdsaSigningAlgorithm) -> Pair {
    let document = EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(curve, document.as_ref()).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair {
        private: EncodingKey::from_ec_der(document.as_ref()),
        public: pem("PUBLIC KEY", public.as_ref()),
    }
}

pub fn ed() -> Pair {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair {
        // The form without the public half, which is the one that `published` understands.
        private: EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref()),
        public: pem("PUBLIC KEY", public.as_ref()),
    }
}

impl Pair {
    /// The public half as an issuer publishes it, by the library's hand.
    pub fn published(&self, id: Option<&str>, algorithm: Algorithm) -> Value {
        let jwk = Jwk::from_encoding_key(&self.private, algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        let members = jwk.as_object_mut().unwrap();
        members.remove("alg");
        members.extend(id.map(|id| ("kid".to_owned(), json!(id))));
        jwk
    }

    pub fn sign(&self, id: Option<&str>, algorithm: Algorithm, claims: &Value) -> String {
        let header = Header { kid: id.map(str::to_owned), ..Header::new(algorithm) };
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }
}

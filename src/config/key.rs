//! `[[key]]`: further keys that tokens are verified with, so that one can follow another without a gap.
//!
//! In: the rows as written, and the files that they name. Out: [`VerifyingKey`]s. Invariant: a key is of one kind,
//! its algorithms are of that kind, and no other key has its id.

use std::path::Path;

use jsonwebtoken::Algorithm;

use super::reader::Findings;
use super::{AuthConfig, Environment, Secret, Table, Visitor, key_file};

/// A row as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyConfig {
    pub id: Option<String>,
    pub secret_file: Option<String>,
    pub public_key_file: Option<String>,
    pub algorithms: Vec<Algorithm>,
}

/// A key and what it may be used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    /// The configuration's name of it, such as `key[1]`.
    pub table: String,
    /// The `kid` of its tokens; without one, any token of its algorithms may be its own.
    pub id: Option<String>,
    pub algorithms: Vec<Algorithm>,
    pub key: AuthKey,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthKey {
    /// For HS256, HS384 and HS512.
    Hmac(Secret<Vec<u8>>),
    /// For RS*, PS*, ES* and EdDSA.
    PublicPem(Vec<u8>),
}

impl Default for KeyConfig {
    fn default() -> Self {
        let algorithms = AuthConfig::default().algorithms;
        Self { id: None, secret_file: None, public_key_file: None, algorithms }
    }
}

impl Table for KeyConfig {
    fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.field("id", ID, &mut self.id);
        visitor.field("secret_file", SECRET_FILE, &mut self.secret_file);
        visitor.field("public_key_file", PUBLIC_KEY_FILE, &mut self.public_key_file);
        visitor.field("algorithms", ALGORITHMS, &mut self.algorithms);
    }

    fn sample() -> Self {
        Self {
            id: Some("2026-07".to_owned()),
            public_key_file: Some("issuer.pem".to_owned()),
            algorithms: vec![Algorithm::ES256],
            ..Self::default()
        }
    }
}

/// What the tables mean.
pub(super) fn resolve(
    rows: &[KeyConfig],
    base: &Path,
    environment: &Environment,
    findings: &mut Findings,
) -> Vec<VerifyingKey> {
    if rows.len() > MAX_KEYS {
        let message = format!("is one of {} keys, and {MAX_KEYS} are the most", rows.len());
        findings.fault(&format!("key[{}]", MAX_KEYS + 1), message);
    }
    let keys = rows.iter().take(MAX_KEYS).enumerate().filter_map(|(index, row)| {
        let table = format!("key[{}]", index + 1);
        check_id(row, &rows[..index], &table, findings);
        resolve_one(row, table, base, environment, findings)
    });
    keys.collect()
}

fn resolve_one(
    row: &KeyConfig,
    table: String,
    base: &Path,
    environment: &Environment,
    findings: &mut Findings,
) -> Option<VerifyingKey> {
    let (secret_file, public_key_file) = (&row.secret_file, &row.public_key_file);
    if secret_file.is_none() && public_key_file.is_none() {
        findings.fault(&table, "has no key: name a file in secret_file or public_key_file");
    }
    let source = Source { table: &table, secret_file, public_key_file };
    let key = read(source, base, environment, findings)?;
    check_algorithms(&key, &row.algorithms, &table, findings);
    Some(VerifyingKey { id: row.id.clone(), algorithms: row.algorithms.clone(), key, table })
}

fn check_id(row: &KeyConfig, before: &[KeyConfig], table: &str, findings: &mut Findings) {
    let Some(id) = &row.id else { return };
    let key = format!("{table}.id");
    if !is_key_id(id) {
        findings.fault(&key, BAD_ID);
    }
    if let Some(first) = before.iter().position(|other| other.id.as_ref() == Some(id)) {
        findings.fault(&key, format!("is the id of key[{}] already", first + 1));
    }
}

/// An HMAC algorithm with a public key would make the public key the secret.
pub(super) fn check_algorithms(
    key: &AuthKey,
    algorithms: &[Algorithm],
    table: &str,
    findings: &mut Findings,
) {
    let is_secret = matches!(key, AuthKey::Hmac(_));
    let Some(wrong) = algorithms.iter().find(|name| is_hmac(**name) != is_secret) else { return };
    let (file, fit) = match key {
        AuthKey::Hmac(_) => ("secret_file", FIT_FOR_SECRET),
        AuthKey::PublicPem(_) => ("public_key_file", FIT_FOR_PUBLIC),
    };
    // Where nobody chose the algorithms, the key is what was chosen.
    let chosen = format!("{table}.algorithms");
    let key = match findings.weight(&chosen) {
        Some(_) => chosen.clone(),
        None => format!("{table}.{file}"),
    };
    findings.fault(&key, format!("{wrong:?} in {chosen} does not go with {fit}"));
}

pub(super) const fn is_hmac(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

/// base64 ids have `/` and `+`, paths have `..`.
pub fn is_key_id(text: &str) -> bool {
    let is_id_byte = |b: u8| b.is_ascii_alphanumeric() || b"-_.:@=+/".contains(&b);
    (1..=128).contains(&text.len()) && text.bytes().all(is_id_byte) && !text.contains("..")
}

/// Where a table says that its key is.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub table: &'a str,
    pub secret_file: &'a Option<String>,
    pub public_key_file: &'a Option<String>,
}

/// The one key of a table.
pub(super) fn read(
    source: Source<'_>,
    base: &Path,
    environment: &Environment,
    findings: &mut Findings,
) -> Option<AuthKey> {
    let (secret_key, public_key) =
        (format!("{}.secret_file", source.table), format!("{}.public_key_file", source.table));
    if source.secret_file.is_some() && source.public_key_file.is_some() {
        findings.fault(&public_key, format!("contradicts {secret_key}: keep one of the two"));
    }
    if let Some(name) = source.secret_file {
        let file = read_file(name, &secret_key, base, environment, findings)?;
        if file.open_to_all {
            let message = format!("the file {name} can be read by everybody: chmod 0600 it");
            findings.warn(&secret_key, message);
        }
        return Some(secret(file.bytes, &secret_key, findings));
    }
    let name = source.public_key_file.as_deref()?;
    let file = read_file(name, &public_key, base, environment, findings)?;
    Some(AuthKey::PublicPem(file.bytes))
}

fn read_file(
    name: &str,
    key: &str,
    base: &Path,
    environment: &Environment,
    findings: &mut Findings,
) -> Option<key_file::KeyFile> {
    let file = key_file::read(name, base, environment);
    file.map_err(|message| findings.fault(key, format!("the file {name}: {message}"))).ok()
}

pub(super) fn secret(secret: Vec<u8>, key: &str, findings: &mut Findings) -> AuthKey {
    if secret.len() < SECRET_MIN_BYTES {
        let message = format!(
            "the secret has {} bytes and needs {SECRET_MIN_BYTES}: make one with `openssl rand -hex 32`",
            secret.len()
        );
        findings.fault(key, message);
    }
    AuthKey::Hmac(Secret::new(secret))
}

/// RFC 7518 section 3.2: as long as the hash of HS256.
const SECRET_MIN_BYTES: usize = 32;

/// A token without a known `kid` may be tried with each of them.
const MAX_KEYS: usize = 32;

pub(super) const ABOUT: &str = "\
Further keys, one table each: the next one beside the last one, while tokens of both are in use.
Each has its own algorithms, of its own kind; the key of [auth] goes on counting beside them.";

const ID: &str =
    "The kid of its tokens; empty: any token of its algorithms that names no other key.";
const SECRET_FILE: &str = "Like auth.secret_file; a key has this or public_key_file.";
const PUBLIC_KEY_FILE: &str = "Like auth.public_key_file.";
const ALGORITHMS: &str = "Like auth.algorithms, of one kind.";

const BAD_ID: &str = "is made of 1 to 128 letters, digits and -_.:@=+/ without \"..\": a token that names another kid is refused";
const FIT_FOR_PUBLIC: &str =
    "a public key: name the one that your issuer signs with, such as [\"ES256\"]";
const FIT_FOR_SECRET: &str = "a secret: use HS256, HS384 or HS512, or name a public key in public_key_file; \
     beside auth.jwks_url a secret needs a [[key]] table of its own";

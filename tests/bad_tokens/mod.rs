//! The table of tokens that must not be believed, and the one that must: 45 rows, of the security checklist.

#![allow(dead_code, reason = "not every test needs every part")]

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

pub const ISSUER: &str = "https://issuer.example";
pub const AUDIENCE: &str = "rowcast";

/// The row that counts: an audience among others.
pub const GOOD: u8 = 23;

/// Signs whatever it is given, at a time of its own.
#[derive(Clone, Copy)]
pub struct Forge<'a> {
    pub secret: &'a [u8],
    pub now: u64,
}

impl Forge<'_> {
    pub fn claims(self) -> Value {
        let now = self.now;
        json!({ "sub": "alice", "iss": ISSUER, "aud": AUDIENCE, "iat": now - 60, "exp": now + 240 })
    }

    pub fn signed(self, header: &Value, claims: &Value) -> String {
        self.signed_text(&header.to_string(), claims.to_string())
    }

    pub fn signed_text(self, header: &str, claims: impl AsRef<[u8]>) -> String {
        signed_with(self.secret, Algorithm::HS256, header, claims)
    }

    pub fn of_claims(self, changes: Value) -> String {
        self.signed(&header(), &with(self.claims(), changes))
    }

    pub fn without_claim(self, name: &str) -> String {
        self.signed(&header(), &without(self.claims(), name))
    }

    pub fn of_header(self, changes: Value) -> String {
        self.signed(&with(header(), changes), &self.claims())
    }

    pub fn table(self) -> Vec<(u8, String)> {
        let rows = [
            self.wrongly_signed(),
            self.at_the_wrong_time(),
            self.of_others(),
            self.with_demands(),
            self.no_tokens(),
        ];
        let mut rows = rows.concat();
        rows.sort_by_key(|(row, _)| *row);
        assert!(rows.iter().map(|(row, _)| *row).eq(1..=45), "every row once");
        rows
    }

    fn wrongly_signed(self) -> Vec<(u8, String)> {
        let good = self.signed(&header(), &self.claims());
        let (message, signature) = good.rsplit_once('.').unwrap();
        let (head, payload) = message.split_once('.').unwrap();
        let unsigned =
            |alg: &str| format!("{}.{payload}.", part(json!({ "alg": alg }).to_string()));
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[7] ^= 1;
        let other_claims = part(with(self.claims(), json!({ "sub": "mallory" })).to_string());
        let strange = |alg: &str, algorithm| {
            let header = with(header(), json!({ "alg": alg })).to_string();
            signed_with(self.secret, algorithm, &header, self.claims().to_string())
        };
        let other_key = Forge { secret: &[b'x'; 40], ..self };
        vec![
            (1, unsigned("none")),
            (2, unsigned("nOnE")),
            (3, format!("{message}.")),
            (4, message.to_owned()),
            (5, format!("{message}.{}", part(&bytes))),
            (6, format!("{head}.{other_claims}.{signature}")),
            (7, other_key.signed(&header(), &self.claims())),
            (8, strange("HS384", Algorithm::HS384)),
            (9, strange("RS256", Algorithm::HS256)),
            (45, strange("hs256", Algorithm::HS256)),
        ]
    }

    fn at_the_wrong_time(self) -> Vec<(u8, String)> {
        let now = self.now;
        let of = |changes| self.of_claims(changes);
        vec![
            (10, of(json!({ "exp": now - 3_600, "iat": now - 4_000 }))),
            (11, of(json!({ "exp": now - 30 }))),
            (12, self.without_claim("exp")),
            (13, of(json!({ "exp": (now + 240).to_string() }))),
            (14, of(json!({ "exp": null }))),
            (15, of(json!({ "exp": -1 }))),
            (16, of(json!({ "exp": 1e300 }))),
            (17, of(json!({ "exp": 9_999_999_999_u64 }))),
            (18, of(json!({ "nbf": now + 3_600 }))),
            (19, of(json!({ "iat": now + 3_600, "exp": now + 3_700 }))),
        ]
    }

    fn of_others(self) -> Vec<(u8, String)> {
        let of = |changes| self.of_claims(changes);
        vec![
            (20, of(json!({ "aud": "billing" }))),
            (21, self.without_claim("aud")),
            (22, of(json!({ "aud": 7 }))),
            (GOOD, of(json!({ "aud": ["billing", AUDIENCE] }))),
            (24, of(json!({ "iss": "https://other.example" }))),
            (25, self.without_claim("iss")),
            (26, of(json!({ "iss": 7 }))),
            (27, self.without_claim("sub")),
            (28, of(json!({ "sub": { "id": "alice" } }))),
            (29, of(json!({ "sub": "" }))),
            (30, self.twice("sub", "mallory")),
        ]
    }

    /// Signed claims in which `name` occurs a second time.
    fn twice(self, name: &str, value: &str) -> String {
        let text = self.claims().to_string();
        let text = format!("{},\"{name}\":\"{value}\"}}", text.strip_suffix('}').unwrap());
        self.signed_text(&header().to_string(), text)
    }

    /// The header asks for something.
    fn with_demands(self) -> Vec<(u8, String)> {
        let of = |changes| self.of_header(changes);
        let jwk = json!({ "kty": "oct", "k": part(self.secret) });
        vec![
            (31, of(json!({ "crit": ["exp2"], "exp2": 1 }))),
            (32, of(json!({ "typ": "dpop+jwt" }))),
            (33, of(json!({ "kid": "../../dev/null" }))),
            (34, of(json!({ "kid": "x' union select 'k' --" }))),
            (35, of(json!({ "jku": "https://evil.example/jwks.json" }))),
            (36, of(json!({ "jwk": jwk }))),
        ]
    }

    fn no_tokens(self) -> Vec<(u8, String)> {
        let good = self.signed(&header(), &self.claims());
        let text = |claims: &[u8]| self.signed_text(&header().to_string(), claims);
        let deep = format!(r#"{{"sub":"alice","x":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        vec![
            (37, self.padded()),
            (38, format!("{good}\n")),
            (39, format!("{good}.{}", part("more"))),
            (40, text(b"[]")),
            (41, text(b"{\"sub\":\"\xff\xfe\"}")),
            (42, self.of_claims(json!({ "x": "x".repeat(1 << 20) }))),
            (43, text(deep.as_bytes())),
            (44, String::new()),
        ]
    }

    fn padded(self) -> String {
        let claims = self.claims().to_string();
        let claims = format!("{claims}{}", " ".repeat((4 - claims.len() % 3) % 3));
        let message = format!("{}.{}", part(header().to_string()), URL_SAFE.encode(&claims));
        assert!(message.ends_with('='));
        let key = EncodingKey::from_secret(self.secret);
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    }
}

pub fn header() -> Value {
    json!({ "alg": "HS256", "typ": "JWT" })
}

/// The object with some of its members replaced; `null` members are set, `without` removes.
pub fn with(mut object: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    object.as_object_mut().unwrap().extend(changes);
    object
}

pub fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name).unwrap();
    object
}

pub fn part(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Signed as it is, with whatever the header says.
pub fn signed_with(
    key: &[u8],
    algorithm: Algorithm,
    header: &str,
    claims: impl AsRef<[u8]>,
) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(key);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm).unwrap();
    format!("{message}.{signature}")
}

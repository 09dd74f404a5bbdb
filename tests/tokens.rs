//! Every token that must not be believed, and the ones that must: the table of the security checklist.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use proptest::prelude::*;
use rowcast::auth::{Authenticator, KeyFault, Minter, Place, Request, TokenRefusal};
use rowcast::config::{AuthConfig, AuthKey, Secret};
use serde_json::{Value, json};

mod key_pairs;

use key_pairs::Pair;

const SECRET: &[u8] = b"the secret of these tests is thirty-two bytes and more";
const NOW: u64 = 1_790_000_000;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

fn strict() -> AuthConfig {
    AuthConfig {
        issuer: Some("https://issuer.example".to_owned()),
        audience: Some("rowcast".to_owned()),
        key: Some(AuthKey::Hmac(Secret::new(SECRET.to_vec()))),
        ..AuthConfig::default()
    }
}

fn header() -> Value {
    json!({ "alg": "HS256", "typ": "JWT" })
}

fn claims() -> Value {
    json!({
        "sub": "alice", "iss": "https://issuer.example", "aud": "rowcast",
        "iat": NOW - 60, "exp": NOW + 240,
    })
}

/// The object with some of its members replaced; `null` members are set, `with_out` removes.
fn with(mut object: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    object.as_object_mut().unwrap().extend(changes);
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name).unwrap();
    object
}

fn part(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Signed as it is, with whatever the header says.
fn signed_with(key: &[u8], algorithm: Algorithm, header: &str, claims: impl AsRef<[u8]>) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(key);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm).unwrap();
    format!("{message}.{signature}")
}

fn signed(header: &Value, claims: &Value) -> String {
    signed_with(SECRET, Algorithm::HS256, &header.to_string(), claims.to_string())
}

fn of_claims(changes: Value) -> String {
    signed(&header(), &with(claims(), changes))
}

fn of_header(changes: Value) -> String {
    signed(&with(header(), changes), &claims())
}

fn verify(config: &AuthConfig, token: &str) -> Result<String, TokenRefusal> {
    let authenticator = Authenticator::new(config).unwrap();
    let principal = authenticator.verify(token, Place::Header, now())?;
    Ok(principal.user.unwrap().to_string())
}

#[track_caller]
fn refused(name: impl Debug, token: &str) -> TokenRefusal {
    match verify(&strict(), token) {
        Err(refusal) => refusal,
        Ok(user) => panic!("{name:?} was believed to be {user}"),
    }
}

#[test]
fn the_plain_token_is_believed() {
    assert_eq!(verify(&strict(), &signed(&header(), &claims())), Ok("alice".to_owned()));
}

/// Rows 1 to 9 and 45: what the signature is about.
#[test]
fn tokens_that_are_not_signed_with_the_key_are_refused() {
    let good = signed(&header(), &claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (head, payload) = message.split_once('.').unwrap();
    let unsigned = |alg: &str| format!("{}.{payload}.", part(json!({ "alg": alg }).to_string()));
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes[7] ^= 1;
    let other_claims = part(with(claims(), json!({ "sub": "mallory" })).to_string());
    let strange = |alg: &str, algorithm| {
        let header = with(header(), json!({ "alg": alg })).to_string();
        signed_with(SECRET, algorithm, &header, claims().to_string())
    };
    let rows = [
        (1, unsigned("none")),
        (2, unsigned("nOnE")),
        (3, format!("{message}.")),
        (4, message.to_owned()),
        (5, format!("{message}.{}", part(&bytes))),
        (6, format!("{head}.{other_claims}.{signature}")),
        (
            7,
            signed_with(&[b'x'; 40], Algorithm::HS256, &header().to_string(), claims().to_string()),
        ),
        (8, strange("HS384", Algorithm::HS384)),
        (9, strange("RS256", Algorithm::HS256)),
        (45, strange("hs256", Algorithm::HS256)),
    ];
    for (row, token) in &rows {
        refused(row, token);
    }
    assert_eq!(refused(6, &rows[5].1), TokenRefusal::Signature);
    assert_eq!(refused(7, &rows[6].1), TokenRefusal::Signature);
    assert_eq!(refused(8, &rows[7].1), TokenRefusal::Algorithm);
}

/// Rows 10 to 19: when a token counts.
#[test]
fn tokens_at_the_wrong_time_are_refused() {
    let missing = TokenRefusal::Claim("exp".to_owned());
    let rows = [
        (10, of_claims(json!({ "exp": NOW - 3_600, "iat": NOW - 4_000 })), TokenRefusal::Expired),
        (11, of_claims(json!({ "exp": NOW - 30 })), TokenRefusal::Expired),
        (12, signed(&header(), &without(claims(), "exp")), missing.clone()),
        (13, of_claims(json!({ "exp": (NOW + 240).to_string() })), missing.clone()),
        (14, of_claims(json!({ "exp": null })), missing.clone()),
        (15, of_claims(json!({ "exp": -1 })), missing.clone()),
        (16, of_claims(json!({ "exp": 1e300 })), missing),
        (17, of_claims(json!({ "exp": 9_999_999_999_u64 })), TokenRefusal::LongLived),
        (18, of_claims(json!({ "nbf": NOW + 3_600 })), TokenRefusal::NotYet),
        (19, of_claims(json!({ "iat": NOW + 3_600, "exp": NOW + 3_700 })), TokenRefusal::NotYet),
    ];
    for (row, token, reason) in rows {
        assert_eq!(refused(row, &token), reason, "row {row}");
    }
}

/// Rows 20 to 22 and 24 to 30: who says so, to whom, about whom.
#[test]
fn tokens_of_others_for_others_or_about_nobody_are_refused() {
    let claim = |name: &str| TokenRefusal::Claim(name.to_owned());
    let rows = [
        (20, of_claims(json!({ "aud": "billing" })), TokenRefusal::Audience),
        (21, signed(&header(), &without(claims(), "aud")), claim("aud")),
        (22, of_claims(json!({ "aud": 7 })), claim("aud")),
        (24, of_claims(json!({ "iss": "https://other.example" })), TokenRefusal::Issuer),
        (25, signed(&header(), &without(claims(), "iss")), claim("iss")),
        (26, of_claims(json!({ "iss": 7 })), claim("iss")),
        (27, signed(&header(), &without(claims(), "sub")), claim("sub")),
        (28, of_claims(json!({ "sub": { "id": "alice" } })), claim("sub")),
        (29, of_claims(json!({ "sub": "" })), claim("sub")),
        (30, twice(&claims(), "sub", "mallory"), TokenRefusal::Malformed),
    ];
    for (row, token, reason) in rows {
        assert_eq!(refused(row, &token), reason, "row {row}");
    }
}

/// Signed claims in which `name` occurs a second time.
fn twice(claims: &Value, name: &str, value: &str) -> String {
    let text = claims.to_string();
    let text = format!("{},\"{name}\":\"{value}\"}}", text.strip_suffix('}').unwrap());
    signed_with(SECRET, Algorithm::HS256, &header().to_string(), text)
}

/// Row 23, the one of the table that counts.
#[test]
fn an_audience_among_others_is_accepted() {
    let token = of_claims(json!({ "aud": ["billing", "rowcast"] }));
    assert_eq!(verify(&strict(), &token), Ok("alice".to_owned()));
}

/// Rows 31 to 36: what a header may not ask for.
#[test]
fn tokens_whose_header_asks_for_something_are_refused() {
    let jwk = json!({ "kty": "oct", "k": part(SECRET) });
    let rows = [
        (31, of_header(json!({ "crit": ["exp2"], "exp2": 1 })), "crit"),
        (32, of_header(json!({ "typ": "dpop+jwt" })), "typ"),
        (33, of_header(json!({ "kid": "../../dev/null" })), "kid"),
        (34, of_header(json!({ "kid": "x' union select 'k' --" })), "kid"),
        (35, of_header(json!({ "jku": "https://evil.example/jwks.json" })), "jku"),
        (36, of_header(json!({ "jwk": jwk })), "jwk"),
    ];
    for (row, token, name) in rows {
        assert_eq!(refused(row, &token), TokenRefusal::Header(name), "row {row}");
    }
}

/// Rows 37 to 44: what is no token.
#[test]
fn what_is_no_token_is_refused() {
    let good = signed(&header(), &claims());
    let (head, claims_text) = (header().to_string(), claims().to_string());
    let padded = format!("{claims_text}{}", " ".repeat((4 - claims_text.len() % 3) % 3));
    assert_ne!(padded.len() % 3, 0, "so that base64 has something to pad");
    let message = format!("{}.{}", part(&head), URL_SAFE.encode(&padded));
    assert!(message.ends_with('='));
    let sign = |message: &str| {
        let key = EncodingKey::from_secret(SECRET);
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap()
    };
    let hmac = |claims: &[u8]| signed_with(SECRET, Algorithm::HS256, &head, claims);
    let deep = format!(r#"{{"sub":"alice","x":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let rows = [
        (37, format!("{message}.{}", sign(&message))),
        (38, format!("{good}\n")),
        (39, format!("{good}.{}", part("more"))),
        (40, hmac(b"[]")),
        (41, hmac(b"{\"sub\":\"\xff\xfe\"}")),
        (42, of_claims(json!({ "x": "x".repeat(1 << 20) }))),
        (43, hmac(deep.as_bytes())),
        (44, String::new()),
    ];
    for (row, token) in &rows {
        refused(row, token);
    }
    assert_eq!(refused(42, &rows[5].1), TokenRefusal::TooLong);
}

#[test]
fn nesting_is_refused_also_where_the_token_is_short_enough_to_be_read() {
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(1_000), "]".repeat(1_000));
    let token = signed_with(SECRET, Algorithm::HS256, &header().to_string(), deep);
    assert!(token.len() < 8 << 10);
    assert_eq!(refused("nested", &token), TokenRefusal::Malformed);
}

#[test]
fn further_headers_that_bring_or_fetch_a_key_are_refused() {
    for name in ["x5u", "x5c", "b64", "zip", "enc"] {
        let value = if name == "x5c" { json!(["MII"]) } else { json!("https://evil.example") };
        assert_eq!(refused(name, &of_header(json!({ name: value }))), TokenRefusal::Header(name));
    }
    let twice = r#"{"alg":"HS256","alg":"HS256"}"#;
    let token = signed_with(SECRET, Algorithm::HS256, twice, claims().to_string());
    assert_eq!(refused("alg twice", &token), TokenRefusal::Malformed);
}

#[test]
fn ordinary_headers_are_no_obstacle() {
    for changes in [
        json!({ "typ": "jwt" }),
        json!({ "typ": "AT+JWT" }),
        json!({ "kid": "3f8c0d1e-2b4a-4c6d-8e9f-0a1b2c3d4e5f" }),
        json!({ "kid": "uLnTNVzoFPD7/JCZdt5rY+E=" }),
        json!({ "x5t": "dGhl", "ver": 2 }),
    ] {
        assert_eq!(verify(&strict(), &of_header(changes)), Ok("alice".to_owned()));
    }
    let bare = signed(&without(header(), "typ"), &claims());
    assert_eq!(verify(&strict(), &bare), Ok("alice".to_owned()));
}

#[test]
fn a_token_counts_to_its_last_second_and_the_leeway() {
    let verify_at = |token: &str, now| {
        let authenticator = Authenticator::new(&strict()).unwrap();
        authenticator.verify(token, Place::Header, now).map(|principal| principal.expires_at)
    };
    let token = signed(&header(), &claims());
    let expires_at = now() + Duration::from_secs(240);
    let last = expires_at + Duration::from_millis(4_999);
    assert_eq!(verify_at(&token, last), Ok(Some(expires_at)));
    assert_eq!(verify_at(&token, expires_at + Duration::from_secs(5)), Err(TokenRefusal::Expired));
    let early = now() - Duration::from_secs(65);
    assert!(verify_at(&token, early).is_ok());
    assert_eq!(verify_at(&token, early - Duration::from_secs(1)), Err(TokenRefusal::NotYet));
    let fraction = of_claims(json!({ "exp": 1_790_000_000.5 }));
    assert!(verify_at(&fraction, now()).is_ok());
}

#[test]
fn a_token_in_a_url_has_to_be_short_lived() {
    let at = |place, life: u64, config: &AuthConfig| {
        let token = of_claims(json!({ "iat": NOW, "exp": NOW + life }));
        Authenticator::new(config).unwrap().verify(&token, place, now()).map(|_| ())
    };
    assert_eq!(at(Place::Query, 300, &strict()), Ok(()));
    assert_eq!(at(Place::Query, 301, &strict()), Err(TokenRefusal::LongLivedInQuery));
    for place in [Place::Header, Place::Subprotocol, Place::Message] {
        assert_eq!(at(place, 301, &strict()), Ok(()));
    }
    let never = AuthConfig { query_token_max_life: Duration::ZERO, ..strict() };
    assert_eq!(at(Place::Query, 1, &never), Err(TokenRefusal::LongLivedInQuery));
}

#[test]
fn user_and_role_come_from_the_claims_that_are_configured() {
    let config = AuthConfig {
        user_claim: "app.id".to_owned(),
        role_claim: "app.role".to_owned(),
        ..strict()
    };
    let believed = |app: Value| {
        let token = of_claims(json!({ "app": app }));
        Authenticator::new(&config).unwrap().verify(&token, Place::Message, now())
    };
    let principal = believed(json!({ "id": 42, "role": "staff" })).unwrap();
    assert_eq!((principal.user.as_deref(), principal.role.as_deref()), (Some("42"), Some("staff")));
    for app in
        [json!({}), json!({ "id": "" }), json!({ "id": 1.5 }), json!({ "id": ["a"] }), json!(1)]
    {
        assert_eq!(believed(app), Err(TokenRefusal::Claim("app.id".to_owned())));
    }
}

#[test]
fn without_a_key_nobody_is_believed_and_anonymous_use_is_a_choice() {
    let authenticator = Authenticator::new(&AuthConfig::default()).unwrap();
    let token = signed(&header(), &claims());
    let refusal = authenticator.verify(&token, Place::Header, now());
    assert_eq!(refusal, Err(TokenRefusal::NoKey));
    assert_eq!(authenticator.anonymous(), None);
    let open = AuthConfig { anonymous: true, ..AuthConfig::default() };
    assert!(Authenticator::new(&open).unwrap().anonymous().unwrap().user.is_none());
}

fn public_config(public: &[u8], algorithms: &[Algorithm]) -> AuthConfig {
    AuthConfig {
        key: Some(AuthKey::PublicPem(public.to_vec())),
        algorithms: algorithms.to_vec(),
        ..strict()
    }
}

#[test]
fn every_kind_of_public_key_verifies_its_algorithms_and_no_other() {
    use Algorithm::*;
    let (rsa, p256, p384, ed) =
        (key_pairs::rsa(), key_pairs::p256(), key_pairs::p384(), key_pairs::ed());
    let sign = |pair: &Pair, algorithm| {
        jsonwebtoken::encode(&jsonwebtoken::Header::new(algorithm), &claims(), &pair.private)
            .unwrap()
    };
    let kinds = [
        (&rsa, vec![RS256, RS384, RS512, PS256, PS384, PS512]),
        (&p256, vec![ES256]),
        (&p384, vec![ES384]),
        (&ed, vec![EdDSA]),
    ];
    for (pair, algorithms) in &kinds {
        for algorithm in algorithms {
            let config = public_config(&pair.public, &[*algorithm]);
            let token = sign(pair, *algorithm);
            assert_eq!(verify(&config, &token), Ok("alice".to_owned()), "{algorithm:?}");
            for other in algorithms.iter().filter(|other| *other != algorithm) {
                let token = sign(pair, *other);
                assert_eq!(verify(&config, &token), Err(TokenRefusal::Algorithm), "{other:?}");
            }
            // The public key as an HMAC secret: the oldest trick.
            let header = json!({ "alg": "HS256" }).to_string();
            let forged = signed_with(&pair.public, HS256, &header, claims().to_string());
            assert_eq!(verify(&config, &forged), Err(TokenRefusal::Algorithm));
        }
    }
}

#[test]
fn secrets_verify_each_length_of_hash() {
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let config = AuthConfig { algorithms: vec![algorithm], ..strict() };
        let header = json!({ "alg": format!("{algorithm:?}") }).to_string();
        let token = signed_with(SECRET, algorithm, &header, claims().to_string());
        assert_eq!(verify(&config, &token), Ok("alice".to_owned()), "{algorithm:?}");
    }
}

#[test]
fn a_key_that_does_not_go_with_the_algorithms_is_refused_at_the_start() {
    use Algorithm::*;
    let p256 = key_pairs::p256();
    let fault = |public: &[u8], algorithms: &[Algorithm]| {
        Authenticator::new(&public_config(public, algorithms)).err().map(|error| error.fault())
    };
    assert_eq!(fault(&p256.public, &[ES384]), Some(KeyFault::Curve));
    assert_eq!(fault(&p256.public, &[ES256, ES384]), Some(KeyFault::Curve));
    assert_eq!(fault(&p256.public, &[RS256]), Some(KeyFault::NotAKey));
    assert_eq!(fault(&p256.public, &[HS256]), Some(KeyFault::MixedAlgorithms));
    assert_eq!(fault(&p256.public, &[ES256, RS256]), Some(KeyFault::MixedAlgorithms));
    assert_eq!(fault(b"no key at all", &[ES256]), Some(KeyFault::NotAKey));
    let private = key_pairs::pem("PRIVATE KEY", b"x");
    assert_eq!(fault(&private, &[RS256]), Some(KeyFault::PrivateKey));
    let mixed = AuthConfig { algorithms: vec![HS256, RS256], ..strict() };
    assert_eq!(
        Authenticator::new(&mixed).err().map(|error| error.fault()),
        Some(KeyFault::MixedAlgorithms)
    );
}

#[test]
fn a_minted_token_is_believed_under_the_configuration_that_minted_it() {
    let config = AuthConfig {
        user_claim: "app.user".to_owned(),
        role_claim: "app.role".to_owned(),
        algorithms: vec![Algorithm::HS512],
        ..strict()
    };
    let request = Request {
        user: "alice".to_owned(),
        role: Some("staff".to_owned()),
        claims: vec![("org_id".to_owned(), json!(7)), ("app.team".to_owned(), json!("red"))],
        ttl: Duration::from_secs(60),
    };
    let token = Minter::new(&config).unwrap().sign(request, now()).unwrap();
    let principal =
        Authenticator::new(&config).unwrap().verify(&token, Place::Query, now()).unwrap();
    assert_eq!(principal.user.as_deref(), Some("alice"));
    assert_eq!(principal.role.as_deref(), Some("staff"));
    assert_eq!(principal.claim("org_id"), Some(&json!(7)));
    assert_eq!(principal.claim("app.team"), Some(&json!("red")));
}

#[test]
fn nothing_is_minted_that_nobody_would_believe() {
    let minter = Minter::new(&strict()).unwrap();
    let request = |ttl, user: &str| Request { ttl, user: user.to_owned(), ..Request::default() };
    assert!(minter.sign(request(Duration::from_secs(86_401), "alice"), now()).is_err());
    assert!(minter.sign(request(Duration::from_secs(60), ""), now()).is_err());
    assert!(Minter::new(&AuthConfig::default()).is_err());
}

proptest! {
    /// Whatever arrives, the answer is a refusal and never a panic; flipping one character counts too.
    #[test]
    fn no_text_is_believed_and_none_panics(text in ".{0,200}", at in any::<prop::sample::Index>(), c in any::<char>()) {
        prop_assert!(verify(&strict(), &text).is_err());
        let good = signed(&header(), &claims());
        let mut changed: Vec<char> = good.chars().collect();
        let at = at.index(changed.len());
        changed[at] = c;
        let changed: String = changed.into_iter().collect();
        if changed != good {
            prop_assert!(verify(&strict(), &changed).is_err());
        }
    }
}

//! Every token that must not be believed, and the ones that must: the table of the security checklist.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use rowcast::auth::{Authenticator, KeyFault, Minter, Place, Request, TokenRefusal};
use rowcast::config::{AuthConfig, AuthKey, Secret, VerifyingKey};
use serde_json::{Value, json};

mod bad_tokens;
mod key_pairs;

use bad_tokens::{Forge, header, signed_with, without};
use key_pairs::Pair;

const SECRET: &[u8] = b"the secret of these tests is thirty-two bytes and more";
const NOW: u64 = 1_790_000_000;
const FORGE: Forge<'_> = Forge { secret: SECRET, now: NOW };

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

fn strict() -> AuthConfig {
    AuthConfig {
        issuer: Some(bad_tokens::ISSUER.to_owned()),
        audience: Some(bad_tokens::AUDIENCE.to_owned()),
        key: Some(AuthKey::Hmac(Secret::new(SECRET.to_vec()))),
        ..AuthConfig::default()
    }
}

fn claims() -> Value {
    FORGE.claims()
}

fn signed(header: &Value, claims: &Value) -> String {
    FORGE.signed(header, claims)
}

fn of_claims(changes: Value) -> String {
    FORGE.of_claims(changes)
}

fn of_header(changes: Value) -> String {
    FORGE.of_header(changes)
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

#[test]
fn every_token_of_the_table_is_refused_for_its_own_reason_but_the_good_one() {
    for (row, token) in FORGE.table() {
        let verdict = verify(&strict(), &token);
        match reason(row) {
            Some(reason) => assert_eq!(verdict, Err(reason), "row {row}"),
            None => assert_eq!(verdict, Ok("alice".to_owned()), "row {row}"),
        }
    }
}

fn reason(row: u8) -> Option<TokenRefusal> {
    let claim = |name: &str| TokenRefusal::Claim(name.to_owned());
    let reason = match row {
        1 | 2 | 8 | 9 | 45 => TokenRefusal::Algorithm,
        3 | 5..=7 => TokenRefusal::Signature,
        4 | 30 | 37..=41 | 44 => TokenRefusal::Malformed,
        10 | 11 => TokenRefusal::Expired,
        12..=16 => claim("exp"),
        17 => TokenRefusal::LongLived,
        18 | 19 => TokenRefusal::NotYet,
        20 => TokenRefusal::Audience,
        21 | 22 => claim("aud"),
        24 => TokenRefusal::Issuer,
        25 | 26 => claim("iss"),
        27..=29 => claim("sub"),
        31 => TokenRefusal::Header("crit"),
        32 => TokenRefusal::Header("typ"),
        33 | 34 => TokenRefusal::Header("kid"),
        35 => TokenRefusal::Header("jku"),
        36 => TokenRefusal::Header("jwk"),
        42 | 43 => TokenRefusal::TooLong,
        bad_tokens::GOOD => return None,
        other => panic!("row {other} has no reason"),
    };
    Some(reason)
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

fn secret(byte: u8) -> AuthKey {
    AuthKey::Hmac(Secret::new(vec![byte; 32]))
}

fn further(id: Option<&str>, algorithm: Algorithm, key: AuthKey) -> VerifyingKey {
    let id = id.map(str::to_owned);
    VerifyingKey { table: "key[1]".to_owned(), id, algorithms: vec![algorithm], key }
}

/// A token with this secret and `kid`.
fn by(byte: u8, algorithm: Algorithm, id: Option<&str>) -> String {
    let mut header = json!({ "alg": format!("{algorithm:?}") });
    header.as_object_mut().unwrap().extend(id.map(|id| ("kid".to_owned(), json!(id))));
    signed_with(&[byte; 32], algorithm, &header.to_string(), claims().to_string())
}

#[test]
fn a_key_follows_another_without_a_gap() {
    use Algorithm::HS256;
    let config = AuthConfig {
        key: Some(secret(b'o')),
        further_keys: vec![further(Some("2026-07"), HS256, secret(b'n'))],
        ..strict()
    };
    let verdict = |token: String| verify(&config, &token).map(|_| ());
    assert_eq!(verdict(by(b'o', HS256, None)), Ok(()));
    assert_eq!(verdict(by(b'n', HS256, Some("2026-07"))), Ok(()));
    // Whoever names a key means that one.
    assert_eq!(verdict(by(b'o', HS256, Some("2026-07"))), Err(TokenRefusal::Signature));
    assert_eq!(verdict(by(b'n', HS256, None)), Err(TokenRefusal::Signature));
    assert_eq!(verdict(by(b'n', HS256, Some("2026-08"))), Err(TokenRefusal::Signature));
    assert_eq!(verdict(by(b'o', HS256, Some("2026-08"))), Ok(()));
}

#[test]
fn where_every_key_has_an_id_a_token_has_to_name_one() {
    use Algorithm::{HS256, HS512};
    let keys =
        vec![further(Some("a"), HS256, secret(b'a')), further(Some("b"), HS512, secret(b'b'))];
    let config = AuthConfig { key: None, further_keys: keys, ..strict() };
    let verdict = |token: String| verify(&config, &token).map(|_| ());
    assert_eq!(verdict(by(b'a', HS256, Some("a"))), Ok(()));
    assert_eq!(verdict(by(b'b', HS512, Some("b"))), Ok(()));
    assert_eq!(verdict(by(b'a', HS256, None)), Err(TokenRefusal::UnknownKey));
    assert_eq!(verdict(by(b'a', HS256, Some("c"))), Err(TokenRefusal::UnknownKey));
    assert_eq!(verdict(by(b'a', HS512, Some("a"))), Err(TokenRefusal::Algorithm));
    assert_eq!(verdict(by(b'b', HS256, Some("b"))), Err(TokenRefusal::Algorithm));
    assert_eq!(verdict(by(b'a', Algorithm::HS384, Some("a"))), Err(TokenRefusal::Algorithm));
}

#[test]
fn a_public_key_beside_a_secret_never_verifies_an_hmac() {
    use Algorithm::{HS256, RS256};
    let rsa = key_pairs::rsa();
    let public = || AuthKey::PublicPem(rsa.public.clone());
    for id in [None, Some("rsa")] {
        let config = AuthConfig { further_keys: vec![further(id, RS256, public())], ..strict() };
        assert_eq!(verify(&config, &rsa.sign(id, RS256, &claims())), Ok("alice".to_owned()));
        assert_eq!(verify(&config, &signed(&header(), &claims())), Ok("alice".to_owned()));
        for header in [json!({ "alg": "HS256" }), json!({ "alg": "HS256", "kid": "rsa" })] {
            let header = header.to_string();
            let forged = signed_with(&rsa.public, HS256, &header, claims().to_string());
            assert!(verify(&config, &forged).is_err(), "{header} with the key {id:?}");
            let renamed =
                signed_with(&rsa.public, HS256, &header.replace("HS", "RS"), claims().to_string());
            assert!(verify(&config, &renamed).is_err(), "{header} with the key {id:?}");
        }
    }
}

#[test]
fn a_fault_of_a_key_is_one_of_its_own_table() {
    let short = further(None, Algorithm::RS256, AuthKey::PublicPem(b"no key".to_vec()));
    let config = AuthConfig { further_keys: vec![short], ..strict() };
    let error = Authenticator::new(&config).err().unwrap();
    assert_eq!((error.key(), error.fault()), ("key[1].public_key_file", KeyFault::NotAKey));
}

#[test]
fn the_first_secret_there_is_signs_and_names_itself() {
    use Algorithm::{HS256, HS512, RS256};
    let rsa = AuthKey::PublicPem(key_pairs::rsa().public);
    let config = AuthConfig {
        key: Some(rsa),
        algorithms: vec![RS256],
        further_keys: vec![
            further(Some("b"), HS512, secret(b'b')),
            further(None, HS256, secret(b'c')),
        ],
        ..strict()
    };
    let request =
        Request { user: "alice".into(), ttl: Duration::from_secs(60), ..Request::default() };
    let token = Minter::new(&config).unwrap().sign(request, now()).unwrap();
    let header = jsonwebtoken::decode_header(&token).unwrap();
    assert_eq!((header.alg, header.kid.as_deref()), (HS512, Some("b")));
    assert_eq!(verify(&config, &token), Ok("alice".to_owned()));
}

/// Ids of keys and tokens: few, so that they meet.
fn id() -> impl Strategy<Value = Option<&'static str>> {
    prop::option::of(prop::sample::select(vec!["a", "b", "c", "d"]))
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

    /// Against the rule in one sentence: the named key signed it, or nobody has that name and one without a name did.
    #[test]
    fn a_token_is_believed_if_the_key_it_names_signed_it_or_one_without_a_name(
        keys in prop::collection::vec((id(), any::<bool>()), 1..6),
        named in id(),
        signer in 0_usize..7,
        strong: bool,
    ) {
        let algorithm = |strong| if strong { Algorithm::HS512 } else { Algorithm::HS256 };
        let mut seen = Vec::new();
        let mut keys = keys;
        keys.retain(|(id, _)| id.is_none() || !seen.contains(id) && { seen.push(*id); true });
        let rows = (0_u8..).zip(&keys);
        let further_keys = rows
            .map(|(index, (id, strong))| further(*id, algorithm(*strong), secret(index)))
            .collect();
        let config = AuthConfig { key: None, further_keys, ..strict() };
        let token = by(u8::try_from(signer).unwrap(), algorithm(strong), named);
        let is_name = |(id, _): &(Option<&str>, bool)| id.is_some() && *id == named;
        let asked = if keys.iter().any(is_name) { named } else { None };
        let expected = keys.get(signer).is_some_and(|key| *key == (asked, strong));
        prop_assert_eq!(verify(&config, &token).is_ok(), expected);
    }
}

//! The keys that an issuer publishes: fetched from a real server, which rotates them, fails, and lies.

use std::cell::RefCell;
use std::sync::Once;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rowcast::auth::{Authenticator, Pace, Place, TokenRefusal};
use rowcast::config::{AuthConfig, AuthKey, Secret, VerifyingKey};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

mod issuer;
mod key_pairs;

use issuer::{Answer, Issuer, ok, response};
use key_pairs::Pair;

/// Who is asked about tokens, and keeps itself fresh meanwhile.
struct Node {
    authenticator: Authenticator,
    _fresh: AbortOnDropHandle<()>,
}

fn config(issuer: &Issuer, algorithms: &[Algorithm]) -> AuthConfig {
    AuthConfig {
        jwks_url: Some(issuer.url()),
        algorithms: algorithms.to_vec(),
        ..AuthConfig::default()
    }
}

impl Node {
    fn of(issuer: &Issuer, pace: Pace) -> Self {
        Self::start(&config(issuer, &EVERY), pace)
    }

    fn start(config: &AuthConfig, pace: Pace) -> Self {
        Log::start();
        let authenticator = Authenticator::at_pace(config, pace).unwrap();
        let fresh = AbortOnDropHandle::new(tokio::spawn(authenticator.keep_fresh()));
        Self { authenticator, _fresh: fresh }
    }

    async fn verdict(&self, token: &str) -> Result<(), TokenRefusal> {
        let now = SystemTime::now();
        let verdict = self.authenticator.authenticate(token, Place::Header, now);
        timeout(DEADLINE, verdict).await.expect("a verdict in time").map(|_| ())
    }

    /// What counts with the keys that are known already.
    fn verdict_now(&self, token: &str) -> Result<(), TokenRefusal> {
        self.authenticator.verify(token, Place::Header, SystemTime::now()).map(|_| ())
    }
}

fn claims() -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    json!({ "sub": "alice", "iat": now - 10, "exp": now + 240 })
}

/// Only tokens have the issuer asked, and each may.
fn on_demand() -> Pace {
    let never = Duration::from_secs(86_400);
    Pace { refresh: never, retry: never, cooldown: Duration::ZERO, ..Pace::default() }
}

fn hmac(secret: &[u8], id: Option<&str>) -> String {
    let header = Header { kid: id.map(str::to_owned), ..Header::new(Algorithm::HS256) };
    jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap()
}

#[tokio::test]
async fn every_kind_of_published_key_verifies_its_tokens_and_those_of_no_other() {
    use Algorithm::*;
    let pairs = [
        ("rsa", key_pairs::rsa(), vec![RS256, RS384, RS512, PS256, PS384, PS512]),
        ("p256", key_pairs::p256(), vec![ES256]),
        ("p384", key_pairs::p384(), vec![ES384]),
        ("ed", key_pairs::ed(), vec![EdDSA]),
    ];
    let keys: Vec<Value> =
        pairs.iter().map(|(id, pair, kind)| pair.published(Some(id), kind[0])).collect();
    let issuer = Issuer::start(&keys).await;
    let node = Node::of(&issuer, on_demand());
    for (id, pair, kind) in &pairs {
        for algorithm in kind {
            let token = pair.sign(Some(id), *algorithm, &claims());
            assert_eq!(node.verdict(&token).await, Ok(()), "{algorithm:?}");
            // There is one key of each kind, so its id may be left out.
            assert_eq!(node.verdict(&pair.sign(None, *algorithm, &claims())).await, Ok(()));
        }
        for (other, ..) in pairs.iter().filter(|(other, ..)| other != id) {
            let token = pair.sign(Some(other), kind[0], &claims());
            assert_eq!(node.verdict(&token).await, Err(TokenRefusal::Algorithm), "{id} as {other}");
        }
    }
    let stranger = key_pairs::p256().sign(Some("p256"), ES256, &claims());
    assert_eq!(node.verdict(&stranger).await, Err(TokenRefusal::Signature));
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn only_the_algorithms_of_the_configuration_count() {
    let (rsa, ec) = (key_pairs::rsa(), key_pairs::p256());
    let keys =
        [rsa.published(Some("rsa"), Algorithm::RS256), ec.published(Some("ec"), Algorithm::ES256)];
    let issuer = Issuer::start(&keys).await;
    let node = Node::start(&config(&issuer, &[Algorithm::RS256]), on_demand());
    assert_eq!(node.verdict(&rsa.sign(Some("rsa"), Algorithm::RS256, &claims())).await, Ok(()));
    for token in [
        rsa.sign(Some("rsa"), Algorithm::RS512, &claims()),
        rsa.sign(Some("rsa"), Algorithm::PS256, &claims()),
        ec.sign(Some("ec"), Algorithm::ES256, &claims()),
    ] {
        assert_eq!(node.verdict(&token).await, Err(TokenRefusal::Algorithm));
    }
    let node = Node::start(&config(&issuer, &[Algorithm::HS256, Algorithm::RS256]), on_demand());
    issuer.wait_until_asked(2).await;
    let token = hmac(&[b'x'; 32], Some("secret"));
    assert_eq!(node.verdict(&token).await, Err(TokenRefusal::Algorithm));
    assert_eq!(issuer.asked(), 2, "nobody asks for a key that would not count");
}

thread_local! {
    /// What this thread, and so this test, has logged.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Log;

impl Log {
    /// For the whole process, before anything is logged: what is asked first without it is never logged.
    fn start() {
        static STARTED: Once = Once::new();
        STARTED.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init());
    }

    fn count(text: &str) -> usize {
        LOG.with_borrow(|log| std::str::from_utf8(log).unwrap().matches(text).count())
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_failure_is_told_once_and_so_is_its_end() {
    let pair = key_pairs::p256();
    let keys = [
        pair.published(Some("a"), Algorithm::ES256),
        json!({ "kty": "RSA", "use": "enc", "kid": "for\nsecrets" }),
    ];
    let issuer = Issuer::start(&keys).await;
    let node = Node::of(&issuer, on_demand());
    let rounds = async |count: usize| {
        for _ in 0..count {
            let token = pair.sign(Some("b"), Algorithm::ES256, &claims());
            assert_eq!(node.verdict(&token).await, Err(TokenRefusal::UnknownKey));
        }
    };
    let counts = || ["are in force", "cannot be fetched", "can be fetched again"].map(Log::count);
    rounds(3).await;
    assert_eq!(counts(), [1, 0, 0]);
    assert_eq!(Log::count("keys=1 ignored=\"2: is not meant for signatures\""), 1);
    issuer.say(response("500 Internal Server Error", "", ""));
    rounds(3).await;
    issuer.say(ok("nonsense"));
    rounds(3).await;
    assert_eq!(counts(), [1, 1, 0]);
    assert_eq!(Log::count("it answered 500 Internal Server Error and not 200 OK"), 1);
    issuer.publish(&keys);
    rounds(3).await;
    assert_eq!(counts(), [1, 1, 1]);
    issuer.publish(&[]);
    rounds(3).await;
    assert_eq!(counts(), [2, 1, 1]);
    assert_eq!(Log::count("has no key that can be used"), 1);
}

#[tokio::test]
async fn a_new_key_counts_at_once_and_a_withdrawn_one_no_more() {
    let (old, new) = (key_pairs::p256(), key_pairs::p256());
    let published = |pair: &Pair, id| pair.published(Some(id), Algorithm::ES256);
    let issuer = Issuer::start(&[published(&old, "old")]).await;
    let node = Node::of(&issuer, on_demand());
    let of_old = old.sign(Some("old"), Algorithm::ES256, &claims());
    let of_new = new.sign(Some("new"), Algorithm::ES256, &claims());
    assert_eq!(node.verdict(&of_old).await, Ok(()));
    issuer.publish(&[published(&old, "old"), published(&new, "new")]);
    assert_eq!(node.verdict(&of_new).await, Ok(()));
    assert_eq!(node.verdict(&of_old).await, Ok(()));
    assert_eq!(issuer.asked(), 2);
    issuer.publish(&[published(&new, "new")]);
    let unknown = new.sign(Some("newer"), Algorithm::ES256, &claims());
    assert_eq!(node.verdict(&unknown).await, Err(TokenRefusal::UnknownKey));
    assert_eq!(node.verdict_now(&of_old), Err(TokenRefusal::UnknownKey));
    assert_eq!(node.verdict_now(&of_new), Ok(()));
}

#[tokio::test]
async fn keys_are_fetched_again_without_any_token() {
    let (old, new) = (key_pairs::p256(), key_pairs::p256());
    let issuer = Issuer::start(&[old.published(Some("old"), Algorithm::ES256)]).await;
    let often = Duration::from_millis(20);
    let node = Node::of(&issuer, Pace { refresh: often, ..on_demand() });
    issuer.wait_until_asked(2).await;
    issuer.publish(&[new.published(Some("new"), Algorithm::ES256)]);
    let asked = issuer.asked();
    // The last of these questions was put after the answer to one of the others was taken in.
    issuer.wait_until_asked(asked + 3).await;
    assert_eq!(node.verdict_now(&new.sign(Some("new"), Algorithm::ES256, &claims())), Ok(()));
}

#[tokio::test]
async fn a_thousand_unknown_keys_have_the_issuer_asked_once_at_most() {
    let pair = key_pairs::p256();
    let issuer = Issuer::start(&[pair.published(Some("a"), Algorithm::ES256)]).await;
    let node = Node::of(&issuer, Pace::default());
    assert_eq!(node.verdict(&pair.sign(Some("a"), Algorithm::ES256, &claims())).await, Ok(()));
    let tokens = strangers(&pair);
    for verdict in join_all(tokens.iter().map(|token| node.verdict(token))).await {
        assert_eq!(verdict, Err(TokenRefusal::UnknownKey));
    }
    assert_eq!(issuer.asked(), 1, "it was asked a moment ago");
}

#[tokio::test]
async fn a_thousand_unknown_keys_wait_for_one_question() {
    let pair = key_pairs::p256();
    let issuer = Issuer::start(&[pair.published(Some("a"), Algorithm::ES256)]).await;
    let node = Node::of(&issuer, Pace { patience: DEADLINE, deadline: DEADLINE, ..on_demand() });
    assert_eq!(node.verdict(&pair.sign(Some("a"), Algorithm::ES256, &claims())).await, Ok(()));
    let (open, gate) = watch::channel(false);
    let answer = json!({ "keys": [pair.published(Some("stranger-7"), Algorithm::ES256)] });
    issuer.behave(Answer::After(gate, ok(&answer.to_string())));
    let tokens = strangers(&pair);
    let waiting = join_all(tokens.iter().map(|token| node.verdict(token)));
    let opening = async {
        issuer.wait_until_asked(2).await;
        open.send_replace(true);
    };
    let (verdicts, ()) = tokio::join!(waiting, opening);
    let good: Vec<usize> = (0..tokens.len()).filter(|index| verdicts[*index].is_ok()).collect();
    assert_eq!(good, [7], "the one whose key was brought");
    assert_eq!(issuer.asked(), 2);
}

fn strangers(pair: &Pair) -> Vec<String> {
    let id = |index| format!("stranger-{index}");
    (0..1_000).map(|index| pair.sign(Some(&id(index)), Algorithm::ES256, &claims())).collect()
}

#[tokio::test]
async fn an_issuer_that_is_away_is_waited_for_and_its_keys_outlive_it() {
    let pair = key_pairs::p256();
    let token = pair.sign(Some("a"), Algorithm::ES256, &claims());
    let unknown = pair.sign(Some("b"), Algorithm::ES256, &claims());
    let mut issuer = Issuer::away().await;
    let node = Node::of(&issuer, on_demand());
    assert_eq!(node.verdict(&token).await, Err(TokenRefusal::UnknownKey));
    issuer.publish(&[pair.published(Some("a"), Algorithm::ES256)]);
    issuer.come_up().await;
    assert_eq!(node.verdict(&token).await, Ok(()));
    issuer.go_down();
    assert_eq!(node.verdict(&unknown).await, Err(TokenRefusal::UnknownKey));
    assert_eq!(node.verdict_now(&token), Ok(()));
    issuer.publish(&[pair.published(Some("b"), Algorithm::ES256)]);
    issuer.come_up().await;
    assert_eq!(node.verdict(&unknown).await, Ok(()));
}

#[tokio::test]
async fn after_a_failure_the_issuer_is_asked_again_soon() {
    let issuer = Issuer::start(&[]).await;
    issuer.say(response("503 Service Unavailable", "", ""));
    let _node = Node::of(&issuer, Pace { retry: Duration::from_millis(5), ..on_demand() });
    issuer.wait_until_asked(3).await;
}

#[tokio::test]
async fn an_answer_that_is_none_changes_nothing() {
    let (good, other) = (key_pairs::p256(), key_pairs::p256());
    let elsewhere = Issuer::start(&[other.published(Some("b"), Algorithm::ES256)]).await;
    let issuer = Issuer::start(&[good.published(Some("a"), Algorithm::ES256)]).await;
    let node = Node::of(&issuer, on_demand());
    let of_good = good.sign(Some("a"), Algorithm::ES256, &claims());
    let of_other = other.sign(Some("b"), Algorithm::ES256, &claims());
    assert_eq!(node.verdict(&of_good).await, Ok(()));
    // Each would bring the other key, but for what is wrong with it.
    let jwk = other.published(Some("b"), Algorithm::ES256);
    let text = json!({ "keys": [jwk] }).to_string();
    let redirect = format!("Location: http://{}/jwks.json\r\n", elsewhere.address);
    let answers = [
        ("garbage", ok("<html>welcome to our new site</html>")),
        ("nothing", ok("")),
        ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ("a bare list", ok(&json!([jwk]).to_string())),
        ("no keys", ok(&json!({ "jwks": [jwk] }).to_string())),
        ("keys twice", ok(&format!(r#"{{"keys":[],{}"#, &text[1..]))),
        (
            "nested deeply",
            ok(&format!(r#"{{"x":{}{},{}"#, "[".repeat(500), "]".repeat(500), &text[1..])),
        ),
        ("more behind it", ok(&format!("{text}{text}"))),
        ("an error", response("500 Internal Server Error", "", &text)),
        ("another success", response("203 Non-Authoritative Information", "", &text)),
        ("a redirect", response("302 Found", &redirect, &text)),
        ("a permanent one", response("308 Permanent Redirect", &redirect, &text)),
        ("too large", ok(&format!("{text}{}", " ".repeat(256 << 10)))),
        ("too large in pieces", chunked(&format!("{text}{}", " ".repeat(256 << 10)))),
        ("cut off", ok(&text)[..ok(&text).len() - 3].to_vec()),
    ];
    for (name, answer) in answers {
        issuer.say(answer);
        let asked = issuer.asked();
        assert_eq!(node.verdict(&of_other).await, Err(TokenRefusal::UnknownKey), "{name}");
        assert_eq!(issuer.asked(), asked + 1, "{name}");
        assert_eq!(node.verdict_now(&of_good), Ok(()), "{name}");
    }
    assert_eq!(elsewhere.asked(), 0);
    issuer.say(chunked(&text));
    assert_eq!(node.verdict(&of_other).await, Ok(()), "after all of that");
}

fn chunked(body: &str) -> Vec<u8> {
    let mut answer =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".to_vec();
    for piece in body.as_bytes().chunks(4_000) {
        answer.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        answer.extend(piece);
        answer.extend(b"\r\n");
    }
    answer.extend(b"0\r\n\r\n");
    answer
}

#[tokio::test]
async fn an_issuer_that_never_comes_to_an_end_is_given_up() {
    let pair = key_pairs::p256();
    for answer in [Answer::Silence, Answer::Trickle] {
        let issuer = Issuer::start(&[pair.published(Some("a"), Algorithm::ES256)]).await;
        let node = Node::of(&issuer, Pace { deadline: Duration::from_secs(1), ..on_demand() });
        let token = pair.sign(Some("a"), Algorithm::ES256, &claims());
        let later = pair.sign(Some("b"), Algorithm::ES256, &claims());
        assert_eq!(node.verdict(&token).await, Ok(()));
        issuer.behave(answer);
        assert_eq!(node.verdict(&later).await, Err(TokenRefusal::UnknownKey));
        assert_eq!(node.verdict_now(&token), Ok(()));
        issuer.publish(&[pair.published(Some("b"), Algorithm::ES256)]);
        assert_eq!(node.verdict(&later).await, Ok(()));
    }
}

#[tokio::test]
async fn a_token_waits_for_a_slow_issuer_no_longer_than_its_patience() {
    let pair = key_pairs::p256();
    let issuer = Issuer::start(&[]).await;
    issuer.behave(Answer::Silence);
    let forever = Duration::from_secs(86_400);
    let patience = Duration::from_millis(50);
    let node = Node::of(&issuer, Pace { deadline: forever, patience, ..on_demand() });
    let token = pair.sign(Some("a"), Algorithm::ES256, &claims());
    assert_eq!(node.verdict(&token).await, Err(TokenRefusal::UnknownKey));
}

/// Each is good but for one thing, and its token is signed by the right hand.
#[tokio::test]
async fn keys_that_are_meant_for_something_else_or_are_too_weak_are_not_used() {
    let (rsa, ec, p384, ed) =
        (key_pairs::rsa(), key_pairs::p256(), key_pairs::p384(), key_pairs::ed());
    let with = |pair: &Pair, algorithm, changes: Value| {
        let mut jwk = pair.published(None, algorithm);
        jwk.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        jwk
    };
    let es256 = |changes| (&ec, Algorithm::ES256, with(&ec, Algorithm::ES256, changes));
    let rs256 = |changes| (&rsa, Algorithm::RS256, with(&rsa, Algorithm::RS256, changes));
    let other_x = p384.published(None, Algorithm::ES384)["x"].clone();
    let off_curve = URL_SAFE_NO_PAD.encode([7; 32]);
    let good = [
        es256(json!({})),
        es256(json!({ "use": "sig", "key_ops": ["verify"], "alg": "ES256", "x5c": ["MII"] })),
        rs256(json!({ "alg": "RS256" })),
        rs256(
            json!({ "n": format!("AAAA{}", rsa.published(None, Algorithm::RS256)["n"].as_str().unwrap()) }),
        ),
        (
            &ed,
            Algorithm::EdDSA,
            with(&ed, Algorithm::EdDSA, json!({ "key_ops": ["sign", "verify"] })),
        ),
    ];
    let bad = [
        es256(json!({ "use": "enc" })),
        es256(json!({ "use": 1 })),
        es256(json!({ "key_ops": ["sign"] })),
        es256(json!({ "key_ops": "verify" })),
        es256(json!({ "alg": "ES384" })),
        es256(json!({ "alg": "ECDH-ES" })),
        es256(json!({ "alg": 7 })),
        es256(json!({ "d": off_curve })),
        es256(json!({ "crv": "secp256k1" })),
        es256(json!({ "crv": "P-384" })),
        es256(json!({ "x": other_x })),
        es256(json!({ "y": off_curve })),
        es256(json!({ "x": "?" })),
        es256(json!({ "x": null })),
        es256(json!({ "kty": "oct", "k": "c2VjcmV0" })),
        es256(json!({ "kty": "RSA" })),
        es256(json!({ "kty": null })),
        rs256(json!({ "alg": "RS512" })),
        rs256(json!({ "alg": "RSA-OAEP" })),
        rs256(json!({ "n": URL_SAFE_NO_PAD.encode([255; 255]) })),
        rs256(json!({ "n": URL_SAFE_NO_PAD.encode([255; 1025]) })),
        rs256(json!({ "e": "AQ" })),
        rs256(json!({ "e": "AQAC" })),
        rs256(json!({ "e": "" })),
        (&ed, Algorithm::EdDSA, with(&ed, Algorithm::EdDSA, json!({ "crv": "Ed448" }))),
        (&ed, Algorithm::EdDSA, with(&ed, Algorithm::EdDSA, json!({ "crv": "X25519" }))),
        (
            &ed,
            Algorithm::EdDSA,
            with(&ed, Algorithm::EdDSA, json!({ "x": URL_SAFE_NO_PAD.encode([9; 31]) })),
        ),
    ];
    let judge = async |pair: &Pair, algorithm, jwk: &Value| {
        let mut jwk = jwk.clone();
        jwk.as_object_mut().unwrap().insert("kid".to_owned(), json!("k"));
        // What is no key at all spoils nothing.
        let issuer = Issuer::start(&[json!(7), jwk]).await;
        Node::of(&issuer, on_demand()).verdict(&pair.sign(Some("k"), algorithm, &claims())).await
    };
    for (pair, algorithm, jwk) in good {
        assert_eq!(judge(pair, algorithm, &jwk).await, Ok(()), "{jwk}");
    }
    for (pair, algorithm, jwk) in bad {
        let verdict = judge(pair, algorithm, &jwk).await;
        let refused = [Err(TokenRefusal::UnknownKey), Err(TokenRefusal::Algorithm)];
        assert!(refused.contains(&verdict), "{verdict:?} of {jwk}");
    }
}

#[tokio::test]
async fn a_published_secret_or_public_key_never_verifies_an_hmac() {
    let rsa = key_pairs::rsa();
    let secret = b"a secret that was published by mistake, of 32 bytes or more";
    let oct =
        json!({ "kty": "oct", "kid": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(secret) });
    let jwk = rsa.published(Some("rsa"), Algorithm::RS256);
    let issuer = Issuer::start(&[oct, jwk.clone()]).await;
    let own = b"the secret of the configuration, 32 bytes or more".to_vec();
    let config = AuthConfig {
        further_keys: vec![VerifyingKey {
            table: "key[1]".to_owned(),
            id: None,
            algorithms: vec![Algorithm::HS256],
            key: AuthKey::Hmac(Secret::new(own.clone())),
        }],
        ..config(&issuer, &[Algorithm::HS256, Algorithm::RS256])
    };
    let node = Node::start(&config, on_demand());
    assert_eq!(node.verdict(&hmac(&own, None)).await, Ok(()));
    assert_eq!(node.verdict(&rsa.sign(Some("rsa"), Algorithm::RS256, &claims())).await, Ok(()));
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    for material in [secret.as_slice(), &rsa.public, &modulus] {
        for id in [None, Some("oct"), Some("rsa")] {
            assert!(node.verdict(&hmac(material, id)).await.is_err(), "{id:?}");
        }
    }
    assert_eq!(node.verdict(&hmac(&own, Some("rsa"))).await, Err(TokenRefusal::Algorithm));
}

#[tokio::test]
async fn a_token_without_an_id_counts_where_one_key_only_can_be_meant() {
    let (first, second, rsa) = (key_pairs::p256(), key_pairs::p256(), key_pairs::rsa());
    let rsa_key = rsa.published(Some("rsa"), Algorithm::RS256);
    let issuer = Issuer::start(&[first.published(None, Algorithm::ES256), rsa_key.clone()]).await;
    let node = Node::of(&issuer, on_demand());
    let of_first = first.sign(None, Algorithm::ES256, &claims());
    assert_eq!(node.verdict(&of_first).await, Ok(()));
    let stranger = second.sign(None, Algorithm::ES256, &claims());
    assert_eq!(node.verdict(&stranger).await, Err(TokenRefusal::Signature));
    issuer.publish(&[
        first.published(Some("1"), Algorithm::ES256),
        second.published(Some("2"), Algorithm::ES256),
        rsa_key,
    ]);
    let of_second = second.sign(Some("2"), Algorithm::ES256, &claims());
    assert_eq!(node.verdict(&of_second).await, Ok(()));
    assert_eq!(node.verdict(&of_first).await, Err(TokenRefusal::NoKeyId));
    assert_eq!(node.verdict(&rsa.sign(None, Algorithm::RS256, &claims())).await, Ok(()));
}

#[tokio::test]
async fn of_a_set_without_bounds_the_first_hundred_keys_are_used() {
    let pair = key_pairs::p256();
    let keys: Vec<Value> =
        (1..=101).map(|index| pair.published(Some(&index.to_string()), Algorithm::ES256)).collect();
    let issuer = Issuer::start(&keys).await;
    let node = Node::of(&issuer, on_demand());
    let verdict = async |id| node.verdict(&pair.sign(Some(id), Algorithm::ES256, &claims())).await;
    assert_eq!(verdict("100").await, Ok(()));
    assert_eq!(verdict("101").await, Err(TokenRefusal::UnknownKey));
}

/// Far above anything that happens when it works.
const DEADLINE: Duration = Duration::from_secs(30);

const EVERY: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

//! Who is believed: over real requests, at the real routes, of a whole daemon.

use std::net::SocketAddr;
use std::time::SystemTime;

use jsonwebtoken::Algorithm;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rowcast::app::Daemon;
use rowcast::config::{AuthConfig, AuthKey, Config};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::bad_tokens::{AUDIENCE, Forge, GOOD, ISSUER};
use crate::harness::{Client, Database, OPEN, World};
use crate::issuer::{Answer, Issuer, ok};
use crate::key_pairs;

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// A request for a WebSocket with this token in one place: the status, and the whole answer but its date.
async fn asked(address: SocketAddr, query: &str, header: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET /v1/ws{query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{header}\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(socket.read_u8().await.unwrap());
    }
    let head = String::from_utf8(answer).unwrap();
    let lines = head.lines().filter(|line| !line.to_lowercase().starts_with("date:"));
    let head: Vec<&str> = lines.collect();
    let status = head[0].split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    socket.read_exact(&mut body).await.unwrap();
    (status, format!("{}\n{}", head.join("\n"), String::from_utf8(body).unwrap()))
}

/// What the daemon closes with, or its welcome.
async fn told(address: SocketAddr, token: &str) -> Result<Value, u16> {
    let mut client = Client::connect(address, None).await;
    client.send(json!({ "type": "auth", "token": token })).await;
    let Some(frame) = client.try_next_frame().await else { return Err(0) };
    match frame {
        tokio_tungstenite::tungstenite::Message::Text(text) => {
            Ok(serde_json::from_str(&text).unwrap())
        }
        tokio_tungstenite::tungstenite::Message::Close(frame) => Err(frame.unwrap().code.into()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_token_gets_the_same_answer_whatever_is_wrong_with_it() {
    let auth = format!("auth = {{ issuer = \"{ISSUER}\", audience = \"{AUDIENCE}\" }}");
    let world = World::with(&format!("{auth}\n{OPEN}")).await;
    let address = world.daemon.address();
    let config = World::config(world.db.url(), OPEN);
    let Some(AuthKey::Hmac(secret)) = config.auth.key else { panic!("the tests have a secret") };
    let (mut refusal, mut in_headers) = (None, 0);
    for (row, token) in (Forge { secret: secret.expose(), now: now() }).table() {
        let mut answers = Vec::new();
        // The others are turned down before anybody looks for a token in them.
        if token.len() < 8_000 {
            let token = utf8_percent_encode(&token, NON_ALPHANUMERIC).to_string();
            answers.push(asked(address, &format!("?token={token}"), "").await);
            in_headers += 1;
        }
        if token.len() < 8_000 && token.bytes().all(|byte| byte.is_ascii_graphic()) {
            answers.push(asked(address, "", &format!("Authorization: Bearer {token}\r\n")).await);
            let protocols = format!("rowcast.v1, bearer.{token}");
            answers.push(
                asked(address, "", &format!("Sec-WebSocket-Protocol: {protocols}\r\n")).await,
            );
        }
        for (status, answer) in answers {
            assert_eq!(status, if row == GOOD { 101 } else { 401 }, "row {row}: {answer}");
            if row != GOOD {
                assert_eq!(&answer, refusal.get_or_insert(answer.clone()), "row {row}");
            }
        }
        match told(address, &token).await {
            Ok(welcome) => assert_eq!((row, &welcome["user"]), (GOOD, &json!("alice"))),
            Err(code) => assert_eq!(code, if row == TOO_LARGE { 1009 } else { 4501 }, "row {row}"),
        }
    }
    assert_eq!(in_headers, 43);
    let body = r#"{"error":{"code":"unauthorized","message":"a valid credential is needed: get a new token and try again"}}"#;
    assert!(refusal.unwrap().ends_with(body));
}

/// A megabyte is larger than any message.
const TOO_LARGE: u8 = 42;

#[tokio::test(flavor = "multi_thread")]
async fn claims_within_objects_name_the_user_and_open_channels() {
    let world = World::with(
        r#"auth = { user_claim = "app_metadata.id", role_claim = "app_metadata.role" }
           policy = [{ channel = "orders:{app_metadata.org}:*", allow = ["subscribe"], when = { role = "staff" } },
                     { channel = "team", allow = ["subscribe"], when = { "app_metadata.team.name" = ["red"] } }]"#,
    )
    .await;
    let client = async |claims: &[(&str, Value)]| {
        let token = world.sign("ana", claims);
        let mut client = Client::connect(world.daemon.address(), Some(&token)).await;
        assert_eq!(client.next().await["user"], "ana");
        client
    };
    let answer = async |client: &mut Client, channel: &str| {
        client.ask(json!({ "type": "subscribe", "ref": 1, "channel": channel })).await["type"]
            .clone()
    };
    let org = ("app_metadata.org", json!(7));
    let mut staff = client(&[org.clone(), ("app_metadata.role", json!("staff"))]).await;
    assert_eq!(answer(&mut staff, "orders:7:new").await, "ok");
    assert_eq!(answer(&mut staff, "orders:8:new").await, "error");
    assert_eq!(answer(&mut staff, "team").await, "error");
    // The same names at the top say nothing.
    let flat = [("role", json!("staff")), ("org", json!(7)), ("team", json!({ "name": "red" }))];
    let mut other = client(&[&flat[..], &[org]].concat()).await;
    assert_eq!(answer(&mut other, "orders:7:new").await, "error");
    assert_eq!(answer(&mut other, "team").await, "error");
    let mut red = client(&[("app_metadata.team", json!({ "name": "red" }))]).await;
    assert_eq!(answer(&mut red, "team").await, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_starts_without_its_issuer_and_believes_its_tokens_once_it_is_there() {
    let db = Database::migrated().await;
    let pair = key_pairs::p256();
    let issuer = Issuer::start(&[]).await;
    let (open, gate) = watch::channel(false);
    let keys = json!({ "keys": [pair.published(Some("a"), Algorithm::ES256)] });
    issuer.behave(Answer::After(gate, ok(&keys.to_string())));
    let auth = AuthConfig {
        jwks_url: Some(issuer.url()),
        algorithms: vec![Algorithm::ES256],
        ..AuthConfig::default()
    };
    let config = Config { auth, ..World::config(db.url(), OPEN) };
    let daemon = Daemon::start(&config, None).await.unwrap();
    issuer.wait_until_asked(1).await;
    let claims = json!({ "sub": "ana", "iat": now(), "exp": now() + 60 });
    let token = pair.sign(Some("a"), Algorithm::ES256, &claims);
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let waiting = async {
        tokio::join!(asked(daemon.address(), "", &bearer), told(daemon.address(), &token))
    };
    let arriving = async {
        // Who is refused at once is answered ten times before, so the others do wait.
        for _ in 0..10 {
            assert_eq!(asked(daemon.address(), "?token=x", "").await.0, 401);
        }
        open.send_replace(true);
    };
    let (((status, answer), welcome), ()) = tokio::join!(waiting, arriving);
    assert_eq!(status, 101, "{answer}");
    assert_eq!(welcome.unwrap()["user"], "ana");
    let stranger = pair.sign(Some("b"), Algorithm::ES256, &claims);
    assert_eq!(told(daemon.address(), &stranger).await, Err(4501));
    let bearer = format!("Authorization: Bearer {stranger}\r\n");
    assert_eq!(asked(daemon.address(), "", &bearer).await.0, 401);
    assert_eq!(issuer.asked(), 1);
    daemon.stop().await;
}

//! The protocol at its edges: credentials, refusals, limits, closes.

use rowcast::config::Config;
use serde_json::json;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::harness::{Client, World};

fn status(result: Result<Client, tungstenite::Error>) -> u16 {
    match result {
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("{error}"),
        Ok(_) => 101,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_counts_in_each_of_its_four_places() {
    let world = World::start().await;
    let (address, token) = (world.daemon.address(), world.token("ana"));
    let bearer = [("authorization", format!("Bearer {token}"))];
    let subprotocol = [("sec-websocket-protocol", format!("rowcast.v1, bearer.{token}"))];
    let query = format!("?token={token}");
    for (query, headers) in [("", &bearer[..]), ("", &subprotocol[..]), (query.as_str(), &[])] {
        let mut client = Client::try_connect(address, query, headers).await.unwrap();
        let welcome = client.next().await;
        assert_eq!((&welcome["type"], &welcome["user"]), (&json!("welcome"), &json!("ana")));
    }
    let mut client = Client::connect(address, None).await;
    let welcome = client.ask(json!({ "type": "auth", "ref": 1, "token": token })).await;
    assert_eq!(welcome["user"], "ana");
    assert_eq!(client.next().await, json!({ "type": "ok", "ref": 1, "user": "ana" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_credential_is_refused_and_never_skipped_for_the_next() {
    let world = World::start().await;
    let (address, token) = (world.daemon.address(), world.token("ana"));
    let bad = [
        ("authorization", "Bearer nonsense".to_owned()),
        ("sec-websocket-protocol", format!("rowcast.v1, bearer.{token}")),
    ];
    assert_eq!(status(Client::try_connect(address, "", &bad).await), 401);
    let mut client = Client::connect(address, None).await;
    client.send(json!({ "type": "auth", "token": "nonsense" })).await;
    assert_eq!(client.close_code().await, 4501);
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_clients_are_let_in_only_where_configured() {
    let closed = World::start().await;
    let mut client = Client::connect(closed.daemon.address(), None).await;
    let refusal = client.ask(json!({ "type": "subscribe", "channel": "news" })).await;
    assert_eq!(refusal["code"], "unauthorized");

    let open = World::with(
        r#"auth = { anonymous = true }
           policy = [{ channel = "news", allow = ["subscribe"] }]"#,
    )
    .await;
    let mut client = Client::connect(open.daemon.address(), None).await;
    assert_eq!(client.next().await["user"], json!(null));
    client.subscribe("news").await;
    let refusal = client.ask(json!({ "type": "subscribe", "channel": "orders" })).await;
    assert_eq!(refusal["code"], "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_decide_by_claims_and_the_own_channel_is_always_open() {
    let world = World::with(
        r#"policy = [
             { channel = "org:{org}:*", allow = ["subscribe"] },
             { channel = "staff", allow = ["subscribe"], when = { role = ["admin"] } },
           ]"#,
    )
    .await;
    let token = world.sign("ana", &[("org", json!(7))]);
    let mut client = Client::connect(world.daemon.address(), Some(&token)).await;
    client.next().await;
    for allowed in ["org:7:orders", "org:7:*", "user:ana"] {
        client.subscribe(allowed).await;
    }
    for forbidden in ["org:8:orders", "org:*", "staff", "user:ben", "rowcast:x", "nowhere"] {
        let refusal = client.ask(json!({ "type": "subscribe", "channel": forbidden })).await;
        let expected = json!({
            "type": "error", "code": "forbidden", "channel": forbidden,
            "message": "this token may not subscribe to this channel",
        });
        assert_eq!(refusal, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_gets_its_error_and_too_much_of_it_the_end() {
    let world = World::start().await;
    let mut client = world.client("ana").await;
    assert_eq!(
        client.ask(json!({ "type": "ping", "ref": "p" })).await,
        json!({ "type": "pong", "ref": "p" })
    );
    let unknown = client.ask(json!({ "type": "dance", "ref": 5 })).await;
    assert_eq!((&unknown["code"], &unknown["ref"]), (&json!("unknown_type"), &json!(5)));
    let bad = client.ask(json!({ "type": "subscribe", "channel": "no such thing" })).await;
    assert_eq!(bad["code"], "bad_channel");
    let other = client.ask(json!({ "type": "unsubscribe", "channel": "never" })).await;
    assert_eq!(other["code"], "not_subscribed");
    for _ in 0..10 {
        client.send_frame(Message::text("no json")).await;
        assert_eq!(client.next().await["code"], "bad_message");
    }
    assert_eq!(client.close_code().await, 4500);
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_frames_and_messages_over_the_limit_end_the_connection() {
    let world = World::with(r#"limits = { message_bytes = "1KiB" }"#).await;
    let mut client = world.client("ana").await;
    client.send_frame(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(client.close_code().await, 1003);
    let mut client = world.client("ana").await;
    client.send_frame(Message::text("x".repeat(1025))).await;
    assert_eq!(client.close_code().await, 1009);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_are_limited_for_each_connection() {
    let world = World::with(
        r#"limits = { subscriptions_per_connection = 2 }
           policy = [{ channel = "*", allow = ["subscribe"] }]"#,
    )
    .await;
    let mut client = world.subscriber("ana", &["a", "b"]).await;
    let refusal = client.ask(json!({ "type": "subscribe", "channel": "c" })).await;
    assert_eq!(refusal["code"], "too_many_subscriptions");
    client.subscribe("a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_one_share_of_messages_over_all_connections() {
    let world = World::with("limits = { messages_per_minute = 30 }").await;
    let (mut first, mut second) = (world.client("ana").await, world.client("ana").await);
    let mut other = world.client("ben").await;
    for _ in 0..15 {
        for client in [&mut first, &mut second] {
            assert_eq!(client.ask(json!({ "type": "ping" })).await["type"], "pong");
        }
    }
    let refusal = second.ask(json!({ "type": "ping" })).await;
    assert_eq!(refusal["code"], "rate_limited", "{refusal}");
    assert!(refusal["retry_after_ms"].as_u64().unwrap() > 0);
    assert_eq!(other.ask(json!({ "type": "ping" })).await["type"], "pong");
    for _ in 0..30 {
        second.send(json!({ "type": "ping" })).await;
    }
    assert_eq!(second.close_code().await, 4429);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_are_refused_before_their_credential_is_looked_at() {
    let world = World::with(r#"server = { allowed_origins = ["https://app.example.com"] }"#).await;
    let (address, token) = (world.daemon.address(), world.token("ana"));
    for (origin, expected) in
        [("https://app.example.com", 101), ("https://evil.example.com", 403), ("null", 403)]
    {
        let headers = [("origin", origin.to_owned()), ("authorization", format!("Bearer {token}"))];
        assert_eq!(status(Client::try_connect(address, "", &headers).await), expected, "{origin}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_stops_says_so_and_tells_clients_to_come_back() {
    let world = World::start().await;
    let mut client = world.subscriber("ana", &["orders"]).await;
    let World { db: _db, daemon, .. } = world;
    let stopped = tokio::spawn(daemon.stop());
    let message = client.next().await;
    assert_eq!((&message["type"], &message["event"]), (&json!("system"), &json!("draining")));
    assert_eq!(client.close_code().await, 1012);
    drop(client);
    stopped.await.unwrap();
}

/// The defaults are what the documents promise.
#[test]
fn a_message_may_have_64_kib_by_default() {
    assert_eq!(Config::default().limits.message_bytes.as_usize(), 65536);
}

//! A configuration that changes while clients are connected.

use rowcast::telemetry::refusals::Refused;
use serde_json::json;

use crate::harness::{Client, World};

const BEFORE: &str = r#"
    policy = [{ channel = "*", allow = ["subscribe"] }]
"#;

const AFTER: &str = r#"
    policy = [{ channel = "open:*", allow = ["subscribe"] }]
    [server]
    allowed_origins = ["https://app.example.com"]
    [limits]
    connections = 3
    connections_per_user = 3
    subscriptions_per_connection = 1
    messages_per_minute = 3
    [auth]
    audience = "rowcast"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_has_changed_counts_at_once_and_nobody_is_disconnected() {
    let world = World::with(BEFORE).await;
    let address = world.daemon.address();
    let mut client = world.subscriber("ana", &["open:1", "shut:1"]).await;
    let origin = [
        ("authorization", format!("Bearer {}", world.sign("ana", &[("aud", json!("rowcast"))]))),
        ("origin", "https://app.example.com".to_owned()),
    ];
    assert!(Client::try_connect(address, "", &origin).await.is_err());

    world.daemon.reload(&World::config(world.db.url(), AFTER)).await.unwrap();
    world.sql("select rowcast.emit('shut:1', 'x', '1')").await;
    world.sql("select rowcast.emit('open:1', 'y', '2')").await;
    let ended = client.next().await;
    assert_eq!((&ended["code"], &ended["channel"]), (&json!("forbidden"), &json!("shut:1")));
    assert_eq!(client.changes(1).await[0]["op"], "y");

    let mut second =
        Client::try_connect(address, "", &origin).await.expect("a page that is allowed now");
    assert_eq!(second.next().await["type"], "welcome");
    second.subscribe("open:1").await;
    let more = second.ask(json!({ "type": "subscribe", "channel": "open:2" })).await;
    assert_eq!(more["code"], "too_many_subscriptions");
    assert_eq!(second.ask(json!({ "type": "ping" })).await["type"], "pong");
    assert_eq!(second.ask(json!({ "type": "ping" })).await["code"], "rate_limited");
    let third = Client::try_connect(address, "", &origin).await.expect("the third of this user");
    assert!(Client::try_connect(address, "", &origin).await.is_err(), "the fourth of all");
    drop(third);
    let narrower = AFTER.replace("per_user = 3", "per_user = 2");
    world.daemon.reload(&World::config(world.db.url(), &narrower)).await.unwrap();
    while world.daemon.observer().refused(Refused::ConnectionsPerUser) == 0 {
        // The place of the third is free a moment later.
        assert!(Client::try_connect(address, "", &origin).await.is_err());
    }
    let refused = |what| world.daemon.observer().refused(what);
    assert_eq!(refused(Refused::Subscriptions), 1);
    assert_eq!(refused(Refused::Messages), 1);
    assert!(refused(Refused::Connections) > 0);
    let without_audience = [("authorization", format!("Bearer {}", world.token("ben")))];
    assert!(Client::try_connect(address, "", &without_audience).await.is_err());
    world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_applied_changes_nothing() {
    let world = World::with(BEFORE).await;
    let mut broken = World::config(world.db.url(), AFTER);
    broken.server.allowed_origins = vec!["nonsense".to_owned()];
    assert!(world.daemon.reload(&broken).await.is_err());
    let mut client = world.subscriber("ana", &["shut:1", "shut:2"]).await;
    world.sql("select rowcast.emit('shut:1', 'x', '1')").await;
    assert_eq!(client.changes(1).await[0]["op"], "x");
    world.daemon.stop().await;
}

//! What any role can send on the channel `rowcast`, and what the daemon makes of it.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, NoTls};

use crate::harness::World;

const SIGN: &str =
    "'1' || encode(substr(sha256(k || sha256(k || convert_to(m, 'UTF8'))), 1, 16), 'hex') || m";

#[tokio::test(flavor = "multi_thread")]
async fn nobody_without_the_key_makes_the_daemon_believe_an_event() {
    let world = World::after(
        "create table quick (id int primary key); select rowcast.watch('quick', array['quick'], log => false)",
    )
    .await;
    let stranger = world.db.role("stranger");
    world.sql(&format!("create role {stranger} login")).await;
    let attacker = world.db.client_as(&stranger).await;
    let mut client = world.subscriber("ana", &["quick"]).await;
    let forged = r#"{"id":"1","xid":"1","at":"2026-01-01T00:00:00Z","table":"public.quick","op":"insert","channels":["quick"],"key":{"id":666},"row":{"id":666}}"#;
    for payload in [
        "",
        "1",
        "?",
        "0",
        forged,
        "1{}",
        "not ours",
        "1ffffffffffffffffffffffffffffffff{}",
        &"1".repeat(7999),
    ] {
        attacker.execute("select pg_notify('rowcast', $1)", &[&payload]).await.unwrap();
    }
    let sign = |key: &str, message: &str| {
        format!(
            "select pg_notify('rowcast', {SIGN}) from (select {key} as k, $m${message}$m$::text as m) x"
        )
    };
    for key in ["''::bytea", "sha256('guess')", r"decode(repeat('00', 32), 'hex')"] {
        attacker.batch_execute(&sign(key, forged)).await.unwrap();
        attacker.batch_execute(&sign(key, r#"{"parked":"1","xid":"1"}"#)).await.unwrap();
    }
    // What comes next is the honest event, so none of those was told.
    world.sql("insert into quick values (7)").await;
    assert_eq!(client.changes(1).await[0]["key"]["id"], 7);
    // The naive daemon believes anybody: with the key, that is what ours does.
    let forged = forged
        .replace(r#""xid":"1""#, r#""xid":"99999999""#)
        .replace(r#""id":"1""#, r#""id":"99999999""#);
    world.sql(&sign("(select key from rowcast.identity)", &forged)).await;
    assert_eq!(client.changes(1).await[0]["key"]["id"], 666);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_heard_cannot_be_said_again() {
    let world = World::after(
        "create table quick (id int primary key, body text); select rowcast.watch('quick', array['quick'], log => false)",
    )
    .await;
    let stranger = world.db.role("stranger");
    world.sql(&format!("create role {stranger} login")).await;
    let (attacker, mut connection) =
        tokio_postgres::connect(&world.db.url_as(&stranger), NoTls).await.unwrap();
    let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(said) = message {
                let _ = sender.send(said.payload().to_owned());
            }
        }
    });
    attacker.batch_execute("listen rowcast").await.unwrap();
    let mut client = world.subscriber("ana", &["quick"]).await;
    world.sql("insert into quick values (1, 'small'); insert into quick values (2, repeat('large', 10000))").await;
    assert_eq!(client.changes(2).await[1]["key"]["id"], 2);
    let mut payloads = Vec::new();
    while payloads.len() < 2 {
        let said = timeout(DEADLINE, heard.recv()).await.expect("in time").expect("a connection");
        payloads.extend(Some(said).filter(|payload| payload.starts_with('1')));
    }
    for payload in payloads.iter().chain(&payloads) {
        attacker.execute("select pg_notify('rowcast', $1)", &[payload]).await.unwrap();
    }
    world.sql("insert into quick values (3, 'honest')").await;
    assert_eq!(client.changes(1).await[0]["key"]["id"], 3);

    // Nor to a daemon that was not there when it was said first.
    let other = world.another_node().await;
    let mut there = world.client_of(&other, "ana").await;
    there.subscribe("quick").await;
    for payload in &payloads {
        attacker.execute("select pg_notify('rowcast', $1)", &[payload]).await.unwrap();
    }
    world.sql("insert into quick values (4, 'honest')").await;
    assert_eq!(there.changes(1).await[0]["key"]["id"], 4);
    assert_eq!(client.changes(1).await[0]["key"]["id"], 4);
    other.stop().await;
}

const DEADLINE: Duration = Duration::from_secs(30);

//! What any role can send on the channel `rowcast`, and what the daemon makes of it.

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
    world.sql(&sign("(select key from rowcast.identity)", forged)).await;
    assert_eq!(client.changes(1).await[0]["key"]["id"], 666);
}

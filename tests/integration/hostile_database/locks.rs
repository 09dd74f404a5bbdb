//! Advisory locks have no rights: any role can hold any of them.

use std::time::Duration;

use rowcast::postgres::migrations::migrate;
use rowcast::postgres::retention::maintain;
use tokio::time::timeout;

use super::Attacker;

#[tokio::test]
async fn nobody_keeps_the_log_from_being_pruned() {
    let attacker = Attacker::new().await;
    let client = attacker.client().await;
    // Every number near ours, in both modes.
    client
        .batch_execute(
            "select pg_advisory_lock(32210705904137076 + n) from generate_series(0, 20) n",
        )
        .await
        .unwrap();
    let round =
        maintain(&attacker.db.client().await, Duration::from_secs(60), 1 << 30).await.unwrap();
    assert!(round.led);
}

#[tokio::test]
async fn a_node_that_sleeps_beside_another_is_not_in_the_way_of_an_upgrade() {
    let attacker = Attacker::new().await;
    let client = attacker.db.client().await;
    client.batch_execute("select pg_advisory_lock(32210705904137076), pg_advisory_lock_shared(32210705904137077)").await.unwrap();
    let mut installer = attacker.db.client().await;
    timeout(Duration::from_secs(20), migrate(&mut installer))
        .await
        .expect("nobody waits for a node that sleeps")
        .unwrap();
}

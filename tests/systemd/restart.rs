//! Restarts under socket activation, while an application writes: what was committed against what clients got.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::scene::{Plan, Scene};

/// Connects all the time; how often, and how often nobody was there.
async fn knock(address: SocketAddr, mut stop: watch::Receiver<bool>) -> (u32, u32) {
    let (mut knocks, mut refused) = (0, 0);
    while !*stop.borrow_and_update() {
        knocks += 1;
        refused += u32::from(TcpStream::connect(address).await.is_err());
        let _ = tokio::time::timeout(Duration::from_millis(5), stop.changed()).await;
    }
    (knocks, refused)
}

async fn restarts_lose_nothing(clients: usize, rounds: u32, rest: Duration) {
    let mut scene = Scene::start(Plan { clients, rest, ..Plan::new("restarts") }).await;
    let stop = watch::Sender::new(false);
    let knocking = tokio::spawn(knock(scene.nodes[0].address(), stop.subscribe()));
    for _ in 0..rounds {
        scene.go_on(1000, 2000).await;
        scene.nodes[0].send("TERM");
        let status = scene.nodes[0].ended().await;
        assert!(status.success(), "{status}: {}", scene.nodes[0].said());
        let before = scene.nodes[0].reports();
        scene.nodes[0].start().await;
        let everybody = format!("; {clients} clients;");
        scene.nodes[0].hear(before, |said| said.text.contains(&everybody)).await;
    }
    scene.go_on(1000, 2000).await;
    stop.send_replace(true);
    let (knocks, refused) = knocking.await.expect("no panic");
    assert_eq!(refused, 0, "of {knocks} connections");
    let reckoning = scene.finish().await;
    assert!(reckoning.resets.is_empty(), "{:?}", reckoning.resets);
    assert_eq!(reckoning.resumes, reckoning.recovered);
    let all = u32::try_from(clients).expect("a small number");
    assert!(reckoning.resumes >= all * rounds, "{} resumes", reckoning.resumes);
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_under_load_lose_nothing_and_refuse_nobody() {
    restarts_lose_nothing(200, 2, Duration::from_millis(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute and most of two cores"]
async fn restarts_under_a_thousand_clients_lose_nothing_and_refuse_nobody() {
    // Clients in the same process, unoptimised: more writes would test those.
    restarts_lose_nothing(1000, 4, Duration::from_secs(1)).await;
}

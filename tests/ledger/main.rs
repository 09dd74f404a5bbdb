//! What was committed, held against what every client got, while everything around them breaks.
//!
//! See `README.md` here for how to read and repeat a failure.

mod checker;
mod client;
mod dice;
mod node;
mod process;
#[path = "../integration/harness/proxy.rs"]
#[allow(dead_code)]
mod proxy;
mod scene;
#[path = "../integration/harness/wait.rs"]
#[allow(dead_code)]
mod wait;
mod writers;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proxy::{Fault, Proxy};
use rowcast::postgres::scratch::{ScratchCluster, StopMode};
use scene::{Plan, Reckoning, Scene};

/// Every resume found everything, and nobody had to start over.
fn nothing_was_given_up(reckoning: &Reckoning) {
    assert!(reckoning.resets.is_empty(), "{:?}", reckoning.resets);
    assert_eq!(reckoning.resumes, reckoning.recovered);
    assert!(reckoning.committed > 200, "the writers wrote");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_at_any_time_loses_nothing() {
    let mut scene = Scene::start(Plan::new("kill -9")).await;
    for round in 0..30 {
        scene.go_on(50, 600).await;
        scene.kill_and_restart(0).await;
        // Every third time it may be killed before it is ready, too.
        if round % 3 > 0 {
            scene.nodes[0].until_ready().await;
        }
    }
    let reckoning = scene.finish().await;
    nothing_was_given_up(&reckoning);
    assert!(reckoning.resumes > 20, "{} resumes", reckoning.resumes);
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_and_crashes_of_the_database_lose_nothing() {
    let mut scene = Scene::start(Plan::new("database restarts")).await;
    for round in 0..10 {
        scene.go_on(200, 900).await;
        let mode = if round % 2 == 0 { StopMode::Immediate } else { StopMode::Fast };
        scene.cluster.restart(mode).await.expect("the server comes back");
    }
    scene.go_on(300, 600).await;
    nothing_was_given_up(&scene.finish().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_backends_lose_nothing() {
    let mut scene = Scene::start(Plan::new("terminated backends")).await;
    for round in 0..20 {
        scene.go_on(50, 300).await;
        let which = [
            "true",
            "query like 'listen rowcast%' or query = ''",
            "query like '%pg_current_snapshot%' or query like '%from rowcast.watched%'",
        ];
        scene
            .sql(&format!(
                "select pg_terminate_backend(pid) from pg_stat_activity
                  where application_name = 'rowcast' and ({})",
                which[round % 3]
            ))
            .await;
    }
    nothing_was_given_up(&scene.finish().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_cut_and_move_between_nodes_lose_nothing() {
    let plan =
        Plan { nodes: 2, clients: 8, stay: Duration::from_millis(500), ..Plan::new("two nodes") };
    let mut scene = Scene::start(plan).await;
    for round in 0..16 {
        scene.go_on(300, 1000).await;
        match round % 4 {
            3 => {
                scene.nodes[1].signal("TERM");
                scene.nodes[1].start().await;
            }
            _ => scene.kill_and_restart(round % 2).await,
        }
        scene.nodes[round % 2].until_ready().await;
    }
    let reckoning = scene.finish().await;
    nothing_was_given_up(&reckoning);
    assert!(reckoning.connections > 108, "{} cuts", reckoning.connections - 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_between_clients_and_daemon_that_break_lose_nothing() {
    let plan = Plan {
        stay: Duration::from_secs(3),
        settings: "limits.queue_bytes_per_connection = \"16KiB\"",
        ..Plan::new("clients' lines")
    };
    let mut scene = Scene::start(plan).await;
    let proxy = Proxy::to(scene.nodes[0].address()).await;
    scene.lead_clients_to(vec![proxy.address()]);
    let faults = [
        Fault::Mute,
        Fault::None,
        Fault::Trickle,
        Fault::HalfClosed,
        Fault::Stalled,
        Fault::None,
        Fault::Reset,
    ];
    for fault in faults.into_iter().cycle().take(60) {
        proxy.set(fault);
        scene.go_on(100, 500).await;
    }
    proxy.set(Fault::None);
    nothing_was_given_up(&scene.finish().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_between_daemon_and_database_that_break_lose_nothing() {
    let mut proxy = None;
    let way = async |cluster: &ScratchCluster| {
        let server = SocketAddr::from(([127, 0, 0, 1], cluster.port()));
        let made = proxy.insert(Proxy::to(server).await);
        format!("postgres://postgres@{}/postgres?connect_timeout=2", made.address())
    };
    let mut scene = Scene::with(Plan::new("database's line"), way).await;
    let proxy = proxy.expect("the nodes go through it");
    for (fault, from) in [
        (Fault::Reset, 10),
        (Fault::Stalled, 3000),
        (Fault::Trickle, 500),
        (Fault::Mute, 3000),
        (Fault::Reset, 500),
        (Fault::HalfClosed, 500),
        (Fault::Stalled, 100),
    ] {
        proxy.set(fault);
        scene.go_on(from, from + 1000).await;
        proxy.set(Fault::None);
        scene.go_on(500, 1500).await;
    }
    nothing_was_given_up(&scene.finish().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_frozen_leaves_the_database_alone() {
    let mut scene = Scene::start(Plan::new("frozen")).await;
    scene.go_on(500, 800).await;
    let admin = writers::connect(&scene.cluster.url("postgres")).await.expect("the server runs");
    let all = "select array_agg(pid) from pg_stat_activity where application_name = 'rowcast'";
    let sessions: Vec<i32> = admin.query_one(all, &[]).await.expect("an answer").get(0);
    scene.nodes[0].signal("STOP");
    let began = Instant::now();
    let flood =
        "select pg_notify('rowcast', repeat('x', 7900) || n) from generate_series(1, 100) n";
    let left =
        "select count(*), pg_notification_queue_usage() from pg_stat_activity where pid = any ($1)";
    let mut rounds = 0;
    loop {
        admin.execute(flood, &[]).await.expect("nobody's write fails");
        let row = admin.query_one(left, &[&sessions]).await.expect("an answer");
        let (left, usage): (i64, f64) = (row.get(0), row.get(1));
        assert!(usage < 0.05, "the queue fills behind the frozen daemon: {usage}");
        if usize::try_from(left) != Ok(sessions.len()) {
            break;
        }
        rounds += 1;
        // Enough to fill every buffer on the way, and no test of how fast the queue can be filled.
        scene.go_on(40, 60).await;
        assert!(began.elapsed() < Duration::from_secs(60), "its session is still there");
    }
    assert!(rounds > 0, "its session was gone before it could matter");
    eprintln!("frozen: its session was gone after {:?}", began.elapsed());
    scene.nodes[0].signal("CONT");
    scene.go_on(500, 800).await;
    nothing_was_given_up(&scene.finish().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fail_over_to_a_synchronous_stand_by_loses_nothing() {
    let mut standby = None;
    let way = async |primary: &ScratchCluster| {
        let copy = standby.insert(scene::synchronous_standby(primary).await);
        let (one, other) = (primary.port(), copy.port());
        format!("postgres://postgres@127.0.0.1:{one},127.0.0.1:{other}/postgres?connect_timeout=1")
    };
    let plan = Plan { settings: "database.epoch_policy = \"trust\"", ..Plan::new("fail-over") };
    let mut scene = Scene::with(plan, way).await;
    scene.go_on(1500, 2500).await;
    scene.fail_over_to(standby.expect("it was made")).await;
    scene.go_on(1500, 2500).await;
    nothing_was_given_up(&scene.finish().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_that_overtakes_a_client_is_owned_up_to() {
    let plan = Plan { stay: Duration::from_millis(300), is_pruned: true, ..Plan::new("pruning") };
    let mut scene = Scene::start(plan).await;
    let admin = writers::connect(&scene.cluster.url("postgres")).await.expect("the server runs");
    let node = scene.nodes[0].address();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    for _ in 0..3 {
        scene.lead_clients_to(vec![nowhere]);
        scene.go_on(800, 1200).await;
        // A slot is left before it is emptied, and waits for the long transaction.
        let mut removed = 0;
        while removed < 2 {
            let round = "select removed from rowcast.maintain('0', 0)";
            removed += admin.query_one(round, &[]).await.expect("a round").get::<_, i32>(0);
            scene.go_on(20, 60).await;
        }
        // Without its memory the node has only the log.
        scene.kill_and_restart(0).await;
        scene.lead_clients_to(vec![node]);
        scene.go_on(300, 900).await;
    }
    let reckoning = scene.finish().await;
    let strange: Vec<_> = reckoning.resets.iter().filter(|reason| *reason != "pruned").collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert!(!reckoning.resets.is_empty(), "nobody was overtaken");
    let given_up = reckoning.resumes - reckoning.recovered;
    assert_eq!(u32::try_from(reckoning.resets.len()), Ok(given_up), "each is owned up to once");
}

/// `./test --soak`: everything at random, for as long as it is told to.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half an hour: ./test --soak"]
async fn soak() {
    let minutes: u64 =
        std::env::var("SOAK_MINUTES").map_or(30, |text| text.parse().expect("a number"));
    let plan = Plan {
        nodes: 2,
        clients: 16,
        stay: Duration::from_secs(20),
        // The ledger has to fit in memory.
        rest: Duration::from_millis(60),
        ..Plan::new("soak")
    };
    let mut scene = Scene::start(plan).await;
    let (began, mut said) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(60 * minutes) {
        scene.go_on(1000, 8000).await;
        let node = usize::try_from(scene.dice.roll(2)).expect("a small number");
        match scene.dice.roll(8) {
            0 | 1 => scene.kill_and_restart(node).await,
            2 => {
                scene.nodes[node].signal("TERM");
                scene.nodes[node].start().await;
            }
            3 => {
                scene.nodes[node].signal("STOP");
                scene.go_on(500, 4000).await;
                scene.nodes[node].signal("CONT");
            }
            4 => scene.cluster.restart(StopMode::Fast).await.expect("the server comes back"),
            5 => scene.cluster.restart(StopMode::Immediate).await.expect("the server comes back"),
            _ => {
                let end = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'rowcast'";
                scene.sql(end).await;
            }
        }
        if began.elapsed().as_secs() / 60 > said {
            said = began.elapsed().as_secs() / 60;
            eprintln!("minute {said}: {}", scene.glance().await);
        }
    }
    nothing_was_given_up(&scene.finish().await);
}

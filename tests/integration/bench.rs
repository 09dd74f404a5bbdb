//! `rowcast bench`, as it is shipped, against a daemon that works, refuses, revokes and goes away.

mod scene;

use std::sync::Arc;

use rowcast::app::Daemon;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_rustls::TlsAcceptor;

use crate::harness::{Fault, OPEN, Outcome, Proxy, World, rowcast};
use crate::tls::Authority;
use scene::Scene;

fn figures(outcome: &Outcome) -> Value {
    assert_eq!(outcome.code, 0, "{outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

const FINDINGS: [&str; 3] = ["missing", "repeated", "out_of_order"];

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_of_a_run_add_up_and_nothing_stays_behind() {
    let scene = Scene::with(OPEN).await;
    let arguments = ["--subscribers", "40", "--rate", "200", "--duration", "1s", "--json"];
    let all = figures(&scene.bench(&arguments).await);
    assert_eq!(
        (&all["subscribers"]["connected"], &all["subscribers"]["lost"]),
        (&40.into(), &0.into())
    );
    assert_eq!(all["events"]["asked"], 200);
    let committed = all["events"]["committed"].as_u64().unwrap();
    assert!((1..=200).contains(&committed), "{all}");
    let deliveries = &all["deliveries"];
    assert_eq!(
        (&deliveries["expected"], &deliveries["received"]),
        (&(committed * 40).into(), &(committed * 40).into())
    );
    assert_eq!(FINDINGS.map(|name| deliveries[name].as_u64()), [Some(0); 3], "{all}");
    let at = |kind: &str, name: &str| all["latency_ms"][kind][name].as_f64().unwrap();
    for kind in ["commit", "delivery", "last"] {
        let ascending = ["min", "p50", "p90", "p99", "p99_9", "max"].map(|name| at(kind, name));
        assert!(ascending[0] > 0.0 && ascending.is_sorted(), "{all}");
    }
    assert!(
        at("last", "min") >= at("delivery", "min") && at("last", "p50") >= at("delivery", "p50")
    );
    let channel = all["channel"].as_str().unwrap();
    assert_eq!(scene.rows(channel).await, i64::try_from(committed).unwrap() + 1, "and the end");
    scene.world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_on_one_channel_count_their_own_events_only() {
    let scene = Scene::with(OPEN).await;
    let arguments = ["--channel", "both", "--rate", "100", "--duration", "1s", "--json"];
    let (one, other) = tokio::join!(scene.bench(&arguments), scene.bench(&arguments));
    for all in [figures(&one), figures(&other)] {
        assert_eq!(all["deliveries"]["received"], all["deliveries"]["expected"]);
        assert_eq!(FINDINGS.map(|name| all["deliveries"][name].as_u64()), [Some(0); 3], "{all}");
    }
    scene.world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_reads_has_the_table_and_the_picture() {
    let scene = Scene::with(OPEN).await;
    let outcome = scene.bench(&["--subscribers", "5", "--rate", "50", "--duration", "1s"]).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let text = &outcome.stdout;
    assert!(text.starts_with("rowcast/"), "{text}");
    for part in
        ["5 subscribers of bench:", "commit", "last subscriber", "█", " %", "ms  ", "missing 0"]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains('\u{1b}'), "no colour: {text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    scene.world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_refused_is_told_with_a_policy_that_opens_it() {
    let scene = Scene::with("").await;
    let outcome = scene.bench(&["--subscribers", "2"]).await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{outcome:?}");
    let policy = outcome.stderr.find("[[policy]]").map(|start| outcome.stderr[start..].to_owned());
    scene.world.daemon.stop().await;
    let scene = Scene::with(&policy.expect("a policy is told")).await;
    let arguments = ["--subscribers", "2", "--duration", "200ms"];
    assert_eq!(scene.bench(&arguments).await.code, 1, "not to everybody");
    let outcome = scene.bench(&[&arguments[..], &["--role", "bench"]].concat()).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    scene.world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_hears_what_to_do_about_it() {
    let scene = Scene::with(&format!("{OPEN}\n[limits]\nconnections_per_user = 3\n")).await;
    let told = [
        (vec!["--token", "nonsense"], "the daemon refused the token"),
        (vec!["--user", "one", "--subscribers", "9"], "limits.connections_per_user"),
        (vec!["--channel", "user:other"], "[[policy]]"),
        (vec!["--url", "ws://127.0.0.1:1/v1/ws"], "is the daemon running at"),
    ];
    for (arguments, sentence) in told {
        let outcome = scene.bench(&arguments).await;
        assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{arguments:?}: {outcome:?}");
        assert!(outcome.stderr.contains(sentence), "{arguments:?}: {outcome:?}");
    }
    // As many as there may be are no fault.
    let outcome =
        scene.bench(&["--user", "one", "--subscribers", "3", "--duration", "100ms"]).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    scene.world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_send_is_told_what_to_grant() {
    let scene = Scene::with(OPEN).await;
    let role = scene.world.db.role("mute");
    scene
        .world
        .sql(&format!("create role {role} login; grant usage on schema rowcast to {role}"))
        .await;
    let url = format!("database.url={}", scene.world.db.url_as(&role));
    let outcome = scene.bench(&["--set", &url, "--subscribers", "2", "--duration", "1s"]).await;
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("rowcast.grant_emit"), "{outcome:?}");
    scene.world.sql(&format!("select rowcast.grant_emit('{role}')")).await;
    let outcome = scene.bench(&["--set", &url, "--subscribers", "2", "--duration", "100ms"]).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    scene.world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_subscriber_is_counted_with_its_code_and_the_rest_goes_on_until_ctrl_c() {
    let scene = Scene::with(OPEN).await;
    let mut witness = scene.witness("bench:a").await;
    let arguments = ["--channel", "bench:a", "--subscribers", "3", "--duration", "1h", "--json"];
    let running = scene.begun(&arguments).await;
    witness.changes(2).await;
    scene.world.sql("select rowcast.revoke('bench-2')").await;
    // The close comes some time after this; events that are written after it are missing.
    witness.changes(50).await;
    running.interrupt();
    let (code, all) = running.end().await;
    assert_eq!(code, 1, "{all}");
    assert_eq!(all["interrupted"], true, "{all}");
    assert_eq!(all["subscribers"]["lost_by_code"], serde_json::json!({ "4503": 1 }), "{all}");
    let number = |name: &str| all["deliveries"][name].as_u64().unwrap();
    assert!(number("missing") > 0, "{all}");
    assert_eq!(number("received") + number("missing"), number("expected"), "{all}");
    assert_eq!(number("expected"), all["events"]["committed"].as_u64().unwrap() * 3, "{all}");
    scene.world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stalls_is_in_the_latency_of_every_event_that_was_due() {
    let scene = Scene::with(OPEN).await;
    let mut witness = scene.witness("bench:c").await;
    let arguments = ["--channel", "bench:c", "--subscribers", "2", "--writers", "1"];
    let schedule = ["--rate", "1000", "--duration", "1h", "--json"];
    let running = scene.begun(&[&arguments[..], &schedule].concat()).await;
    witness.changes(2).await;
    // Nobody may write for a second, and what was due in it waits: a thousand events, of which few were on their way.
    let stall = "begin; lock table rowcast.event in share mode; select pg_sleep(1); commit";
    scene.world.sql(stall).await;
    running.interrupt();
    let (code, all) = running.end().await;
    assert_eq!(code, 0, "{all}");
    assert_eq!(FINDINGS.map(|name| all["deliveries"][name].as_u64()), [Some(0); 3], "{all}");
    for kind in ["commit", "delivery", "last"] {
        assert!(all["latency_ms"][kind]["p50"].as_f64().unwrap() > 100.0, "{all}");
    }
    scene.world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_that_the_database_does_not_take_is_told_as_the_databases() {
    let scene = Scene::with(OPEN).await;
    let arguments =
        ["--subscribers", "2", "--writers", "1", "--rate", "100000", "--duration", "1s"];
    let outcome = scene.bench(&[&arguments[..], &["--patience", "1m"]].concat()).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let said = outcome.stdout.lines().find(|line| line.contains("could not keep the rate"));
    assert!(said.is_some_and(|said| said.starts_with("the database")), "{outcome:?}");
    assert!(said.is_some_and(|said| said.ends_with(" of 100,000 events")), "{outcome:?}");
    scene.world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_at_the_end_is_waited_for() {
    let scene = Scene::with(OPEN).await;
    let mut witness = scene.witness("bench:d").await;
    let line = Proxy::to(scene.world.daemon.address()).await;
    let url = format!("ws://{}/v1/ws", line.address());
    let arguments = ["--channel", "bench:d", "--subscribers", "3", "--duration", "300ms", "--json"];
    let arguments = [&arguments[..], &["--url", &url, "--patience", "1m"]].concat();
    let running = scene.begun(&arguments).await;
    line.set(Fault::Stalled);
    witness.skip_to(|message| message["row"]["n"] == -1).await;
    line.set(Fault::None);
    let (code, all) = running.end().await;
    assert_eq!(code, 0, "{all}");
    assert_eq!(all["deliveries"]["received"], all["deliveries"]["expected"], "{all}");
    scene.world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_goes_away_ends_the_run() {
    let scene = Scene::with(OPEN).await;
    let mut witness = scene.witness("bench:b").await;
    let arguments = ["--channel", "bench:b", "--subscribers", "4", "--duration", "1h", "--json"];
    let writing = scene.begun(&arguments).await;
    let listening = scene.begun(&[&arguments[..], &["--listen-only"]].concat()).await;
    witness.changes(2).await;
    scene.world.daemon.stop().await;
    for running in [writing, listening] {
        let (code, all) = running.end().await;
        assert_eq!(code, 1, "{all}");
        let lost = serde_json::json!({ "1012": 4 });
        assert_eq!(all["subscribers"]["lost_by_code"], lost, "{all}");
        assert_eq!(all["interrupted"], false, "{all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_the_daemon_there_does_not_follow_are_missing() {
    let scene = Scene::with(OPEN).await;
    let elsewhere = World::start().await;
    let url = format!("ws://{}/v1/ws", elsewhere.daemon.address());
    let arguments =
        ["--url", &url, "--subscribers", "2", "--duration", "100ms", "--patience", "1s"];
    let outcome = scene.bench(&arguments).await;
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stdout.contains("2 subscribers were still behind"), "{outcome:?}");
    assert!(outcome.stderr.contains("deliveries are missing"), "{outcome:?}");
    assert!(outcome.stderr.contains("follow the database"), "{outcome:?}");
    for daemon in [scene.world.daemon, elsewhere.daemon] {
        Daemon::stop(daemon).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_listens_counts_what_others_write_and_writes_nothing() {
    let scene = Scene::with(OPEN).await;
    let arguments =
        ["--channel", "a:*", "--listen-only", "--subscribers", "3", "--duration", "3s", "--json"];
    let running = scene.begun(&arguments).await;
    scene.world.sql("select rowcast.emit('a:' || n, 'n', '1') from generate_series(1, 7) n").await;
    let (code, all) = running.end().await;
    assert_eq!(code, 0, "{all}");
    assert_eq!(all["deliveries"]["received"], 21, "{all}");
    assert!(all["latency_ms"]["delivery"]["p50"].as_f64().is_some(), "{all}");
    let unknown = [&all["events"], &all["deliveries"]["missing"], &all["latency_ms"]["commit"]];
    assert_eq!(unknown, [&Value::Null; 3], "{all}");
    let rows = "select count(*) from rowcast.event";
    let rows: i64 = scene.world.db.client().await.query_one(rows, &[]).await.unwrap().get(0);
    assert_eq!(rows, 7);
    scene.world.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_certificate_has_to_be_one_that_this_machine_trusts() {
    let scene = Scene::with(OPEN).await;
    let authority = Authority::new();
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://localhost:{}/v1/ws", front.local_addr().unwrap().port());
    let terminating = terminate(front, &authority, scene.world.daemon.address());
    for (roots, code) in [(authority.path("ca.crt"), 0), (Authority::new().path("ca.crt"), 1)] {
        let mut command =
            scene.command(&["--url", &url, "--subscribers", "3", "--duration", "100ms"]);
        command.env("SSL_CERT_FILE", roots).env_remove("SSL_CERT_DIR");
        let output = spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let talk = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{talk}");
        assert_eq!(talk.contains("SSL_CERT_FILE"), code == 1, "{talk}");
    }
    terminating.abort();
    scene.world.daemon.stop().await;
}

/// What a proxy does that ends TLS and changes nothing else.
fn terminate(
    front: TcpListener,
    authority: &Authority,
    daemon: std::net::SocketAddr,
) -> JoinHandle<()> {
    let issued = authority.issue("server", "subjectAltName=DNS:localhost");
    let text = |end: &str| &issued.iter().find(|(name, _)| name.ends_with(end)).unwrap().1;
    let certificate = CertificateDer::from_pem_slice(text(".crt").as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(text(".key").as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        loop {
            let (line, _) = front.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust it is gone.
                let Ok(mut client) = acceptor.accept(line).await else { return };
                let mut daemon = TcpStream::connect(daemon).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut daemon).await;
            });
        }
    })
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    let wrong: [(&[&str], &str); 9] = [
        (&["--rate", "0"], "0 is not in 1..=100000"),
        (&["--subscribers", "0"], "0 is not in 1..=60000"),
        (&["--writers", "100"], "100 is not in 1..=64"),
        (&["--payload", "5"], "5 is not in 96..=1048576"),
        (&["--duration", "0s"], "too short for a single event"),
        (&["--rate", "100000", "--duration", "1h"], "may be 10000000 at most"),
        (&["--channel", "orders:*"], "--channel orders:*"),
        (&["--channel", "rowcast:own"], "the name is reserved"),
        (&["--listen-only"], "--channel"),
    ];
    for (arguments, sentence) in wrong {
        let outcome =
            rowcast("postgres://nobody@127.0.0.1:1/none", &[&["bench"], arguments].concat());
        assert_eq!(outcome.code, 2, "{arguments:?}: {outcome:?}");
        assert!(outcome.stderr.contains(sentence), "{arguments:?}: {outcome:?}");
    }
}

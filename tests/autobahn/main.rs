//! Autobahn's fuzzing client against our accept loop, upgrade and framing. `tests/autobahn/run` installs it and runs this.
//!
//! In: where Python 2.7 and the suite are (`ROWCAST_PYTHON27`, `ROWCAST_AUTOBAHN`). Out: its report, judged. Invariant: every
//! case of the chapters 1 to 7 and 10 is there and has the outcome that is written down here.

#[allow(dead_code, reason = "another test uses the rest")]
#[path = "../hostile_sockets/echo_server.rs"]
mod echo_server;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use tokio::process::Command;

use echo_server::{EchoServer, PATIENT};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    behavior: String,
    behavior_close: String,
    remote_close_code: Option<u16>,
}

#[tokio::test(flavor = "multi_thread")]
async fn autobahn_finds_nothing() {
    let server = EchoServer::start(PATIENT);
    let report = tempfile::tempdir().unwrap();
    run_suite(&format!("ws://{}/echo", server.address), report.path()).await;
    let outcomes = read(report.path());
    print(&outcomes);
    let odd: Vec<_> = outcomes.iter().filter(|(case, outcome)| !is_good(case, outcome)).collect();
    assert!(odd.is_empty(), "{odd:#?}");
    assert_eq!(outcomes.len(), CASES, "some cases did not run");
}

async fn run_suite(url: &str, report: &Path) {
    let variable = |name| {
        std::env::var_os(name)
            .unwrap_or_else(|| panic!("{name} is not set: run tests/autobahn/run"))
    };
    let plan = serde_json::json!({
        "outdir": report, "cases": CHAPTERS, "exclude-cases": [], "exclude-agent-cases": {},
        "servers": [{ "agent": AGENT, "url": url }],
    });
    let plan_file = report.join("plan.json");
    std::fs::write(&plan_file, plan.to_string()).unwrap();
    let ran = Command::new(variable("ROWCAST_PYTHON27"))
        .args(["-c", "from autobahntestsuite.wstest import run; run()"])
        .args(["-m", "fuzzingclient", "-s"])
        .arg(&plan_file)
        .env("PYTHONPATH", variable("ROWCAST_AUTOBAHN"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(report)
        .output()
        .await
        .expect("Python can be started");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

fn read(report: &Path) -> BTreeMap<String, Outcome> {
    let index = std::fs::read(report.join("index.json")).expect("the suite wrote its report");
    let mut agents: BTreeMap<String, BTreeMap<String, Outcome>> =
        serde_json::from_slice(&index).expect("a report as Autobahn 25.10.1 writes it");
    agents.remove(AGENT).expect("our server was tested")
}

fn print(outcomes: &BTreeMap<String, Outcome>) {
    let mut counts = BTreeMap::new();
    for outcome in outcomes.values() {
        *counts.entry(outcome.behavior.as_str()).or_insert(0) += 1;
    }
    println!("{} cases: {counts:?}", outcomes.len());
    for (case, outcome) in outcomes.iter().filter(|(_, outcome)| outcome.behavior != "OK") {
        println!("{case}: {} (closed with {:?})", outcome.behavior, outcome.remote_close_code);
    }
}

fn is_good(case: &str, outcome: &Outcome) -> bool {
    // The protocol is text: binary messages are refused by name, which the suite calls a failure.
    if case.starts_with("1.2.") {
        return outcome.behavior == "FAILED" && outcome.remote_close_code == Some(1003);
    }
    let is_well = |behavior: &str| matches!(behavior, "OK" | "INFORMATIONAL");
    is_well(&outcome.behavior) && is_well(&outcome.behavior_close)
}

/// 9 is size and speed, 12 and 13 are compression, which we do not offer.
const CHAPTERS: &[&str] = &["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"];

const CASES: usize = 247;

const AGENT: &str = "rowcast";

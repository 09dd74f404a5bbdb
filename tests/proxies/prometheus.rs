//! A Prometheus that asks the daemon, with `contrib/prometheus-alerts.yml`, and is asked what the dashboard asks.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::fetch::get;
use crate::harness::{OPEN, World, until};
use crate::tools::{Running, free_address, program};

const ALERTS: &str = "contrib/prometheus-alerts.yml";

fn here(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What promtool has to complain about, if it has.
fn promtool(arguments: &[&str], input: &str) -> Result<(), String> {
    let mut command = Command::new(program("promtool"));
    let command = command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    // One that reads nothing closes its end.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8(said).unwrap()) }
}

#[test]
fn the_alerts_are_rules() {
    promtool(&["check", "rules", ALERTS], "").unwrap();
}

#[test]
fn each_alert_fires_when_it_should_and_not_before() {
    promtool(&["test", "rules", "tests/proxies/alerts_test.yml"], "").unwrap();
    let tested = fs::read_to_string(here("tests/proxies/alerts_test.yml")).unwrap();
    let alerts = fs::read_to_string(here(ALERTS)).unwrap();
    for name in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tested.contains(&format!("alertname=\"{name}\"")), "{name} is not tested");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_are_named_as_prometheus_wants_them() {
    let world = World::with(OPEN).await;
    let answer = get(world.daemon.address(), "/metrics").await.unwrap();
    promtool(&["check", "metrics"], answer.split_once("\r\n\r\n").unwrap().1).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_has_something_to_show_and_every_rule_is_well() {
    let world = World::with(OPEN).await;
    let mut client = world.subscriber("ana", &["a"]).await;
    let (address, _running, _folder) = start(world.daemon.address());
    let dashboard = fs::read_to_string(here("contrib/grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut empty: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(empty.len() > 30);
    let mut seen = None;
    // A rate needs two looks at something that moves in between.
    for _ in 0..LOOKS {
        world.sql("select rowcast.emit('a', 'x', '1')").await;
        client.changes(1).await;
        client.ask(json!({ "type": "subscribe", "channel": "user:ben" })).await;
        // Answered twice: ok, and the reset behind it.
        client.send(json!({ "type": "subscribe", "channel": "b", "after": "nonsense" })).await;
        client.skip_to(|message| message["type"] == "reset").await;
        seen = Some(next_look(address, seen).await);
        let mut still = Vec::new();
        for expression in empty {
            if query(address, expression).await == json!([]) {
                still.push(expression);
            }
        }
        empty = still;
        if empty.is_empty() {
            break;
        }
    }
    assert!(empty.is_empty(), "nothing to show for {empty:#?}");
    let rules = api(address, "/api/v1/rules").await;
    let rules = rules["groups"][0]["rules"].as_array().unwrap().clone();
    assert!(rules.len() >= 10);
    for rule in rules {
        assert_ne!(rule["health"], "err", "{rule}");
        assert_ne!(rule["state"], "firing", "{rule}");
    }
}

fn start(target: SocketAddr) -> (SocketAddr, Running, tempfile::TempDir) {
    let (folder, address) = (tempfile::TempDir::new().unwrap(), free_address());
    let file = folder.path().join("prometheus.yml");
    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
         rule_files: [ {} ]\nscrape_configs:\n\
         - {{ job_name: rowcast, static_configs: [ {{ targets: [ \"{target}\" ] }} ] }}\n",
        here(ALERTS).display()
    );
    fs::write(&file, config).unwrap();
    let mut command = Command::new(program("prometheus"));
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .current_dir(folder.path())
        .stdout(Stdio::null());
    // It listens before it has opened its store, and answers 503 until then.
    let running = Running::start_until(&mut command, "Server is ready to receive web requests");
    (address, running, folder)
}

/// When it has looked at the daemon again.
async fn next_look(prometheus: SocketAddr, before: Option<Value>) -> Value {
    until("Prometheus looks at the daemon", async || {
        let at = query(prometheus, "timestamp(up) and up == 1").await[0]["value"][1].clone();
        Some(at).filter(|at| at.is_string() && before.as_ref() != Some(at))
    })
    .await
}

/// What Grafana would ask.
async fn query(prometheus: SocketAddr, expression: &str) -> Value {
    let filled = expression
        .replace("$job", "rowcast")
        .replace("$instance", ".*")
        .replace("$__rate_interval", "1m");
    let mut path = form_urlencoded::Serializer::new("/api/v1/query?".to_owned());
    let path = path.append_pair("query", &filled).finish();
    let path = path.replacen("/api/v1/query?&", "/api/v1/query?", 1);
    api(prometheus, &path).await["result"].clone()
}

async fn api(prometheus: SocketAddr, path: &str) -> Value {
    let answer = get(prometheus, path).await.expect("Prometheus answers");
    let body = answer.split_once("\r\n\r\n").expect("it has a body").1;
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{path}: {answer}"));
    // Not ready to answer yet is an answer of another kind.
    assert_eq!(body["status"], "success", "{path}: {body}");
    body["data"].clone()
}

/// It looks each second; two are enough for what is there from the beginning.
const LOOKS: usize = 60;

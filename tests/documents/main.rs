//! Holds what stands beside the program to what the program does: docs/operations.md, the dashboard, the alerts.

mod fetch;
#[path = "../integration/harness/mod.rs"]
mod harness;
mod page;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fetch::get;
use harness::{OPEN, World, rowcast};
use page::Document;
use rowcast::domain::message::ResetReason;
use rowcast::telemetry::refusals::Refused;
use serde_json::{Value, json};
use yaml_rust2::{Yaml, YamlLoader};

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn dashboard() -> Value {
    serde_json::from_str(&shipped("grafana-dashboard.json")).expect("it is JSON")
}

fn alerts() -> Vec<Yaml> {
    let documents =
        YamlLoader::load_from_str(&shipped("prometheus-alerts.yml")).expect("it is YAML");
    let groups = documents[0]["groups"].as_vec().expect("a list of groups");
    groups.iter().flat_map(|group| group["rules"].as_vec().expect("rules").clone()).collect()
}

/// The names of metrics in a text, without what Prometheus puts behind those of histograms.
fn metrics(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c)).filter(|word| word.starts_with("rowcast_"));
    let bare = |word: &str| {
        let ends = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        ends.unwrap_or(word).to_owned()
    };
    words.map(bare).collect()
}

/// Roles, job names and the like that are named as metrics are.
fn without(mut metrics: BTreeSet<String>, others: &[&str]) -> BTreeSet<String> {
    metrics.retain(|name| !others.contains(&name.as_str()));
    metrics
}

/// What a daemon tells that has done a little of everything.
async fn told() -> BTreeSet<String> {
    let world = World::with(OPEN).await;
    let mut client = world.subscriber("ana", &["a"]).await;
    // This metric is there only once somebody has resumed.
    client.ask(json!({ "type": "subscribe", "channel": "a", "after": "nonsense" })).await;
    let answer = get(world.daemon.address(), "/metrics").await.expect("it answers");
    let names = answer.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    assert!(names.len() > 20, "{answer}");
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_explained_and_none_that_is_not_there() {
    let told = told().await;
    let page = Document::read("operations.md");
    let table = page.section("### Each metric");
    let cells =
        table.lines().filter_map(|line| line.strip_prefix("| `rowcast_")?.split('`').next());
    let explained: Vec<String> = cells.map(|name| format!("rowcast_{name}")).collect();
    assert_eq!(BTreeSet::from_iter(explained.clone()), told);
    assert_eq!(explained.len(), told.len(), "one line for each");
    let named = without(metrics(page.text()), &["rowcast_owner", "rowcast_authorize"]);
    assert_eq!(named, told);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_and_the_alerts_name_metrics_that_are_there() {
    let told = told().await;
    let on_dashboard = expressions(&dashboard()).join("\n");
    assert_eq!(metrics(&on_dashboard), told, "the dashboard shows them all");
    for rule in alerts() {
        let expression = rule["expr"].as_str().expect("an expression");
        let named = metrics(expression);
        assert!(named.is_subset(&told), "{expression}");
        assert!(!named.is_empty() || expression.starts_with("up{"), "{expression}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_of_a_load_test_is_explained_and_none_that_is_not_there() {
    let world = World::with(OPEN).await;
    let url = format!("ws://{}/v1/ws", world.daemon.address());
    let token = world.token("ana");
    let arguments = ["bench", "--url", &url, "--token", &token, "--subscribers", "3", "--json"];
    let arguments = [&arguments[..], &["--duration", "200ms"]].concat();
    let outcome = rowcast(world.db.url(), &arguments);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let figures: Value = serde_json::from_str(&outcome.stdout).expect("it is JSON");
    let page = Document::read("operations.md");
    let table = page.section("### The figures as JSON");
    let cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let explained: Vec<String> = cells.map(str::to_owned).collect();
    assert_eq!(BTreeSet::from_iter(explained.clone()), leaves(&figures));
    assert_eq!(explained.len(), leaves(&figures).len(), "one line for each");
    for name in figures["latency_ms"]["delivery"].as_object().expect("an object").keys() {
        assert!(table.contains(&format!("`{name}`")), "{name}");
    }
    world.daemon.stop().await;
}

/// Each figure by its path; what has the same names inside everywhere is one.
fn leaves(figures: &Value) -> BTreeSet<String> {
    let mut leaves = BTreeSet::new();
    for (name, value) in figures.as_object().expect("an object") {
        match value.as_object() {
            Some(inner) => leaves.extend(inner.keys().map(|inner| format!("{name}.{inner}"))),
            None => drop(leaves.insert(name.clone())),
        }
    }
    leaves
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().expect("panels").iter().collect()
}

fn expressions(dashboard: &Value) -> Vec<&str> {
    let targets = panels(dashboard).into_iter().filter_map(|panel| panel["targets"].as_array());
    targets.flatten().map(|target| target["expr"].as_str().expect("an expression")).collect()
}

#[test]
fn each_panel_has_a_place_and_says_what_it_shows() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64() >= Some(38), "Grafana 10");
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: the id is taken");
        let place = |side: &str| panel["gridPos"][side].as_u64().expect("a place");
        assert!(place("x") + place("w") <= 24, "{title} is too wide");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(cells.insert((x, y)), "{title} lies on another panel");
            }
        }
        if panel["type"] != "row" {
            assert!(
                panel["description"].as_str().is_some_and(|text| text.ends_with('.')),
                "{title}"
            );
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            assert!(panel["targets"].as_array().is_some_and(|all| !all.is_empty()), "{title}");
        }
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let names: Vec<_> = variables.map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "job", "instance"]);
    for expression in expressions(&dashboard) {
        assert!(expression.contains(r#"{job=~"$job",instance=~"$instance"}"#), "{expression}");
    }
}

#[test]
fn each_alert_says_what_it_means_and_what_to_do() {
    let rules = alerts();
    assert!(rules.len() >= 10);
    for rule in rules {
        let name = rule["alert"].as_str().expect("a name");
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("warning" | "critical")), "{name}: {severity:?}");
        for part in ["summary", "description", "action"] {
            let text = rule["annotations"][part].as_str();
            assert!(text.is_some_and(|text| text.len() > 20), "{name} has no {part}");
        }
        assert!(
            rule["expr"].as_str().expect("an expression").contains(r#"job="rowcast""#),
            "{name}"
        );
    }
}

#[test]
fn every_refusal_and_every_outcome_is_explained() {
    let page = Document::read("operations.md");
    let limits = page.section("## Limits");
    for refused in Refused::ALL {
        let cell = format!("| `{}` |", refused.name());
        assert!(limits.lines().any(|line| line.ends_with(&cell)), "{refused:?}");
    }
    let table = page.section("### Each metric");
    let resumes = table.lines().find(|line| line.contains("`rowcast_resumes_total`")).unwrap();
    for reason in REASONS {
        assert!(resumes.contains(&format!("`{}`", reason.as_str())), "{reason:?}");
    }
}

const REASONS: [ResetReason; 5] = [
    ResetReason::Pruned,
    ResetReason::Epoch,
    ResetReason::NotLogged,
    ResetReason::BadPosition,
    ResetReason::Unavailable,
];

#[test]
fn the_limits_are_those_of_the_program() {
    let table = Document::read("operations.md").section("## Limits").to_owned();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
    let example: toml::Table = std::fs::read_to_string(example).unwrap().parse().unwrap();
    for (key, value) in example["limits"].as_table().unwrap() {
        let row = table.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("{key} is not explained"));
        let shown = row.split('|').nth(2).unwrap().replace([',', ' '], "");
        assert_eq!(shown, value.to_string().replace('"', ""), "{key}");
    }
}

#[test]
fn the_configuration_of_the_page_has_no_fault() {
    let page = Document::read("operations.md");
    let files: Vec<_> = page.blocks().into_iter().filter(|(fence, _)| *fence == "toml").collect();
    assert!(!files.is_empty());
    for (_, text) in files {
        let folder = tempfile::TempDir::new().unwrap();
        let write = |name: &str, text: &str| -> PathBuf {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        write("jwt-secret", "a secret of the tests, 32 bytes or more");
        let file = write("config.toml", text);
        let outcome = rowcast("", &["config", "check", file.to_str().unwrap()]);
        assert_eq!(outcome.code, 0, "{}\n{text}", outcome.stderr);
    }
}

/// The proxies' files are run by `cargo test --test proxies`; this much is seen without them.
#[test]
fn a_proxy_waits_for_more_than_two_heartbeats() {
    let site = shipped("nginx.conf");
    for directive in ["proxy_read_timeout", "proxy_send_timeout"] {
        let line = site.lines().map(str::trim).find(|line| line.starts_with(directive)).unwrap();
        let seconds = line.trim_start_matches(directive).trim().trim_end_matches("s;");
        assert!(seconds.parse::<u32>().unwrap() > 2 * 25, "{line}");
    }
}

//! The database: reached first, then asked, group by group.
//!
//! In: the configuration. Out: groups of checks. Invariant: what is away, or refuses one question, fails that question
//! and leaves the others; no question waits for longer than [`PATIENCE`].

use std::time::{Duration, SystemTime};

use tokio::time::timeout;
use tokio_postgres::Client;

use super::check::{Check, Report};
use super::{function, log, notifications, role, server, sessions, watches};
use crate::config::Config;
use crate::postgres::connect::{SessionOptions, Target};
use crate::postgres::diagnosis as ask;

pub async fn examine(config: &Config, patience: Duration, report: &mut Report) {
    // Where it cannot be read, the configuration has said so.
    let Ok(target) = target(config.database.url.expose()) else { return };
    let client = reach(&target, report).await;
    let Some(client) = client else { return };
    if !about_server(&client, &target, config, report).await {
        return;
    }
    report.group("notifications", notifications::examine(&client, &target, config).await);
    let role = match within(ask::role(&client)).await {
        Ok(role) => role,
        Err(why) => return report.group("role", vec![unanswered("role", &why)]),
    };
    let missing = within(ask::missing_grants(&client)).await;
    let may_ask = missing.as_ref().is_ok_and(Vec::is_empty);
    let mut checks = role::judge(&role, &missing, config);
    checks.extend(function::examine(&target, &role, config).await);
    report.group("role", checks);
    // Without its grants, nothing can be said of the schema but that.
    if may_ask && about_schema(&client, report).await {
        report.group("watches", watches::examine(&client, config).await);
        report.group("log", log::examine(&client, config).await);
    }
    report.group("activity", sessions::examine(&client, &role, patience).await);
}

pub fn target(url: &str) -> Result<Target, crate::postgres::connect::TargetError> {
    let session = SessionOptions { application_name: NAME.into(), ..SessionOptions::default() };
    Ok(Target::parse(url)?.with_session(session))
}

/// An answer, or why there is none.
pub async fn within<T, E: std::fmt::Display>(
    question: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(PATIENCE, question).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_elapsed) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

pub fn unanswered(check: &str, why: &str) -> Check {
    Check::failure(check, format!("cannot be told: {why}"), ASK_BY_HAND)
}

async fn reach(target: &Target, report: &mut Report) -> Option<Client> {
    let hosts = ask::hosts(target).await;
    let client = target.connect_spawned().await;
    let why = client.as_ref().err().map(ToString::to_string);
    report.group("database", server::reachable(&target.to_string(), &hosts, why.as_deref()));
    client.ok()
}

/// Whether it is one that the daemon could work with: a standby has answers of its own to everything else.
async fn about_server(
    client: &Client,
    target: &Target,
    config: &Config,
    report: &mut Report,
) -> bool {
    let asked = SystemTime::now();
    let found = within(ask::server(client, target)).await;
    let checks = match &found {
        Ok(found) => server::judge(found, asked, SystemTime::now(), config),
        Err(why) => vec![unanswered("server", why)],
    };
    report.group("server", checks);
    found.is_ok_and(|found| !found.is_standby)
}

/// Whether there is a schema that the other questions can be put to.
async fn about_schema(client: &Client, report: &mut Report) -> bool {
    let installed = within(ask::installation(client)).await;
    let mut checks = vec![server::schema(&installed)];
    if installed.is_ok() {
        checks.push(match within(ask::differences(client)).await {
            Ok(differences) => server::functions(&differences),
            Err(why) => unanswered("functions", &why),
        });
    }
    report.group("schema", checks);
    installed.is_ok()
}

const NAME: &str = "rowcast doctor";

/// More than the session's own limit on statements, which ends what is merely slow.
const PATIENCE: Duration = Duration::from_secs(8);

const ASK_BY_HAND: &str =
    "look in the server's log, and in pg_stat_activity for whoever holds a lock";

//! Does each watched table still tell its changes?
//!
//! In: the watches, as they and their tables are. Out: checks. Invariant: what is wrong with a table is told with the
//! statement that mends it.

use tokio_postgres::Client;

use super::check::Check;
use super::database::{unanswered, within};
use crate::config::{Config, Wake};
use crate::postgres::diagnosis::{self as ask, Activity, Holder, Shadow, Watched};

pub async fn examine(client: &Client, config: &Config) -> Vec<Check> {
    let watched = match within(ask::watched(client)).await {
        Ok(watched) => watched,
        Err(why) => return vec![unanswered("watches", &why)],
    };
    let mut checks = vec![any(&watched)];
    checks.extend(watched.iter().flat_map(judge));
    checks.push(match within(ask::shadows(client)).await {
        Ok(shadows) => replica(&shadows),
        Err(why) => unanswered("replica role", &why),
    });
    checks.push(match within(ask::activity(client)).await {
        Ok(activity) => two_phase(&watched, &activity, config.database.wake),
        Err(why) => unanswered("two-phase commit", &why),
    });
    checks
}

fn any(watched: &[Watched]) -> Check {
    const NAME: &str = "watches";
    match watched.len() {
        0 => Check::warning(NAME, "no table is watched", "rowcast watch TABLE"),
        1 => Check::ok(NAME, "one table is watched"),
        count => Check::ok(NAME, format!("{count} tables are watched")),
    }
}

fn judge(watched: &Watched) -> Vec<Check> {
    if watched.is_dropped {
        let mend = format!("select rowcast.unwatch({});", watched.oid);
        return vec![Check::failure(name(watched, ""), "the table was dropped", mend)];
    }
    let mut checks: Vec<Check> = [missing(watched), silent(watched), partitions(watched)]
        .into_iter()
        .chain([replicated(watched), children(watched), key(watched)])
        .flatten()
        .collect();
    // What is missing or silent is a drift as well.
    if !checks.iter().any(|check| check.name.ends_with(": triggers")) {
        checks.extend(drift(watched));
    }
    if checks.is_empty() {
        checks.push(Check::ok(name(watched, ""), format!("→ {}", watched.channels.join(", "))));
    }
    checks
}

fn name(watched: &Watched, aspect: &str) -> String {
    let colon = if aspect.is_empty() { "" } else { ": " };
    format!("{}{colon}{aspect}", watched.table)
}

fn missing(watched: &Watched) -> Option<Check> {
    let triggers = watched.triggers.iter().filter(|trigger| trigger.enabled.is_none());
    let names: Vec<&str> = triggers.map(|trigger| trigger.name.as_str()).collect();
    (!names.is_empty()).then(|| {
        let answer = format!("missing: {}", names.join(", "));
        Check::failure(name(watched, "triggers"), answer, mend_watch(watched))
    })
}

/// Triggers that are there and do not fire for ordinary writers.
fn silent(watched: &Watched) -> Option<Check> {
    let state = |enabled| match enabled {
        Some('D') => Some("disabled"),
        Some('R') => Some("for replicas only"),
        _ => None,
    };
    let silent: Vec<(&str, &str)> = watched
        .triggers
        .iter()
        .filter_map(|trigger| Some((trigger.name.as_str(), state(trigger.enabled)?)))
        .collect();
    (!silent.is_empty()).then(|| {
        let told: Vec<_> =
            silent.iter().map(|(name, state)| format!("{name} is {state}")).collect();
        let enable = |(name, _): &(&str, &str)| enable(&watched.table, name);
        let mend: Vec<_> = silent.iter().map(enable).collect();
        Check::failure(name(watched, "triggers"), told.join(", "), mend.join("\n"))
    })
}

fn partitions(watched: &Watched) -> Option<Check> {
    let (first, _) = watched.uncovered.first()?;
    let mut leaves: Vec<&str> = watched.uncovered.iter().map(|(leaf, _)| leaf.as_str()).collect();
    leaves.dedup();
    let answer = match leaves.len() {
        1 => format!("changes of {first} are not told"),
        count => format!("changes of {count} partitions are not told, {first} among them"),
    };
    let enable = |(leaf, trigger): &(String, String)| enable(leaf, trigger);
    let mend: Vec<_> = watched.uncovered.iter().map(enable).collect();
    Some(Check::failure(name(watched, "partitions"), answer, mend.join("\n")))
}

fn enable(table: &str, trigger: &str) -> String {
    format!("alter table {table} enable trigger {trigger};")
}

/// What streams in fires row triggers only, and those only if they are `always`.
fn replicated(watched: &Watched) -> Option<Check> {
    if !watched.is_replicated {
        return None;
    }
    let always = |trigger: &ask::Trigger| {
        format!("alter table {} enable always trigger {};", watched.table, trigger.name)
    };
    let mut mend: Vec<String> = watched
        .triggers
        .iter()
        .filter(|trigger| watched.by_statement || trigger.enabled != Some('A'))
        .map(always)
        .collect();
    let answer = if watched.by_statement {
        mend.insert(0, watched.by_row());
        "a subscription writes it, which fires no statement trigger"
    } else if mend.is_empty() {
        return None;
    } else {
        "a subscription writes it, which fires triggers only if they are always enabled"
    };
    Some(Check::failure(name(watched, "replication"), answer, mend.join("\n")))
}

fn children(watched: &Watched) -> Option<Check> {
    let first = watched.children.first()?;
    let answer = format!("changes of its children are not told: {}", watched.children.join(", "));
    let literal = first.replace('\'', "''");
    let mend = format!("select rowcast.watch('{literal}', channels => '{{…}}'); for each of them");
    Some(Check::warning(name(watched, "children"), answer, mend))
}

fn key(watched: &Watched) -> Option<Check> {
    (!watched.has_key).then(|| {
        let answer = "it has no key: clients cannot tell which of their rows a change is about";
        let mend =
            format!("alter table {} add primary key (…); then {}", watched.table, watched.again());
        Check::warning(name(watched, "key"), answer, mend)
    })
}

fn drift(watched: &Watched) -> Option<Check> {
    let drift = watched.drift.as_deref()?;
    let answer = drift.strip_suffix("; run rowcast.watch again").unwrap_or(drift);
    Some(Check::failure(name(watched, "drift"), answer, mend_watch(watched)))
}

fn mend_watch(watched: &Watched) -> String {
    if watched.lost.is_empty() {
        return watched.again();
    }
    let lost = watched.lost.join(", ");
    format!("watch it again without what the table no longer has ({lost}): {}", watched.again())
}

fn replica(shadows: &[Shadow]) -> Check {
    const NAME: &str = "replica role";
    if shadows.is_empty() {
        return Check::ok(NAME, "nobody writes without triggers by default");
    }
    let whose: Vec<_> = shadows.iter().map(|shadow| shadow.whose.as_str()).collect();
    let mends: Vec<_> = shadows.iter().map(|shadow| shadow.mend.as_str()).collect();
    Check::failure(
        NAME,
        format!(
            "session_replication_role is replica for {}: what they write is not told",
            whose.join(", ")
        ),
        mends.join("\n"),
    )
}

/// A transaction that notified cannot be prepared. That somebody may prepare is no fault; that somebody does, is.
fn two_phase(watched: &[Watched], activity: &Activity, wake: Wake) -> Check {
    const NAME: &str = "two-phase commit";
    let count = activity
        .transactions
        .iter()
        .filter(|open| open.is_here && matches!(open.holder, Holder::Prepared(_)))
        .count();
    let notifies = |watched: &&Watched| {
        let by_setting = !watched.is_logged || (watched.wakes && wake != Wake::Poll);
        by_setting && !watched.is_dropped
    };
    let notifying: Vec<&Watched> = watched.iter().filter(notifies).collect();
    let names: Vec<&str> = notifying.iter().map(|watched| watched.table.as_str()).collect();
    match (count, notifying.is_empty()) {
        (0, _) => Check::ok(NAME, "nobody has prepared a transaction"),
        (_, true) => Check::ok(NAME, "used, and no watched table is in its way"),
        (_, false) => Check::warning(
            NAME,
            format!(
                "used here, and a transaction that wrote {} while the daemon slept cannot be prepared",
                names.join(", ")
            ),
            notifying.iter().map(|watched| quiet(watched)).collect::<Vec<_>>().join("\n"),
        ),
    }
}

fn quiet(watched: &Watched) -> String {
    if watched.is_logged {
        return watched.polled();
    }
    let again = watched.polled();
    again.replace("log => 'f'", "log => 't'")
}

#[cfg(test)]
mod tests;

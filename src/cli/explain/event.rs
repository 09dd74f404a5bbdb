//! The event behind an id that somebody shows.
//!
//! In: an id of the wire. Out: steps. Invariant: the id is read as a node reads it when a client resumes.

use super::Question;
use super::steps::Steps;
use crate::cli::Failure;
use crate::config::EpochPolicy as Configured;
use crate::domain::channel::{Channel, Pattern};
use crate::postgres::diagnosis::{Behind, Entry, behind};
use crate::postgres::identity::{EpochPolicy, Identity};

pub async fn examine(
    question: &Question<'_>,
    id: &str,
    pattern: &Pattern,
    user: Option<&str>,
    steps: &mut Steps,
) -> Result<(), Failure> {
    if id.starts_with("n.") {
        steps.note(
            "event",
            "of a notify-only table: nothing of it is kept, so whose it was cannot be told",
        );
        return Ok(());
    }
    let policy = match question.config.database.epoch_policy {
        Configured::Strict => EpochPolicy::Strict,
        Configured::Trust => EpochPolicy::Trust,
    };
    let identity = Identity::read(question.client, policy).await?;
    let position = match identity.position(id) {
        Ok(position) => position,
        Err(error) => {
            steps.no("event", &format!("is {error}"));
            return Ok(());
        }
    };
    match behind(question.client, &position).await? {
        Behind::Found(entry) => judge(&entry, pattern, user, steps),
        Behind::Pruned => steps.no("event", "is no longer in the log: retention has taken it"),
        Behind::Nothing => steps.no("event", "is not in the log"),
    }
    Ok(())
}

fn judge(entry: &Entry, pattern: &Pattern, user: Option<&str>, steps: &mut Steps) {
    let table = entry.table.as_deref().unwrap_or("rowcast.emit");
    let at = humantime::format_rfc3339_millis(entry.at);
    let channels = entry.channels.join(", ");
    steps.note(
        "log",
        &format!("number {}: {} of {table} at {at}, to {channels}", entry.id, entry.op),
    );
    let covers = |name: &String| Channel::parse(name).is_ok_and(|name| pattern.covers(&name));
    if !entry.channels.iter().any(covers) {
        return steps.no("event", &format!("went to {channels} and not there"));
    }
    match &entry.users {
        None => steps.yes("event", "went there, for everyone who may subscribe"),
        Some(users) if users.iter().any(|name| Some(name.as_str()) == user) => {
            steps.yes("event", "went there, for this user among those it is for");
        }
        Some(users) if users.is_empty() => steps.no("event", "is for nobody: its users are null"),
        Some(users) => steps.no("event", &format!("is for {} only", told(users))),
    }
}

fn told(users: &[String]) -> String {
    match users {
        [one] => format!("user {one}"),
        few if few.len() <= FEW => format!("users {}", few.join(", ")),
        many => format!("{} users, {} among them,", many.len(), many[..FEW].join(", ")),
    }
}

const FEW: usize = 5;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn an_event_is_for_those_on_its_channels_and_among_its_users() {
        let entry = |channels: &[&str], users: Option<&[&str]>| Entry {
            id: 5,
            at: SystemTime::UNIX_EPOCH,
            table: None,
            op: "insert".to_owned(),
            channels: channels.iter().map(|name| (*name).to_owned()).collect(),
            users: users.map(|users| users.iter().map(|id| (*id).to_owned()).collect()),
        };
        for (entry, said) in [
            (entry(&["a", "orders:42"], None), "gets"),
            (entry(&["orders:42"], Some(&["8", "7"])), "gets"),
            (entry(&["orders:43"], None), "went to orders:43 and not there"),
            (entry(&["orders:42"], Some(&["8"])), "is for user 8 only"),
            (entry(&["orders:42"], Some(&[])), "is for nobody"),
        ] {
            let mut steps = Steps::default();
            judge(&entry, &Pattern::parse("orders:42").unwrap(), Some("7"), &mut steps);
            let answer = steps.conclude(Some("7"), "it");
            assert!(answer.sentence.contains(said), "{}", answer.sentence);
        }
    }
}

//! What sends to a channel, and what it sent lately.
//!
//! In: the watches and the newest events of the log. Out: steps. Invariant: where nothing can send, nobody gets
//! anything, whatever they may subscribe to.

use tokio_postgres::Client;

use super::steps::Steps;
use crate::cli::Failure;
use crate::domain::channel::Pattern;
use crate::domain::template::Template;
use crate::postgres::diagnosis::{self, Watched};

/// Tells which watches can reach the channel; how many of them are at work.
pub async fn examine(
    client: &Client,
    pattern: &Pattern,
    steps: &mut Steps,
) -> Result<usize, Failure> {
    let watched = diagnosis::watched(client).await?;
    let mut at_work = 0;
    for watched in watched.iter().filter(|watched| !templates(watched, pattern).is_empty()) {
        let trouble = trouble(watched);
        at_work += usize::from(trouble.is_none());
        let sends = format!("sends to {}", templates(watched, pattern).join(", "));
        let audience = watched.users.as_ref().map(|users| users.join(", "));
        let audience = audience.map(|users| format!(", to the users {users} alone"));
        let trouble = trouble.map(|trouble| format!("; but {trouble}: `rowcast doctor` says more"));
        let told = [Some(sends), audience, trouble].into_iter().flatten().collect::<String>();
        steps.note(&watched.table, &told);
    }
    Ok(at_work)
}

fn templates<'a>(watched: &'a Watched, pattern: &Pattern) -> Vec<&'a str> {
    let reaches = |channel: &&String| Template::new(channel.as_str()).may_reach(pattern);
    watched.channels.iter().filter(reaches).map(String::as_str).collect()
}

/// What keeps a watch from telling its changes.
fn trouble(watched: &Watched) -> Option<String> {
    if watched.is_dropped {
        return Some("the table was dropped".to_owned());
    }
    let silent = |trigger: &&diagnosis::Trigger| !matches!(trigger.enabled, Some('O' | 'A'));
    let silent: Vec<&str> =
        watched.triggers.iter().filter(silent).map(|trigger| trigger.name.as_str()).collect();
    (!silent.is_empty()).then(|| format!("its triggers do not fire: {}", silent.join(", ")))
}

/// The newest events of the channel, and whether anything can come.
pub async fn recent(
    client: &Client,
    pattern: &Pattern,
    user: Option<&str>,
    at_work: usize,
    steps: &mut Steps,
) -> Result<(), Failure> {
    let recent = diagnosis::recent(client, pattern, user).await?;
    let last = recent.last.map(humantime::format_rfc3339_seconds);
    let last = last.map_or_else(String::new, |at| format!(", the last at {at}"));
    let theirs = recent.last_for_user.map(humantime::format_rfc3339_seconds);
    let theirs = theirs.map_or_else(String::new, |at| format!(" (last at {at})"));
    let told = format!(
        "{} of the newest {} events are on it{last}; {} of them for this user{theirs}",
        recent.on_channel, recent.looked_at, recent.for_user
    );
    steps.note("log", &told);
    if at_work == 0 && recent.on_channel == 0 {
        steps.no(
            "sources",
            "are none: no table that is watched sends there, and rowcast.emit did not lately",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::diagnosis::Trigger;

    #[test]
    fn a_watch_whose_trigger_is_silent_is_in_trouble() {
        let name = "rowcast_900_insert".to_owned();
        let silent = |enabled| {
            let trigger = Trigger { name: name.clone(), enabled };
            trouble(&Watched { triggers: vec![trigger], ..Watched::default() }).is_some()
        };
        assert_eq!(
            [Some('O'), Some('A'), Some('D'), Some('R'), None].map(silent),
            [false, false, true, true, true]
        );
        assert!(trouble(&Watched { is_dropped: true, ..Watched::default() }).is_some());
    }
}

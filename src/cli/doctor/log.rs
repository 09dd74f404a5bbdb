//! Is the event log as small and as young as it should be?
//!
//! In: its size and age, and who is at it. Out: checks. Invariant: pure; a daemon's own limits are the measure.

use std::time::Duration;

use tokio_postgres::Client;

use super::check::Check;
use super::database::{unanswered, within};
use crate::config::{Config, LogConfig};
use crate::postgres::diagnosis::{self as ask, Activity, Log};

pub async fn examine(client: &Client, config: &Config) -> Vec<Check> {
    let (log, activity) =
        match (within(ask::log(client)).await, within(ask::activity(client)).await) {
            (Ok(log), Ok(activity)) => (log, activity),
            (Err(why), _) | (_, Err(why)) => return vec![unanswered("log", &why)],
        };
    judge(&log, &activity, &config.log)
}

fn judge(log: &Log, activity: &Activity, limits: &LogConfig) -> Vec<Check> {
    vec![size(log, activity, limits), age(log, activity, limits), astray(log)]
}

fn size(log: &Log, activity: &Activity, limits: &LogConfig) -> Check {
    const NAME: &str = "log size";
    let (bytes, most) = (log.bytes.unsigned_abs(), limits.max_bytes.0);
    let answer = format!("{} of {}", megabytes(bytes), megabytes(most));
    // A slot is left when it has a sixth, and empty partitions take a little.
    if bytes <= most + most / 4 + EMPTY {
        return Check::ok(NAME, answer);
    }
    overdue(NAME, &answer, log, activity, limits)
}

fn age(log: &Log, activity: &Activity, limits: &LogConfig) -> Check {
    const NAME: &str = "log age";
    let keep = limits.keep.as_secs_f64();
    let Some(oldest) = log.oldest else { return Check::ok(NAME, "there is no event in it") };
    let answer = format!("the oldest event is {} old, log.keep is {}", span(oldest), span(keep));
    // A slot is written to for a quarter of the time, and goes as a whole.
    if oldest <= keep * 1.5 + ROUNDS {
        return Check::ok(NAME, answer);
    }
    overdue(NAME, &answer, log, activity, limits)
}

/// Who keeps retention from its work, as far as that can be seen.
fn overdue(name: &str, answer: &str, log: &Log, activity: &Activity, limits: &LogConfig) -> Check {
    let by_hand = format!(
        "select * from rowcast.maintain('{} seconds', {});",
        limits.keep.as_secs(),
        limits.max_bytes.0
    );
    if let Some(pid) = log.readers.first() {
        let answer = format!("{answer}: session {pid} has a lock on the log");
        return Check::warning(name, answer, format!("select pg_terminate_backend({pid});"));
    }
    if activity.daemons.is_empty() {
        let answer = format!("{answer}: no daemon is connected, so nobody takes away what is due");
        return Check::warning(name, answer, by_hand);
    }
    let oldest = activity.transactions.iter().find(|open| open.age.is_none_or(|age| age > ROUNDS));
    match oldest {
        Some(open) => Check::warning(
            name,
            format!("{answer}: it waits for {}", super::sessions::describe(open)),
            super::sessions::end(open),
        ),
        None => Check::warning(name, format!("{answer}: retention does not keep up"), by_hand),
    }
}

fn astray(log: &Log) -> Check {
    const NAME: &str = "log slots";
    if !log.missing_slots.is_empty() {
        let missing = log.missing_slots.join(", ");
        let mend: Vec<String> = log.missing_slots.iter().map(|slot| make_again(slot)).collect();
        let answer = format!("missing: {missing}; events go to the default partition meanwhile");
        return Check::failure(NAME, answer, mend.join("\n"));
    }
    match log.astray {
        0 => Check::ok(NAME, "all twelve are there"),
        count => Check::ok(
            NAME,
            format!(
                "all twelve are there; {count} events of before are in the default partition until they are due"
            ),
        ),
    }
}

/// Behind the events that it would take in, which wait for their end where they are.
fn make_again(slot: &str) -> String {
    let number = slot.trim_start_matches("event_");
    format!(
        "begin; create table rowcast.{slot} (like rowcast.event including defaults including comments); \
         with moved as (delete from rowcast.event_default where slot = {number} returning *) insert into rowcast.{slot} select * from moved; \
         alter table rowcast.{slot} owner to rowcast_owner; \
         alter table rowcast.event attach partition rowcast.{slot} for values in ({number}); commit;"
    )
}

fn megabytes(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} kB", bytes >> 10),
        whole if whole < 10_000 => format!("{whole} MB"),
        whole => format!("{} GB", whole >> 10),
    }
}

/// To the second, or coarser where nobody counts seconds any more.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an age is small and not negative"
)]
pub fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let grain = match whole {
        0..3_600 => 1,
        3_600..86_400 => 60,
        _ => 3_600,
    };
    humantime::format_duration(Duration::from_secs(whole - whole % grain)).to_string()
}

/// A few rounds of retention, and whoever is slow to start.
const ROUNDS: f64 = 300.0;

/// Thirteen partitions with their indexes, and the space that their last events left.
const EMPTY: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::check::State;
    use crate::postgres::diagnosis::{Holder, Transaction};

    fn limits() -> LogConfig {
        LogConfig::default()
    }

    fn alone() -> Activity {
        Activity { daemons: vec!["local".to_owned()], ..Activity::default() }
    }

    #[test]
    fn a_log_within_its_limits_is_fine_and_one_beyond_names_who_is_to_blame() {
        let large = Log { bytes: 6 << 30, ..Log::default() };
        assert_eq!(size(&Log::default(), &alone(), &limits()).state, State::Ok);
        let blame = |log: &Log, activity: &Activity| size(log, activity, &limits());
        let check = blame(&large, &Activity::default());
        assert!(check.answer.contains("no daemon"), "{check:?}");
        assert!(check.mend.unwrap().contains("maintain('86400 seconds', 4294967296)"));
        let open = Transaction {
            holder: Holder::Session(7),
            database: None,
            is_here: true,
            user: Some("app".to_owned()),
            state: Some("idle in transaction".to_owned()),
            age: Some(4_000.0),
            horizon: 9,
            query: None,
        };
        let busy = Activity { transactions: vec![open], ..alone() };
        assert!(blame(&large, &busy).answer.contains("session 7"));
        let read = Log { readers: vec![9], ..large };
        let check = blame(&read, &busy);
        assert_eq!(check.mend.as_deref(), Some("select pg_terminate_backend(9);"));
    }

    #[test]
    fn events_may_be_half_as_old_again_as_is_kept() {
        let old = |days: f64| Log { oldest: Some(days * 86_400.0), ..Log::default() };
        let state = |log: &Log| age(log, &alone(), &limits()).state;
        assert_eq!(state(&Log::default()), State::Ok);
        assert_eq!((state(&old(1.4)), state(&old(2.0))), (State::Ok, State::Warning));
        assert!(age(&old(2.0), &alone(), &limits()).answer.contains("2days"));
    }

    #[test]
    fn spans_and_sizes_are_short() {
        assert_eq!((span(59.9), span(7_322.0)), ("59s".to_owned(), "2h 2m".to_owned()));
        assert_eq!((megabytes(4 << 30), megabytes(900 << 10)), ("4096 MB".into(), "900 kB".into()));
    }
}

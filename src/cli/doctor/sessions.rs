//! Who is at work in the database, and in whose way?
//!
//! In: sessions, prepared transactions, replication slots, the notification queue. Out: checks. Invariant: pure; what
//! the role may not see is said, not guessed.

use std::time::Duration;

use tokio_postgres::Client;

use super::check::Check;
use super::database::{unanswered, within};
use super::log::span;
use crate::postgres::diagnosis::{self as ask, Activity, Holder, Role, Transaction};

pub async fn examine(client: &Client, role: &Role, patience: Duration) -> Vec<Check> {
    match within(ask::activity(client)).await {
        Ok(activity) => judge(&activity, role, patience),
        Err(why) => vec![unanswered("activity", &why)],
    }
}

fn judge(activity: &Activity, role: &Role, patience: Duration) -> Vec<Check> {
    vec![
        daemons(activity),
        queue(activity),
        transactions(activity, role, patience),
        replication(activity),
    ]
}

fn daemons(activity: &Activity) -> Check {
    const NAME: &str = "daemons";
    let mut addresses: Vec<&str> = activity.daemons.iter().map(String::as_str).collect();
    addresses.dedup();
    match activity.daemons.len() {
        0 => Check::ok(NAME, "none is connected"),
        count => Check::ok(NAME, format!("{count} sessions, from {}", addresses.join(", "))),
    }
}

fn queue(activity: &Activity) -> Check {
    const NAME: &str = "notification queue";
    let percent = activity.queue * 100.0;
    if activity.queue < FILLING {
        return Check::ok(NAME, format!("{percent:.1} % full"));
    }
    let holder =
        activity.transactions.iter().find(|open| matches!(open.holder, Holder::Session(_)));
    let (blamed, mend) = match holder {
        Some(open) => (format!("; probably held by {}", describe(open)), end(open)),
        None => (String::new(), WHO_LISTENS.to_owned()),
    };
    let answer = format!("{percent:.1} % full{blamed}");
    if activity.queue < HALF {
        return Check::warning(NAME, answer, mend);
    }
    Check::failure(NAME, format!("{answer}: writers no longer wake the daemon"), mend)
}

fn transactions(activity: &Activity, role: &Role, patience: Duration) -> Check {
    const NAME: &str = "transactions";
    let is_old = |open: &&Transaction| match open.age {
        Some(age) => age > patience.as_secs_f64(),
        None => open.horizon > FAR,
    };
    let hidden = !role.is_superuser && !role.sees_sessions;
    match activity.transactions.iter().find(is_old) {
        Some(open) => {
            let delays = "until it ends, the log cannot shrink behind it";
            Check::warning(NAME, format!("{}: {delays}", describe(open)), end(open))
        }
        None if hidden => Check::ok(
            NAME,
            format!(
                "none is known to be old (grant pg_read_all_stats to {} shows the age of others')",
                role.name
            ),
        ),
        None => Check::ok(NAME, format!("none is older than {}", span(patience.as_secs_f64()))),
    }
}

fn replication(activity: &Activity) -> Check {
    const NAME: &str = "replication slots";
    let stuck = activity.replication.iter().find(|slot| !slot.is_active && slot.horizon > FAR);
    match stuck {
        Some(slot) => Check::warning(
            NAME,
            format!(
                "{} is not in use and holds back vacuum by {} transactions",
                slot.name, slot.horizon
            ),
            format!("start its reader, or: select pg_drop_replication_slot('{}');", slot.name),
        ),
        None => Check::ok(NAME, "none holds anything back"),
    }
}

/// Such as: session 7 of app in shop, idle in transaction for 12m, last: update t …
pub fn describe(open: &Transaction) -> String {
    let mut words = match &open.holder {
        Holder::Session(pid) => format!("session {pid}"),
        Holder::Prepared(name) => format!("the prepared transaction {name:?}"),
    };
    for (before, word) in [(" of ", &open.user), (" in ", &open.database), (", ", &open.state)] {
        if let Some(word) = word.as_ref().filter(|word| *word != "prepared") {
            words = format!("{words}{before}{word}");
        }
    }
    words = match open.age {
        Some(age) => format!("{words}, open for {}", span(age)),
        None => format!("{words}, open for {} transactions", open.horizon),
    };
    match open.query.as_deref().filter(|query| !query.is_empty() && open.age.is_some()) {
        Some(query) => {
            format!("{words}, last: {}", query.split_whitespace().collect::<Vec<_>>().join(" "))
        }
        None => words,
    }
}

pub fn end(open: &Transaction) -> String {
    match &open.holder {
        Holder::Session(pid) => format!("select pg_terminate_backend({pid});"),
        Holder::Prepared(name) => format!("rollback prepared '{}';", name.replace('\'', "''")),
    }
}

/// An hour of a busy database; a session whose state is hidden has at least its horizon.
const FAR: i64 = 1_000_000;

/// Listeners read the queue as it comes; so much in it means that one does not.
const FILLING: f64 = 0.01;

/// From here on no trigger notifies.
const HALF: f64 = 0.5;

const WHO_LISTENS: &str = "look for a session that listens and stays in a transaction: \
    select pid, datname, usename, state, xact_start from pg_stat_activity order by xact_start;";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::check::State;
    use crate::postgres::diagnosis::Replication;

    fn open(age: Option<f64>, horizon: i64) -> Activity {
        let transaction = Transaction {
            holder: Holder::Session(7),
            database: Some("shop".to_owned()),
            is_here: true,
            user: Some("app".to_owned()),
            state: Some("idle in transaction".to_owned()),
            age,
            horizon,
            query: Some("update  t\n set a".to_owned()),
        };
        Activity { transactions: vec![transaction], ..Activity::default() }
    }

    #[test]
    fn an_old_transaction_is_told_with_who_has_it() {
        let patience = Duration::from_secs(300);
        let judged = |activity: &Activity| transactions(activity, &Role::default(), patience);
        for (activity, state) in [
            (Activity::default(), State::Ok),
            (open(Some(299.0), 9_000_000), State::Ok),
            (open(Some(301.0), 0), State::Warning),
            (open(None, 10), State::Ok),
            (open(None, 9_000_000), State::Warning),
        ] {
            assert_eq!(judged(&activity).state, state, "{activity:?}");
        }
        let check = judged(&open(Some(720.0), 0));
        let told =
            "session 7 of app in shop, idle in transaction, open for 12m, last: update t set a";
        assert!(check.answer.starts_with(told), "{check:?}");
        assert_eq!(check.mend.as_deref(), Some("select pg_terminate_backend(7);"));
        let mut prepared = open(Some(720.0), 0);
        prepared.transactions[0].holder = Holder::Prepared("it's".to_owned());
        assert_eq!(judged(&prepared).mend.as_deref(), Some("rollback prepared 'it''s';"));
    }

    #[test]
    fn a_queue_that_fills_is_told_before_writers_feel_it() {
        for (full, state) in [(0.0, State::Ok), (0.02, State::Warning), (0.6, State::Failure)] {
            let check = queue(&Activity { queue: full, ..open(Some(1.0), 0) });
            assert_eq!((check.state, check.answer.contains("session 7")), (state, full > 0.0));
        }
    }

    #[test]
    fn a_slot_that_nobody_reads_is_told_once_it_is_far_behind() {
        let slot = |is_active, horizon| {
            let slot = Replication { name: "s".to_owned(), is_active, horizon };
            replication(&Activity { replication: vec![slot], ..Activity::default() }).state
        };
        assert_eq!(slot(true, 9_000_000), State::Ok);
        assert_eq!((slot(false, 5), slot(false, 9_000_000)), (State::Ok, State::Warning));
    }
}

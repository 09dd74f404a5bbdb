//! Holds what clients got against what was committed. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// What makes an event the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    pub table: String,
    pub op: String,
    pub key: i64,
    /// The database's clock when it was captured, as the protocol writes it.
    pub at: String,
}

/// A row of the log.
#[derive(Clone, Debug)]
pub struct Committed {
    pub identity: Identity,
    pub channels: Vec<String>,
    pub users: Option<Vec<String>>,
}

/// What came on one subscription, in order.
#[derive(Clone, Debug)]
pub enum Received {
    Event { identity: Identity, version: Option<i64> },
    Reset { reason: String, at: String },
}

/// One subscription of one client, through all its connections.
#[derive(Clone, Debug)]
pub struct Account {
    pub client: String,
    pub user: String,
    /// A channel, or `prefix:*`.
    pub pattern: String,
    pub received: Vec<Received>,
}

/// Every violation, as a sentence.
pub fn check(log: &[Committed], accounts: &[Account]) -> Vec<String> {
    let known: BTreeMap<_, _> = log.iter().map(|row| (&row.identity, row)).collect();
    accounts.iter().flat_map(|account| check_account(log, &known, account)).collect()
}

/// How many events of the log an account still lacks.
pub fn lacks(log: &[Committed], account: &Account) -> usize {
    missing(log, account).count()
}

fn check_account(
    log: &[Committed],
    known: &BTreeMap<&Identity, &Committed>,
    account: &Account,
) -> Vec<String> {
    let who = format!("{} on {}", account.client, account.pattern);
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut newest: BTreeMap<(&str, i64), i64> = BTreeMap::new();
    for received in &account.received {
        let Received::Event { identity, version } = received else { continue };
        match known.get(identity) {
            None => found.push(format!("L4 {who}: never committed: {identity:?}")),
            Some(row) if !is_for(row, &account.user) => {
                found.push(format!("L5 {who}: for other users: {identity:?}"));
            }
            Some(_) => {}
        }
        if !seen.insert(identity) {
            found.push(format!("L2 {who}: twice: {identity:?}"));
        }
        if let Some(version) = *version {
            let before = newest.insert((&identity.table, identity.key), version);
            if before.is_some_and(|before| before >= version) {
                found.push(format!("L3 {who}: after version {before:?}: {identity:?} {version}"));
            }
        }
    }
    let lost = missing(log, account).map(|row| format!("L1 {who}: lost: {:?}", row.identity));
    found.extend(lost);
    found
}

/// What it was entitled to and did not get, but for what a later `reset` owned up to.
fn missing<'a>(log: &'a [Committed], account: &Account) -> impl Iterator<Item = &'a Committed> {
    let mut seen = BTreeSet::new();
    let mut owned_up_to = String::new();
    for received in &account.received {
        match received {
            Received::Event { identity, .. } => {
                seen.insert(identity.clone());
            }
            Received::Reset { at, .. } => owned_up_to.clone_from(at),
        }
    }
    let (user, pattern) = (account.user.clone(), account.pattern.clone());
    log.iter().filter(move |row| {
        is_for(row, &user)
            && row.channels.iter().any(|channel| covers(&pattern, channel))
            && !seen.contains(&row.identity)
            && row.identity.at > owned_up_to
    })
}

fn is_for(row: &Committed, user: &str) -> bool {
    row.users.as_ref().is_none_or(|users| users.iter().any(|other| other == user))
}

fn covers(pattern: &str, channel: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => channel.starts_with(prefix),
        None => pattern == channel,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(key: i64, at: &str) -> Identity {
        Identity { table: "t".into(), op: "update".into(), key, at: at.into() }
    }

    fn committed(key: i64, at: &str, users: Option<&str>) -> Committed {
        let users = users.map(|user| vec![user.to_owned()]);
        let channels = vec!["items".to_owned(), format!("item:{key}")];
        Committed { identity: identity(key, at), channels, users }
    }

    fn event(key: i64, at: &str, version: i64) -> Received {
        Received::Event { identity: identity(key, at), version: Some(version) }
    }

    fn violations(log: &[Committed], received: Vec<Received>) -> Vec<String> {
        let (client, user, pattern) = ("c".into(), "ana".into(), "item:*".into());
        let found = check(log, &[Account { client, user, pattern, received }]);
        found.iter().map(|sentence| sentence[..2].to_owned()).collect()
    }

    #[test]
    fn a_clean_ledger_is_clean_and_each_lie_is_found() {
        let log = [committed(1, "a", None), committed(2, "b", None), committed(1, "c", None)];
        let all = vec![event(1, "a", 1), event(2, "b", 1), event(1, "c", 2)];
        assert!(violations(&log, all.clone()).is_empty());
        assert_eq!(violations(&log, all[1..].to_vec()), ["L1"]);
        assert_eq!(violations(&log, [&all[..], &all[1..2]].concat()), ["L2", "L3"]);
        let turned = vec![event(1, "c", 2), event(2, "b", 1), event(1, "a", 1)];
        assert_eq!(violations(&log, turned), ["L3"]);
        assert_eq!(violations(&log, [&all[..], &[event(3, "d", 1)]].concat()), ["L4"]);
        let secret = [committed(1, "a", Some("ben"))];
        assert_eq!(violations(&secret, vec![event(1, "a", 1)]), ["L5"]);
        assert!(violations(&secret, vec![]).is_empty());
    }

    #[test]
    fn a_reset_owns_up_to_what_came_before_it_and_to_nothing_after() {
        let log = [committed(1, "a", None), committed(1, "b", None), committed(1, "c", None)];
        let reset = Received::Reset { reason: "pruned".into(), at: "bb".into() };
        assert!(violations(&log, vec![reset.clone(), event(1, "c", 3)]).is_empty());
        assert_eq!(violations(&log, vec![event(1, "a", 1), reset]), ["L1"]);
    }
}

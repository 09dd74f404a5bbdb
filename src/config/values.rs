//! The values of a configuration side by side with those of another one.
//!
//! In: two configurations. Out: the keys that differ. Invariant: what is secret is compared, and never shown.

use std::collections::BTreeMap;

use super::{Config, Setting, Table, Visitor};

/// The keys whose values differ and that a reload does not apply.
pub fn need_restart(old: &Config, new: &Config) -> Vec<String> {
    let (before, after) = (Values::of(old), Values::of(new));
    let secret = old.database.url != new.database.url
        || old.database.listen_url() != new.database.listen_url();
    let differing = after.0.iter().filter(|(key, value)| before.0.get(*key) != Some(value));
    let mut keys: Vec<String> = differing.map(|(key, _)| key.clone()).collect();
    keys.retain(|key| !RELOADED.iter().any(|part| key.starts_with(part)));
    if secret && !keys.iter().any(|key| key.starts_with("database.")) {
        keys.push("database.url".to_owned());
    }
    keys
}

/// Sections and keys that a reload applies.
const RELOADED: [&str; 8] = [
    "auth.",
    "key",
    "policy",
    "server.allowed_origins",
    "server.trusted_proxies",
    "server.proxy_protocol",
    "limits.",
    "telemetry.log_filter",
];

/// Every key and its value as text; a list of tables is one key with its length.
#[derive(Default)]
pub(super) struct Values(pub(super) BTreeMap<String, String>, &'static str);

impl Values {
    pub(super) fn of(config: &Config) -> Self {
        let mut values = Self::default();
        config.clone().visit(&mut values);
        values
    }
}

impl Visitor for Values {
    fn section(&mut self, name: &'static str, _about: &'static str) {
        self.1 = name;
    }

    fn field(&mut self, key: &'static str, _about: &'static str, value: &mut dyn Setting) {
        self.0.insert(format!("{}.{key}", self.1), value.show());
    }

    fn tables<T: Table>(&mut self, name: &'static str, _about: &'static str, rows: &mut Vec<T>) {
        self.0.insert(name.to_owned(), rows.len().to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reload_applies_needs_no_restart_and_the_rest_is_named() {
        let (old, mut new) = (Config::default(), Config::default());
        assert_eq!(need_restart(&old, &new), Vec::<String>::new());
        new.limits.messages_per_minute += 1;
        new.auth.anonymous = true;
        assert_eq!(need_restart(&old, &new), Vec::<String>::new());
        new.server.shards += 1;
        new.database.pool_size += 1;
        assert_eq!(need_restart(&old, &new), ["database.pool_size", "server.shards"]);
    }

    #[test]
    fn every_key_that_is_reloaded_is_one() {
        let keys = Values::of(&Config::default()).0;
        for part in RELOADED {
            assert!(keys.keys().any(|key| key.starts_with(part)), "{part}");
        }
    }
}

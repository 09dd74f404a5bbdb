//! Keys that are documented and do nothing yet. Finishing a feature deletes its line here.
//!
//! In: a filled [`Config`]. Out: a fault where ignoring the key would open a door or lose data, else a
//! warning. Invariant: a key that is left at its default is not mentioned.

use std::collections::BTreeMap;

use super::reader::Findings;
use super::{Config, Setting, Table, Visitor};

const REFUSED: &[&str] = &["bridge", "cluster.redis_url"];

const IGNORED: &[&str] = &["presence.heartbeat", "presence.timeout"];

pub(super) fn check(config: &Config, findings: &mut Findings) {
    let (given, default) = (Values::of(config), Values::of(&Config::default()));
    let changed = |key: &&&str| given.0.get(**key) != default.0.get(**key);
    for key in REFUSED.iter().filter(changed) {
        findings.fault(key, "is not built yet: leave it out");
    }
    for key in IGNORED.iter().filter(changed) {
        findings.warn(key, "is not built yet and has no effect");
    }
}

/// Every key and its value as text; a list of tables is one key with its length.
#[derive(Default)]
struct Values(BTreeMap<String, String>, &'static str);

impl Values {
    fn of(config: &Config) -> Self {
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
    fn every_line_names_a_key() {
        let keys = Values::of(&Config::default()).0;
        for key in REFUSED.iter().chain(IGNORED) {
            assert!(keys.contains_key(*key), "{key} is no key");
        }
    }
}

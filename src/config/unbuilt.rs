//! Keys that are documented and do nothing yet. Finishing a feature deletes its line here.
//!
//! In: a filled [`Config`]. Out: a fault where ignoring the key would open a door or lose data, else a
//! warning. Invariant: a key that is left at its default is not mentioned.

use super::Config;
use super::reader::Findings;
use super::values::Values;

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

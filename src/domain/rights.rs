//! When rights have changed, and whose.
//!
//! In: changes, in their order. Out: whether what was judged at some version still stands. Invariant: what is no longer
//! remembered counts as changed.

use std::collections::VecDeque;

/// Numbers the changes; what was judged carries the version at which the question was asked.
pub type Version = u64;

/// Who may have gained or lost a right.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    Everyone,
    User(Box<str>),
}

impl Whose {
    pub fn is(&self, user: Option<&str>) -> bool {
        match self {
            Self::Everyone => true,
            Self::User(name) => user == Some(name),
        }
    }
}

/// The newest changes.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    version: Version,
    /// The last of them is `version`; their numbers have no gaps.
    recent: VecDeque<Whose>,
}

impl Changes {
    pub const fn version(&self) -> Version {
        self.version
    }

    pub fn note(&mut self, whose: Whose) -> Version {
        self.version += 1;
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(whose);
        self.version
    }

    /// Whether this user's rights may have changed since a version.
    pub fn concern(&self, user: Option<&str>, since: Version) -> bool {
        let newer = usize::try_from(self.version.saturating_sub(since)).unwrap_or(usize::MAX);
        newer > self.recent.len()
            || self.recent.iter().rev().take(newer).any(|whose| whose.is(user))
    }
}

const REMEMBERED: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Whose {
        Whose::User(name.into())
    }

    #[test]
    fn a_change_concerns_whom_it_names_and_those_judged_before_it() {
        let mut changes = Changes::default();
        assert!(!changes.concern(Some("7"), 0));
        changes.note(user("7"));
        changes.note(user("8"));
        assert!(changes.concern(Some("7"), 0));
        assert!(!changes.concern(Some("7"), 1));
        assert!(changes.concern(Some("8"), 1));
        assert!(!changes.concern(None, 0));
        changes.note(Whose::Everyone);
        assert!(changes.concern(None, 2) && changes.concern(Some("9"), 2));
        assert!(!changes.concern(Some("9"), 3));
    }

    #[test]
    fn what_is_forgotten_concerns_everybody() {
        let mut changes = Changes::default();
        for _ in 0..=REMEMBERED {
            changes.note(user("7"));
        }
        assert!(changes.concern(Some("8"), 0));
        assert!(!changes.concern(Some("8"), 1));
    }
}

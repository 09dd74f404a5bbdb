//! How often somebody was refused something, and what.
//!
//! In: one call for each refusal, from whoever refuses. Out: a figure for each kind. Invariant: counting costs one
//! addition and no lock, since those who are refused may be many.

use prometheus::{IntCounter, IntCounterVec};

/// What was refused: a limit that was reached, or a right that somebody does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A connection over `limits.connections`, or one for which there was no file descriptor.
    Connections,
    ConnectionsPerAddress,
    ConnectionsPerUser,
    /// A connection over `limits.connect_attempts_per_minute`.
    Attempts,
    Messages,
    Subscriptions,
    MessageBytes,
    QueueBytes,
    Credential,
    Origin,
    Forbidden,
}

impl Refused {
    pub const ALL: [Self; 11] = [
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::ConnectionsPerUser,
        Self::Attempts,
        Self::Messages,
        Self::Subscriptions,
        Self::MessageBytes,
        Self::QueueBytes,
        Self::Credential,
        Self::Origin,
        Self::Forbidden,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::ConnectionsPerUser => "connections_per_user",
            Self::Attempts => "attempts",
            Self::Messages => "messages",
            Self::Subscriptions => "subscriptions",
            Self::MessageBytes => "message_bytes",
            Self::QueueBytes => "queue_bytes",
            Self::Credential => "credential",
            Self::Origin => "origin",
            Self::Forbidden => "forbidden",
        }
    }
}

/// Since the daemon started.
#[derive(Debug)]
pub(super) struct Refusals([IntCounter; Refused::ALL.len()]);

impl Refusals {
    /// Each kind is a label of the metric.
    pub(super) fn of_counters(counters: &IntCounterVec) -> Self {
        Self(Refused::ALL.map(|refused| counters.with_label_values(&[refused.name()])))
    }

    pub fn count(&self, refused: Refused) {
        self.0[refused as usize].inc();
    }

    pub fn of(&self, refused: Refused) -> u64 {
        self.0[refused as usize].get()
    }
}

#[cfg(test)]
mod tests {
    use super::super::notice::Notice;
    use super::*;

    #[test]
    fn each_kind_has_a_place_and_a_name_of_its_own() {
        let observer = super::super::metrics::Observer::default();
        for (times, refused) in (1_u64..).zip(Refused::ALL) {
            (0..times).for_each(|_| observer.note(&Notice::Refused(refused)));
        }
        let counts: Vec<u64> = Refused::ALL.map(|refused| observer.refused(refused)).into();
        assert_eq!(counts, (1..=11).collect::<Vec<u64>>());
        let names: std::collections::HashSet<_> = Refused::ALL.map(Refused::name).into();
        assert_eq!(names.len(), Refused::ALL.len());
    }
}

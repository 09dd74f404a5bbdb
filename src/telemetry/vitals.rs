//! What the hub says of itself when it is asked, for `systemctl status` and for Prometheus.

use std::time::Duration;

/// What the hub says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    pub clients: usize,
    /// How long ago an event last came.
    pub last_event: Option<Duration>,
    pub subscriptions: usize,
    /// Bytes that wait for sockets.
    pub queued_bytes: usize,
    /// Sockets that take no more for now.
    pub blocked: usize,
    pub catching_up: usize,
}

impl Vitals {
    /// Of two shards together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            clients: self.clients + other.clients,
            last_event: self.last_event.into_iter().chain(other.last_event).min(),
            subscriptions: self.subscriptions + other.subscriptions,
            queued_bytes: self.queued_bytes + other.queued_bytes,
            blocked: self.blocked + other.blocked,
            catching_up: self.catching_up + other.catching_up,
        }
    }
}

//! `[limits]`: what one client, user or address may take.

use super::bounded::{Count, Size};
use super::{ByteSize, Visitor};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    pub connections: usize,
    pub connections_per_address: usize,
    pub connections_per_user: usize,
    pub connect_attempts_per_minute: u32,
    pub messages_per_minute: u32,
    pub subscriptions_per_connection: usize,
    pub message_bytes: ByteSize,
    pub queue_bytes_per_connection: ByteSize,
}

impl LimitsConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.section("limits", "What one client, user or address may take.");
        visitor.field("connections", CONNECTIONS, &mut Count(&mut self.connections, 1..=MANY));
        let per_address = &mut Count(&mut self.connections_per_address, 1..=MANY);
        visitor.field("connections_per_address", PER_ADDRESS, per_address);
        let per_user = &mut Count(&mut self.connections_per_user, 1..=MANY);
        visitor.field("connections_per_user", PER_USER, per_user);
        let attempts = &mut Count(&mut self.connect_attempts_per_minute, 1..=1_000_000);
        visitor.field("connect_attempts_per_minute", ATTEMPTS, attempts);
        let messages = &mut Count(&mut self.messages_per_minute, 1..=1_000_000);
        visitor.field("messages_per_minute", MESSAGES, messages);
        let subscriptions = &mut Count(&mut self.subscriptions_per_connection, 1..=100_000);
        visitor.field("subscriptions_per_connection", SUBSCRIPTIONS, subscriptions);
        let message = &mut Size(&mut self.message_bytes, ByteSize(1 << 10)..=ByteSize(16 << 20));
        visitor.field("message_bytes", MESSAGE_BYTES, message);
        let queue_range = ByteSize(16 << 10)..=ByteSize(1 << 30);
        let queue = &mut Size(&mut self.queue_bytes_per_connection, queue_range);
        visitor.field("queue_bytes_per_connection", QUEUE_BYTES, queue);
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: 100_000,
            connections_per_address: 1_000,
            connections_per_user: 50,
            connect_attempts_per_minute: 120,
            messages_per_minute: 100,
            subscriptions_per_connection: 200,
            message_bytes: ByteSize(64 << 10),
            queue_bytes_per_connection: ByteSize(1 << 20),
        }
    }
}

/// More sockets than the kernel gives one process by default (`fs.nr_open`).
const MANY: usize = 10_000_000;

const CONNECTIONS: &str =
    "Open connections in all; fewer where the limit of file descriptors is too low.";
const PER_ADDRESS: &str = "Open connections from one address or IPv6 /64. Where listen is on the loopback and \
     trusted_proxies is empty, addresses have no limits.";
const PER_USER: &str = "Open connections of one user, on this node.";
const ATTEMPTS: &str =
    "Attempts to connect in a minute, from one address; behind a trusted proxy, requests.";
const MESSAGES: &str = "Messages in a minute that one user may send.";
const SUBSCRIPTIONS: &str = "Channels that one connection may subscribe to.";
const MESSAGE_BYTES: &str = "The largest message a client may send.";
const QUEUE_BYTES: &str = "What may wait for a slow client before its queue is dropped.";

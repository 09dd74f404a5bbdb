//! `[presence]`: when somebody counts as there.

use std::time::Duration;

use super::Visitor;
use super::bounded::Time;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceConfig {
    pub heartbeat: Duration,
    pub timeout: Duration,
}

impl PresenceConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.section("presence", "When somebody counts as there.");
        let range = Duration::from_secs(1)..=Duration::from_secs(3_600);
        visitor.field("heartbeat", HEARTBEAT, &mut Time(&mut self.heartbeat, range.clone()));
        visitor.field("timeout", TIMEOUT, &mut Time(&mut self.timeout, range));
    }
}

impl Default for PresenceConfig {
    fn default() -> Self {
        Self { heartbeat: Duration::from_secs(30), timeout: Duration::from_secs(60) }
    }
}

const HEARTBEAT: &str = "How often a node says who is connected to it.";
const TIMEOUT: &str = "Who was not heard of for this long has left.";

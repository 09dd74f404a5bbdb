//! `[log]`: how much of the event log is kept for clients that come back.

use std::time::Duration;

use super::bounded::{Size, Time};
use super::{ByteSize, Visitor};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub keep: Duration,
    pub max_bytes: ByteSize,
}

impl LogConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.section("log", "The event log in the database; what ends first, ends it.");
        let keep = Duration::from_secs(60)..=Duration::from_secs(3_650 * 86_400);
        visitor.field("keep", KEEP, &mut Time(&mut self.keep, keep));
        let bytes = ByteSize(1 << 20)..=ByteSize(1 << 50);
        visitor.field("max_bytes", MAX_BYTES, &mut Size(&mut self.max_bytes, bytes));
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { keep: Duration::from_secs(86_400), max_bytes: ByteSize(4 << 30) }
    }
}

const KEEP: &str = "How long events are kept.";
const MAX_BYTES: &str = "How large the log may grow.";

//! `[cluster]`: what several nodes share beside the database.

use super::Visitor;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterConfig {
    pub redis_url: Option<String>,
}

impl ClusterConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.section("cluster", "What several nodes share beside the database.");
        visitor.field("redis_url", REDIS_URL, &mut self.redis_url);
    }
}

const REDIS_URL: &str =
    "A Redis that carries batches between nodes; empty: every node listens itself.";

//! What a page of `docs/` says, taken apart.

#![allow(dead_code, reason = "not every test needs every part")]

use std::path::Path;

pub struct Document(String);

impl Document {
    pub fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
        Self(std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}")))
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// Each block of code: what stands behind its fence, and its text.
    pub fn blocks(&self) -> Vec<(&str, &str)> {
        let blocks = self.0.split("\n```").skip(1).step_by(2);
        blocks.map(|block| block.split_once('\n').expect("a fence ends its line")).collect()
    }

    /// What stands below a heading, up to the next one of its rank or above.
    pub fn section(&self, heading: &str) -> &str {
        let rank = heading.split(' ').next().unwrap_or_default();
        let start = self.0.find(&format!("\n{heading}")).expect("the heading is there") + 1;
        let rest = &self.0[start..];
        let ranks = (1..=rank.len()).map(|rank| format!("\n{} ", "#".repeat(rank)));
        let end = ranks.filter_map(|heading| rest.find(&heading)).min();
        &rest[..end.unwrap_or(rest.len())]
    }

    /// The program with this name, such as `js rowcast.js`.
    pub fn program(&self, name: &str) -> &str {
        let found = self.blocks().into_iter().find(|(fence, _)| fence.ends_with(name));
        found.unwrap_or_else(|| panic!("{name} is not on the page")).1
    }
}

//! What a page of `docs/` says, taken apart.

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

    /// The program with this name, such as `js rowcast.js`.
    pub fn program(&self, name: &str) -> &str {
        let found = self.blocks().into_iter().find(|(fence, _)| fence.ends_with(name));
        found.unwrap_or_else(|| panic!("{name} is not on the page")).1
    }
}

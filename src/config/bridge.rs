//! `[[bridge]]`: NOTIFY channels that the application already uses.

use super::{Table, Visitor};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeConfig {
    pub notify: String,
    pub channel: String,
}

impl Table for BridgeConfig {
    fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.field("notify", NOTIFY, &mut self.notify);
        visitor.field("channel", CHANNEL, &mut self.channel);
    }

    fn sample() -> Self {
        Self { notify: "chat".to_owned(), channel: "chat:{room}".to_owned() }
    }
}

pub(super) const ABOUT: &str = "NOTIFY channels that the application already uses, one table each.";

const NOTIFY: &str = "The NOTIFY channel in the database.";
const CHANNEL: &str =
    "Where its payloads go: a fixed name, or with {fields} of the payload's JSON.";

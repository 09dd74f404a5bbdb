//! `[[policy]]`: who may do what on which channels. What it means is decided in `domain::policy`.

use serde_json::{Map, Value, json};

use super::reader::Findings;
use super::{Table, Visitor};
use crate::domain::policy::{Policies, RawPolicy};

impl Table for RawPolicy {
    fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.field("channel", CHANNEL, &mut self.channel);
        visitor.field("allow", ALLOW, &mut self.allow);
        visitor.field("when", WHEN, &mut self.when);
    }

    fn sample() -> Self {
        Self {
            channel: "orders:{org_id}:*".to_owned(),
            allow: ["subscribe", "broadcast", "presence"].map(str::to_owned).to_vec(),
            when: Map::from_iter([("role".to_owned(), json!(["staff", "admin"]))]),
        }
    }
}

/// What the tables mean, with `role` standing for the claim that is configured to hold it.
pub(super) fn resolve(rows: &[RawPolicy], role_claim: &str, findings: &mut Findings) -> Policies {
    let rows =
        rows.iter().cloned().map(|row| RawPolicy { when: named(row.when, role_claim), ..row });
    Policies::parse(rows.collect()).unwrap_or_else(|faults| {
        for fault in faults {
            findings.fault(&format!("policy[{}].{}", fault.index + 1, fault.field), fault.message);
        }
        Policies::default()
    })
}

fn named(when: Map<String, Value>, role_claim: &str) -> Map<String, Value> {
    let name = |key: String| if key == "role" { role_claim.to_owned() } else { key };
    when.into_iter().map(|(key, value)| (name(key), value)).collect()
}

pub(super) const ABOUT: &str = "\
Who may do what: the first table whose channel and when match decides; no match is a refusal.
In a channel {claim} is the token's claim, a final * every channel below, an inner * one segment.";

const CHANNEL: &str = "\"*\" alone is every channel but user:…";
const ALLOW: &str = "Any of subscribe, broadcast, presence.";
const WHEN: &str = "Claims, and the value each must have, or a list of such; may be left out.";

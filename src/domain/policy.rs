//! Who may do what on which channels.
//!
//! In: the `[[policy]]` tables, a [`Principal`], a [`Pattern`] and an [`Action`]. Out: a [`Grant`] or the
//! one [`Denial`]. Invariant: a pattern is granted only if each channel it covers would be granted, and
//! a claim's value never widens anything: it stands for a part of one segment.
//!
//! The first policy whose channel and `when` match decides, for every action: an action that it does not
//! list is refused, even where a later policy has it.

use serde_json::{Map, Value};

use super::channel::Pattern;
use super::principal::Principal;

mod template;

use template::Template;
pub use template::TemplateError;

/// A policy as it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawPolicy {
    pub channel: String,
    pub allow: Vec<String>,
    /// Claims by dotted path, each with the value or the list of values that match.
    pub when: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Subscribe,
    Broadcast,
    Presence,
}

impl Action {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Broadcast => "broadcast",
            Self::Presence => "presence",
        }
    }
}

/// A yes, and the policy that said it; the user's own channel needs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub policy: Option<usize>,
}

/// A no. It is always the same, so that nobody learns which channels exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("forbidden")]
pub struct Denial;

/// What a session is told of either, or that nobody could say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    Forbidden,
    Undecided,
}

impl From<Result<Grant, Denial>> for Verdict {
    fn from(decision: Result<Grant, Denial>) -> Self {
        if decision.is_ok() { Self::Allowed } else { Self::Forbidden }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy {}: {field} {message}", index + 1)]
pub struct PolicyFault {
    pub index: usize,
    pub field: &'static str,
    pub message: String,
}

/// The policies in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policies(Vec<Policy>);

#[derive(Clone, Debug, PartialEq)]
struct Policy {
    template: Template,
    allow: Vec<Action>,
    when: Vec<(String, Vec<Value>)>,
}

impl Policies {
    pub fn parse(raw: Vec<RawPolicy>) -> Result<Self, Vec<PolicyFault>> {
        let mut faults = Vec::new();
        let policies = raw
            .into_iter()
            .enumerate()
            .filter_map(|(index, raw)| Policy::parse(raw, index, &mut faults))
            .collect();
        if faults.is_empty() { Ok(Self(policies)) } else { Err(faults) }
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn decide(
        &self,
        principal: &Principal,
        pattern: &Pattern,
        action: Action,
    ) -> Result<Grant, Denial> {
        if pattern.is_reserved() {
            return Err(Denial);
        }
        if action == Action::Subscribe && is_own_channel(principal, pattern) {
            return Ok(Grant { policy: None });
        }
        self.first_match(principal, pattern, action)
    }

    fn first_match(
        &self,
        principal: &Principal,
        pattern: &Pattern,
        action: Action,
    ) -> Result<Grant, Denial> {
        for (index, policy) in self.0.iter().enumerate() {
            if !policy.applies_to(principal) {
                continue;
            }
            let allowed = policy.allow.contains(&action);
            if policy.template.covers(pattern, principal) {
                return if allowed { Ok(Grant { policy: Some(index) }) } else { Err(Denial) };
            }
            // A policy that refuses some channels of a wildcard must not be got round by the wildcard.
            if !allowed && policy.template.touches(pattern, principal) {
                return Err(Denial);
            }
        }
        Err(Denial)
    }
}

impl Policy {
    fn parse(raw: RawPolicy, index: usize, faults: &mut Vec<PolicyFault>) -> Option<Self> {
        let mut fault = |field, message| faults.push(PolicyFault { index, field, message });
        let template = Template::parse(&raw.channel).map_err(|e| fault("channel", e.to_string()));
        let allow: Result<Vec<Action>, String> =
            raw.allow.iter().map(|name| action(name)).collect();
        let allow = allow.map_err(|message| fault("allow", message));
        let when: Result<Vec<_>, String> = raw.when.into_iter().map(condition).collect();
        let when = when.map_err(|message| fault("when", message));
        Some(Self { template: template.ok()?, allow: allow.ok()?, when: when.ok()? })
    }

    /// An anonymous principal has no claims, and a policy that asks for some is not meant for it.
    fn applies_to(&self, principal: &Principal) -> bool {
        if principal.user.is_none() && (self.template.has_claims() || !self.when.is_empty()) {
            return false;
        }
        self.when.iter().all(|(claim, wanted)| match principal.claim(claim) {
            Some(Value::Array(members)) => members.iter().any(|member| wanted.contains(member)),
            Some(value) => wanted.contains(value),
            None => false,
        })
    }
}

fn is_own_channel(principal: &Principal, pattern: &Pattern) -> bool {
    match (&principal.user, pattern) {
        (Some(user), Pattern::Exact(channel)) => {
            channel.as_str().strip_prefix("user:") == Some(user.as_ref())
        }
        _ => false,
    }
}

fn action(name: &str) -> Result<Action, String> {
    match name {
        "subscribe" => Ok(Action::Subscribe),
        "broadcast" => Ok(Action::Broadcast),
        "presence" => Ok(Action::Presence),
        _ => Err(format!("holds {name:?}; known are subscribe, broadcast and presence")),
    }
}

fn condition((claim, wanted): (String, Value)) -> Result<(String, Vec<Value>), String> {
    let wanted = match wanted {
        Value::Array(values) => values,
        value => vec![value],
    };
    if wanted.is_empty() || wanted.iter().any(|value| value.is_array() || value.is_object()) {
        return Err(format!("needs a value or a list of values for {claim:?}"));
    }
    Ok((claim, wanted))
}

#[cfg(test)]
mod tests;

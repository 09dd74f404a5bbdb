//! The channel of a policy: names with `{claim}` holes and `*`.
//!
//! In: text such as `orders:{org_id}:*`. Out: whether it covers a pattern for a principal, wholly or in
//! part. Invariant: a channel below `user:` is covered only by a template that says `user:` itself.

use std::borrow::Cow;

use serde_json::Value;

use crate::domain::channel::{self, Channel, Pattern, is_segment, is_segment_byte};
use crate::domain::principal::Principal;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    segments: Vec<Segment>,
    /// A final `*`: one segment or more behind the others.
    open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// An inner `*`.
    Any,
    Parts(Vec<Part>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The value of the claim at this path.
    Claim(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("has 1 to {} bytes", channel::MAX_BYTES)]
    Length,
    #[error(
        "is made of segments of A-Z a-z 0-9 _ - . @ and {{claim}} joined by ':', or a segment is * alone, \
         as in orders:{{org_id}}:*"
    )]
    Segment,
    #[error("has a {{claim}} without a name, or a brace without its partner")]
    Brace,
    #[error("begins with rowcast: such channels belong to the service and nobody gets them")]
    Reserved,
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if !(1..=channel::MAX_BYTES).contains(&text.len()) {
            return Err(TemplateError::Length);
        }
        let (closed, open) = match text.strip_suffix('*') {
            Some("") => return Ok(Self { segments: Vec::new(), open: true }),
            Some(before) => (before.strip_suffix(':').ok_or(TemplateError::Segment)?, true),
            None => (text, false),
        };
        let segments = closed.split(':').map(Segment::parse).collect::<Result<Vec<_>, _>>()?;
        if closed.starts_with("rowcast") {
            return Err(TemplateError::Reserved);
        }
        Ok(Self { segments, open })
    }

    pub fn has_claims(&self) -> bool {
        let is_claim = |part: &Part| matches!(part, Part::Claim(_));
        self.segments.iter().any(|segment| match segment {
            Segment::Any => false,
            Segment::Parts(parts) => parts.iter().any(is_claim),
        })
    }

    /// Whether every channel of the pattern matches.
    pub fn covers(&self, pattern: &Pattern, principal: &Principal) -> bool {
        let names: Vec<&str> = names(pattern);
        let long_enough = match pattern {
            Pattern::Exact(_) if self.open => names.len() > self.segments.len(),
            Pattern::Exact(_) => names.len() == self.segments.len(),
            Pattern::Below(_) => self.open && names.len() >= self.segments.len(),
        };
        long_enough && self.reaches(pattern) && self.agrees(&names, principal)
    }

    /// Whether some channel of the pattern matches.
    pub fn touches(&self, pattern: &Pattern, principal: &Principal) -> bool {
        let names: Vec<&str> = names(pattern);
        match pattern {
            Pattern::Exact(_) => self.covers(pattern, principal),
            Pattern::Below(_) => {
                let deep_enough = self.open || self.segments.len() > names.len();
                deep_enough && self.reaches(pattern) && self.agrees(&names, principal)
            }
        }
    }

    /// As far as both go, segment by segment.
    fn agrees(&self, names: &[&str], principal: &Principal) -> bool {
        self.segments.iter().zip(names).all(|(segment, name)| segment.matches(name, principal))
    }

    /// Channels of users are given by name only, never by a wildcard or a claim.
    fn reaches(&self, pattern: &Pattern) -> bool {
        let of_users = match pattern {
            Pattern::Exact(channel) => channel.as_str().starts_with("user:"),
            Pattern::Below(prefix) => {
                prefix.as_str() == "user" || prefix.as_str().starts_with("user:")
            }
        };
        let named = self.segments.first().is_some_and(Segment::is_user);
        !of_users || named
    }
}

fn names(pattern: &Pattern) -> Vec<&str> {
    let (Pattern::Exact(name) | Pattern::Below(name)) = pattern;
    Channel::as_str(name).split(':').collect()
}

impl Segment {
    fn parse(text: &str) -> Result<Self, TemplateError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (claim, after) = after.split_once('}').ok_or(TemplateError::Brace)?;
            push_text(&mut parts, before)?;
            parts.push(Part::Claim(claim_path(claim)?));
            rest = after;
        }
        push_text(&mut parts, rest)?;
        if parts.is_empty() { Err(TemplateError::Segment) } else { Ok(Self::Parts(parts)) }
    }

    fn is_user(&self) -> bool {
        matches!(self, Self::Parts(parts) if matches!(&parts[..], [Part::Text(text)] if text == "user"))
    }

    fn matches(&self, name: &str, principal: &Principal) -> bool {
        match self {
            Self::Any => true,
            Self::Parts(parts) => parts_match(parts, name, principal),
        }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) -> Result<(), TemplateError> {
    if text.contains(['{', '}']) {
        return Err(TemplateError::Brace);
    }
    if !text.bytes().all(is_segment_byte) {
        return Err(TemplateError::Segment);
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
    Ok(())
}

fn claim_path(text: &str) -> Result<String, TemplateError> {
    let plain =
        !text.contains(['{', '}', ':', '*']) && text.split('.').all(|name| !name.is_empty());
    if plain { Ok(text.to_owned()) } else { Err(TemplateError::Brace) }
}

/// A claim that is a list stands for any of its members.
fn parts_match(parts: &[Part], name: &str, principal: &Principal) -> bool {
    let Some((first, others)) = parts.split_first() else { return name.is_empty() };
    let goes_on = |text: &str| {
        name.strip_prefix(text).is_some_and(|rest| parts_match(others, rest, principal))
    };
    match first {
        Part::Text(text) => goes_on(text),
        Part::Claim(path) => match principal.claim(path) {
            Some(Value::Array(members)) => {
                members.iter().filter_map(value_text).any(|text| goes_on(&text))
            }
            Some(value) => value_text(value).is_some_and(|text| goes_on(&text)),
            None => false,
        },
    }
}

/// The text of a plain value, where it cannot be taken for more than a part of a segment.
fn value_text(value: &Value) -> Option<Cow<'_, str>> {
    let text = match value {
        Value::String(text) => Cow::Borrowed(text.as_str()),
        Value::Number(_) | Value::Bool(_) => Cow::Owned(value.to_string()),
        _ => return None,
    };
    is_segment(&text).then_some(text)
}

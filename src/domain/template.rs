//! A channel with holes that a watched table fills in, such as `orders:{id}`.
//!
//! In: the templates of a watch. Out: whether a subscription could get events of it. Invariant: errs to yes; a
//! reset too many costs a reload, one too few hides a loss.

use super::channel::{Channel, Pattern};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Box<str>);

impl Template {
    /// The database has checked it when the table was watched.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// Whether some channel that this template can become is covered by the pattern.
    pub fn may_reach(&self, pattern: &Pattern) -> bool {
        let segments: Vec<&str> = self.0.split(':').collect();
        let fits = |name: &Channel| {
            name.as_str().split(':').zip(&segments).all(|(value, template)| may_be(template, value))
        };
        let depth = |name: &Channel| name.as_str().split(':').count();
        match pattern {
            Pattern::Exact(name) => depth(name) == segments.len() && fits(name),
            Pattern::Below(name) => depth(name) < segments.len() && fits(name),
        }
    }
}

/// A hole stands for one segment byte or more, never for a `:`.
fn may_be(template: &str, value: &str) -> bool {
    match (template.find('{'), template.rfind('}')) {
        (Some(open), Some(close)) => {
            value.starts_with(&template[..open])
                && value.ends_with(&template[close + 1..])
                && value.len() > open + template.len() - close - 1
        }
        _ => template == value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_reaches_the_patterns_that_cover_one_of_its_channels() {
        let reaches = |template: &str, pattern: &str| {
            Template::new(template).may_reach(&Pattern::parse(pattern).unwrap())
        };
        assert!(reaches("orders", "orders") && !reaches("orders", "orders:*"));
        assert!(reaches("orders:{id}", "orders:42") && reaches("orders:{id}", "orders:*"));
        assert!(!reaches("orders:{id}", "orders") && !reaches("orders:{id}", "org:42"));
        assert!(!reaches("orders:{id}", "orders:42:lines"));
        assert!(reaches("org:{a}:v{b}-{c}", "org:7:v1-2") && reaches("org:{a}:v{b}", "org:7:*"));
        assert!(!reaches("org:{a}:v{b}", "org:7:v") && !reaches("org:{a}:v{b}", "org:7:x1"));
    }
}

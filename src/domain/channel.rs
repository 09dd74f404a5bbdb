//! Channel names and the patterns that subscribe to them.
//!
//! In: text from clients, policies and the log. Out: [`Channel`] and [`Pattern`], which are valid by
//! construction. Invariant: a name is 1 to 200 bytes of segments joined by `:`, each segment one or
//! more of `A-Z a-z 0-9 _ - . @`.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The name an event is published to, such as `orders:42`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(Arc<str>);

impl Channel {
    pub fn parse(text: &str) -> Result<Self, ChannelError> {
        check_length(text)?;
        check_segments(text)?;
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before each `:` of the name, longest first: the prefixes whose `…:*` covers it.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.0.rmatch_indices(':').map(|(at, _)| &self.0[..at])
    }

    /// Whether the name belongs to the service itself and no client may use it.
    pub fn is_reserved(&self) -> bool {
        is_reserved(&self.0)
    }
}

/// So that a table keyed by channel can be asked with a prefix of a name.
impl Borrow<str> for Channel {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a client subscribes to: one channel, or with `orders:*` every channel below `orders`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    Exact(Channel),
    /// Every channel that begins with this name and a `:`.
    Below(Channel),
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, ChannelError> {
        check_length(text)?;
        match text.strip_suffix(":*") {
            Some(prefix) => Channel::parse(prefix).map(Self::Below),
            None => Channel::parse(text).map(Self::Exact),
        }
    }

    pub fn covers(&self, channel: &Channel) -> bool {
        match self {
            Self::Exact(name) => name == channel,
            Self::Below(prefix) => channel
                .as_str()
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.starts_with(':')),
        }
    }

    pub fn is_reserved(&self) -> bool {
        match self {
            Self::Exact(name) | Self::Below(name) => name.is_reserved(),
        }
    }

    /// Whether it is about some user's own channel.
    pub fn is_below_user(&self) -> bool {
        match self {
            Self::Exact(name) => name.as_str().starts_with("user:"),
            Self::Below(name) => name.as_str() == "user" || name.as_str().starts_with("user:"),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Below(prefix) => write!(f, "{prefix}:*"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    #[error("a channel name has 1 to {MAX_BYTES} bytes")]
    Length,
    #[error(
        "a channel name is made of segments of A-Z a-z 0-9 _ - . @ joined by ':', such as orders:42"
    )]
    Characters,
}

fn check_length(text: &str) -> Result<(), ChannelError> {
    if (1..=MAX_BYTES).contains(&text.len()) { Ok(()) } else { Err(ChannelError::Length) }
}

fn check_segments(text: &str) -> Result<(), ChannelError> {
    if text.split(':').all(is_segment) { Ok(()) } else { Err(ChannelError::Characters) }
}

/// Whether a value may stand for a whole segment, or a part of one, without forging another channel.
pub fn is_segment(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_segment_byte)
}

/// ASCII letters only: the capture functions in the database apply the same rule, whatever the collation.
pub const fn is_segment_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'@')
}

fn is_reserved(name: &str) -> bool {
    name.starts_with("rowcast")
}

/// Protocol section 6.
pub const MAX_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_segments_are_channels() {
        for good in ["a", "orders:42", "user:alice@example.com", "a-b_c.d:E:9", &"x".repeat(200)] {
            assert!(Channel::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in
            ["", ":", "a:", ":a", "a::b", "a b", "a/b", "ä", "a:*", "*", "a\0", &"x".repeat(201)]
        {
            assert!(Channel::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_covers_what_is_below_it_and_not_itself() {
        let pattern = Pattern::parse("orders:*").unwrap();
        let covers = |name: &str| pattern.covers(&Channel::parse(name).unwrap());
        assert!(covers("orders:42") && covers("orders:42:lines"));
        assert!(!covers("orders") && !covers("orders2:1") && !covers("order:1"));
        assert!(Pattern::parse("or*").is_err() && Pattern::parse("*:a").is_err());
    }

    #[test]
    fn ancestors_are_the_prefixes_before_each_colon() {
        let channel = Channel::parse("a:b:c").unwrap();
        assert_eq!(channel.ancestors().collect::<Vec<_>>(), ["a:b", "a"]);
    }
}

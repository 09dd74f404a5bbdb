//! An event of a run: how it is written into the database, and how it is known again in a frame.
//!
//! In: the run's name, a number, when the event was due. Out: JSON; and from a frame, number and time. Invariant:
//! what is anybody else's, another run's included, is never taken for an event of this one.

use std::fmt::Write as _;

use memchr::memmem::Finder;

/// What all events of a run share.
#[derive(Debug)]
pub struct Mark {
    /// The beginning of each event's data.
    prefix: String,
    finder: Finder<'static>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mine {
    /// The time is in microseconds of the run's clock.
    Event { number: u64, due: u64 },
    /// Written when all others were committed, so that nothing of the run can follow it.
    End,
}

impl Mark {
    /// The name is one of hexadecimal digits, so nothing of it needs quoting.
    pub fn new(run: &str) -> Self {
        let prefix = format!("{{\"bench\":\"{run}\",\"n\":");
        let finder = Finder::new(prefix.as_bytes()).into_owned();
        Self { prefix, finder }
    }

    /// JSON of `bytes` bytes, or of as many as it takes.
    pub fn data(&self, what: Mine, bytes: usize) -> String {
        let mut data = String::with_capacity(bytes.max(self.prefix.len() + 64));
        data.push_str(&self.prefix);
        let _ = match what {
            Mine::Event { number, due } => write!(data, "{number},\"due\":{due},\"fill\":\""),
            Mine::End => write!(data, "-1,\"fill\":\""),
        };
        let fill = bytes.saturating_sub(data.len() + 2);
        data.extend(std::iter::repeat_n('x', fill));
        data.push_str("\"}");
        data
    }

    /// A scan for the mark, and the digits behind it; nothing else of the frame is looked at.
    pub fn find(&self, frame: &[u8]) -> Option<Mine> {
        let rest = frame.get(self.finder.find(frame)? + self.prefix.len()..)?;
        if rest.starts_with(b"-1,") {
            return Some(Mine::End);
        }
        let (number, rest) = digits(rest)?;
        let (due, _) = digits(rest.strip_prefix(b",\"due\":")?)?;
        Some(Mine::Event { number, due })
    }
}

fn digits(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = bytes.split_at(end);
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// The name that the events have: `op` on the wire.
pub const NAME: &str = "bench";

/// Less than this holds no run, number and time.
pub const LEAST_BYTES: u32 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: Mine = Mine::Event { number: 4_294_967_296, due: 86_400_000_000 };

    fn frame(data: &str) -> Vec<u8> {
        let text = format!(
            "{{\"type\":\"change\",\"channel\":\"bench:1\",\"id\":\"AbT\",\"op\":\"bench\",\"row\":{data},\"at\":\"2026\"}}"
        );
        text.into_bytes()
    }

    #[test]
    fn an_event_is_known_again_in_its_frame_and_no_other_is() {
        let mark = Mark::new("9f3c2a7b1c0d4e5f");
        for what in [EVENT, Mine::End, Mine::Event { number: 0, due: 0 }] {
            let data = mark.data(what, 256);
            assert!(serde_json::from_str::<serde_json::Value>(&data).is_ok(), "{data}");
            assert_eq!(mark.find(&frame(&data)), Some(what));
            assert_eq!(Mark::new("9f3c2a7b1c0d4e50").find(&frame(&data)), None);
        }
        let cut = frame(&mark.data(EVENT, 256));
        for end in 0..cut.len() - 250 {
            assert_eq!(mark.find(&cut[..end]), None, "{}", String::from_utf8_lossy(&cut[..end]));
        }
    }

    #[test]
    fn data_has_the_bytes_that_were_asked_for() {
        let mark = Mark::new("9f3c2a7b1c0d4e5f");
        for bytes in [LEAST_BYTES as usize, 256, 1_000_000] {
            assert_eq!(mark.data(EVENT, bytes).len(), bytes);
            assert_eq!(mark.data(Mine::End, bytes).len(), bytes);
        }
    }
}

//! Something that happened in the database: a row change, or an event of the application's own.
//!
//! In: rows of the log and payloads of notify-only watches. Out: what the wires encode. Invariant: JSON is the
//! text that PostgreSQL printed, never parsed and printed again, so numbers keep their digits.

use std::sync::Arc;

use super::channel::Channel;
use super::position::Position;
use super::snapshot::Xid;

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The id on the wire: a token from which a reader can resume.
    pub token: Box<str>,
    /// `None` for events that are not in the log and can't be replayed.
    pub logged: Option<Logged>,
    /// When it was written, by the database's clock: RFC 3339, UTC, microseconds.
    pub at: Box<str>,
    pub table: Option<Box<str>>,
    /// `insert`, `update`, `delete`, `truncate`, or a name of the application's own.
    pub op: Box<str>,
    pub channels: Box<[Channel]>,
    /// Only sessions of these users get it; `None` is everyone who may subscribe.
    pub audience: Option<Box<[Box<str>]>>,
    pub key: Option<Json>,
    pub row: Option<Json>,
    pub old: Option<Json>,
    pub changed: Option<Box<[Box<str>]>>,
    pub user: Option<Box<str>>,
    pub origin: Option<Box<str>>,
    /// The row was over the size limit; only its key is here.
    pub truncated: bool,
}

impl Event {
    /// Whether this user is among those it is for.
    pub fn is_for(&self, user: Option<&str>) -> bool {
        self.audience
            .as_ref()
            .is_none_or(|users| user.is_some_and(|user| users.iter().any(|other| **other == *user)))
    }

    /// Roughly what the event holds in memory, for bounds in bytes.
    pub fn weight(&self) -> usize {
        let json = |part: &Option<Json>| part.as_ref().map_or(0, |json| json.len());
        FIXED_WEIGHT + self.token.len() + json(&self.key) + json(&self.row) + json(&self.old)
    }
}

/// JSON text as the database printed it.
pub type Json = Box<str>;

/// Where an event stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    pub xid: Xid,
    pub id: i64,
}

/// A run of events that became visible together, in log-id order; a large run comes in several batches.
#[derive(Debug)]
pub struct Batch {
    pub events: Vec<Arc<Event>>,
    /// Behind the last event; between two runs if this is the last batch of its run.
    pub position: Position,
    /// The same, as a client gets it.
    pub token: Box<str>,
}

const FIXED_WEIGHT: usize = size_of::<Event>() + 128;

//! What is asked of the past of channels, and what comes of it.
//!
//! In: patterns, a user, a place to begin. Out: pages of events, and what is said of them in advance. Invariant: a
//! subscriber gets of the past what it would have got live.

use std::collections::HashSet;
use std::sync::Arc;

use super::channel::{Channel, Pattern};
use super::event::Event;
use super::position::Position;

/// What a subscriber may get of the past.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub patterns: Vec<Pattern>,
    pub user: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    Behind(Position),
    /// With the last so many events.
    Newest(u16),
}

/// A part of the past, in order.
#[derive(Debug)]
pub struct Page {
    /// Where it begins.
    pub from: Position,
    pub events: Vec<Arc<Event>>,
    /// Behind the last of them.
    pub position: Position,
}

/// What follows in all, looked through before any of it is sent.
#[derive(Debug, Default)]
pub struct Survey {
    /// How many messages that is.
    pub messages: u64,
    /// The events that stay, where some don't.
    pub only: Option<Only>,
}

/// The events that stay of those up to a position.
#[derive(Debug)]
pub struct Only {
    pub upto: Position,
    pub ids: HashSet<i64>,
}

impl Wanted {
    /// The channels on which the subscriber is to get the event.
    pub fn channels<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = &'a Channel> {
        let is_for = event.is_for(self.user.as_deref());
        let channels = event.channels.iter().filter(move |_| is_for);
        channels.filter(|channel| self.patterns.iter().any(|pattern| pattern.covers(channel)))
    }
}

impl Only {
    pub fn drops(&self, event: &Event) -> bool {
        event.logged.is_some_and(|logged| {
            self.upto.sees(logged.xid, logged.id) && !self.ids.contains(&logged.id)
        })
    }
}

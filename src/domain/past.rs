//! What is asked of the past of channels, and what comes of it.
//!
//! In: patterns, a user, a place to begin. Out: pages of events, and what is said of them in advance. Invariant: a
//! subscriber gets of the past what it would have got live.

use std::collections::HashSet;
use std::sync::Arc;

use super::channel::{Channel, Pattern};
use super::compact::{self, Change};
use super::event::{Batch, Event, Logged};
use super::position::Position;
use super::snapshot::{Snapshot, Xid};

/// What a subscriber may get of the past.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    pub patterns: Vec<Pattern>,
    pub user: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    Behind(Position),
    /// With the last so many events.
    Newest(u16),
}

/// A part of the past, in order.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where it begins.
    pub from: Position,
    pub events: Vec<Arc<Event>>,
    /// Behind the last of them.
    pub position: Position,
}

/// What follows in all, looked through before any of it is sent.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// How many messages that is.
    pub messages: u64,
    /// The events that stay, where some don't.
    pub only: Option<Only>,
}

/// The events that stay of those up to a position.
#[derive(Clone, Debug)]
pub struct Only {
    pub upto: Position,
    pub ids: HashSet<i64>,
}

/// Everything between two snapshots, whoever may have it.
#[derive(Debug)]
pub struct Backfill {
    /// What is visible here is not in it: no less than was asked for.
    pub from: Arc<Snapshot>,
    /// Whether it was chosen for want of room: then a transaction in front of it may have waited for one behind it.
    pub is_from_chosen: bool,
    /// Whole runs that follow each other, up to the snapshot that was asked for.
    pub runs: Vec<Batch>,
    /// What older transactions wrote may have been taken out of the log.
    pub floor: Xid,
}

/// Where a stretch of the log, in its order, can be divided into runs: how many events each has, and where it ends.
/// A run ends where all that follows was written by later transactions, so that somebody whose place is inside the
/// stretch has seen all of most runs or nothing.
pub fn divide(
    from: &Snapshot,
    upto: &Arc<Snapshot>,
    events: &[Logged],
) -> Vec<(usize, Arc<Snapshot>)> {
    let mut lowest_behind = vec![Xid::MAX; events.len() + 1];
    for (at, event) in events.iter().enumerate().rev() {
        lowest_behind[at] = lowest_behind[at + 1].min(event.xid);
    }
    let (mut runs, mut begin, mut highest) = (Vec::new(), 0, 0);
    for (at, event) in events.iter().enumerate() {
        let next = lowest_behind[at];
        if at - begin >= RUN_EVENTS && highest < next && next >= from.xmax() {
            runs.push((at - begin, Arc::new(upto.cut(next))));
            begin = at;
        }
        highest = highest.max(event.xid);
    }
    if !from.includes(upto) {
        runs.push((events.len() - begin, Arc::clone(upto)));
    }
    runs
}

impl Wanted {
    /// The channels on which the subscriber is to get the event.
    pub fn channels<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = &'a Channel> {
        let is_for = event.is_for(self.user.as_deref());
        let channels = event.channels.iter().filter(move |_| is_for);
        channels.filter(|channel| self.patterns.iter().any(|pattern| pattern.covers(channel)))
    }

    /// How many messages of these events that is.
    pub fn messages<'a>(&self, events: impl IntoIterator<Item = &'a Arc<Event>>) -> u64 {
        events.into_iter().map(|event| self.channels(event).count()).sum::<usize>() as u64
    }
}

impl Survey {
    /// Of everything that is there up to a position.
    pub fn of<'a>(
        events: impl IntoIterator<Item = &'a Arc<Event>>,
        wanted: &Wanted,
        compact: bool,
        upto: &Position,
    ) -> Self {
        let mut found: Vec<_> =
            events.into_iter().filter(|event| wanted.channels(event).next().is_some()).collect();
        let only = compact.then(|| {
            let changes = found.iter().filter_map(|event| change(event));
            Only { upto: upto.clone(), ids: compact::newest(changes) }
        });
        found.retain(|event| only.as_ref().is_none_or(|only| !only.drops(event)));
        Self { messages: wanted.messages(found), only }
    }
}

fn change(event: &Event) -> Option<Change<'_>> {
    Some(Change {
        id: event.logged?.id,
        table: event.table.as_deref(),
        op: &event.op,
        key: event.key.as_deref(),
    })
}

impl Only {
    pub fn drops(&self, event: &Event) -> bool {
        event.logged.is_some_and(|logged| {
            self.upto.sees(logged.xid, logged.id) && !self.ids.contains(&logged.id)
        })
    }
}

/// Few enough that looking through a run for somebody costs little.
const RUN_EVENTS: usize = 128;

#[cfg(test)]
mod tests;

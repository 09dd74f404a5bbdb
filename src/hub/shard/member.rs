//! One subscriber of the hub: its socket, its subscriptions, what waits to be written.
//!
//! In: frames. Out: marks for the sweep. Invariant: a subscriber that is closing takes nothing more.

use std::sync::Arc;

use tokio::time::Instant;

use super::super::Sink;
use super::super::burst::{Burst, FrameNumber};
use super::super::fanout::Delivery;
use super::super::outbox::Outbox;
use super::catch_up::CatchUp;
use crate::domain::channel::Pattern;
use crate::domain::past::Wanted;
use crate::domain::position::Position;
use crate::domain::routes::SubscriberId;
use crate::protocol::Wire;

pub(super) struct Subscriber {
    /// The last delivery this subscriber got.
    pub(super) delivery: u64,
    pub(super) outbox: Outbox,
    pub(super) state: State,
    pub(super) dirty: bool,
    /// Whether a subscription went live since the socket last was free.
    pub(super) is_fresh: bool,
    pub(super) greeting: Greeting,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) wire: &'static dyn Wire,
    /// Since when the socket, which has something to take, takes nothing.
    pub(super) stalled: Option<Instant>,
    pub(super) catch_ups: Vec<CatchUp>,
    pub(super) tenant: u64,
    pub(super) user: Option<Arc<str>>,
    pub(super) subscriptions: Vec<Subscription>,
}

/// How far somebody is who has connected: what concerns everybody comes behind the welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    Unknown,
    Identified,
    Welcomed,
}

pub(super) struct Subscription {
    pub(super) pattern: Pattern,
    pub(super) feed: Feed,
}

pub(super) enum Feed {
    Live {
        /// What it had got before, as long as a part of that waits for the socket.
        since: Option<Position>,
    },
    /// Part of the catch-up with this ticket; whether events were missed meanwhile that no log holds.
    CatchingUp { ticket: u64, missed_unlogged: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// The socket took no more; a task waits until it does.
    Blocked,
    /// A close frame is the last thing queued.
    Closing,
    /// Closing, and the socket took no more.
    ClosingBlocked,
    /// Nothing more is written.
    Closed,
}

impl Subscriber {
    pub(super) fn new(
        tenant: u64,
        sink: Arc<dyn Sink>,
        wire: &'static dyn Wire,
        outbox: Outbox,
    ) -> Self {
        Self {
            tenant,
            sink,
            wire,
            user: None,
            greeting: Greeting::Unknown,
            subscriptions: Vec::new(),
            catch_ups: Vec::new(),
            outbox,
            state: State::Open,
            dirty: false,
            is_fresh: false,
            delivery: 0,
            stalled: None,
        }
    }

    /// A full outbox is written out first: a burst of one batch is no sign of a slow socket.
    pub(super) fn has_room(&mut self, bytes: usize, burst: &mut Burst) -> bool {
        let has_room = self.outbox.has_room(bytes, burst);
        if has_room || self.state.is_blocked() {
            return has_room;
        }
        self.outbox.flush(&*self.sink, burst);
        self.outbox.has_room(bytes, burst)
    }

    /// Queues a live event; whether that was within the bounds.
    pub(super) fn push_live(&mut self, frame: FrameNumber, burst: &mut Burst) -> bool {
        let fits = self.has_room(burst.frame(frame).0.len(), burst);
        self.outbox.push_live(frame, burst);
        fits
    }

    pub(super) fn mark(&mut self, slot: SubscriberId, dirty: &mut Vec<SubscriberId>) {
        if !self.dirty {
            self.dirty = true;
            dirty.push(slot);
        }
    }

    pub(super) fn catch_up(&mut self, ticket: u64) -> Option<&mut CatchUp> {
        self.catch_ups.iter_mut().find(|catch_up| catch_up.ticket == ticket)
    }

    /// Whether one of its subscriptions has no answer yet.
    pub(super) fn owes_answer(&self, held: &Subscription) -> bool {
        let mut owing = self.catch_ups.iter().filter(|catch_up| catch_up.owed.is_some());
        held.ticket().is_some_and(|ticket| owing.any(|catch_up| catch_up.ticket == ticket))
    }

    /// What the subscriptions of one catch-up are to get.
    pub(super) fn wanted(&self, ticket: u64) -> Wanted {
        let held = self.subscriptions.iter().filter(|held| held.ticket() == Some(ticket));
        Wanted {
            patterns: held.map(|held| held.pattern.clone()).collect(),
            user: self.user.clone(),
        }
    }
}

impl Subscription {
    pub(super) const fn is_live(&self) -> bool {
        matches!(self.feed, Feed::Live { .. })
    }

    /// Where a live subscription must be read again from, when these frames of its subscriber are dropped.
    pub(super) fn fallen_to<'a>(&self, dropped: &'a [Arc<Delivery>]) -> Option<&'a Position> {
        let Feed::Live { since } = &self.feed else { return None };
        let is_new = |live: &Delivery| match (live.logged, since) {
            (Some(logged), Some(since)) => !since.sees(logged.xid, logged.id),
            (logged, _) => logged.is_some(),
        };
        dropped.iter().find(|live| is_new(live)).and_then(|live| live.place.as_ref())
    }

    pub(super) const fn ticket(&self) -> Option<u64> {
        match self.feed {
            Feed::Live { .. } => None,
            Feed::CatchingUp { ticket, .. } => Some(ticket),
        }
    }
}

impl State {
    pub(super) const fn is_closing(self) -> bool {
        matches!(self, Self::Closing | Self::ClosingBlocked | Self::Closed)
    }

    pub(super) const fn is_blocked(self) -> bool {
        matches!(self, Self::Blocked | Self::ClosingBlocked)
    }

    pub(super) const fn closing(self) -> Self {
        if self.is_blocked() { Self::ClosingBlocked } else { Self::Closing }
    }

    pub(super) const fn blocked(self) -> Self {
        if self.is_closing() { Self::ClosingBlocked } else { Self::Blocked }
    }

    pub(super) const fn unblocked(self) -> Self {
        match self {
            Self::Blocked => Self::Open,
            Self::ClosingBlocked => Self::Closing,
            other => other,
        }
    }
}

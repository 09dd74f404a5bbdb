//! One subscriber of the hub: its socket, its subscriptions, what waits to be written.
//!
//! In: frames. Out: marks for the sweep. Invariant: a subscriber that is closing takes nothing more.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::super::Sink;
use super::super::fanout::Delivery;
use super::super::outbox::{Offer, Outbox};
use super::catch_up::CatchUp;
use crate::domain::channel::Pattern;
use crate::domain::past::Wanted;
use crate::domain::routes::SubscriberId;
use crate::protocol::Wire;

pub(super) struct Subscriber {
    pub(super) tenant: u64,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) wire: &'static dyn Wire,
    pub(super) user: Option<Arc<str>>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) catch_ups: Vec<CatchUp>,
    pub(super) outbox: Outbox,
    pub(super) state: State,
    pub(super) dirty: bool,
    /// The last delivery this subscriber got.
    pub(super) delivery: u64,
    /// Since when the socket, which has something to take, takes nothing.
    pub(super) stalled: Option<Instant>,
}

pub(super) struct Subscription {
    pub(super) pattern: Pattern,
    pub(super) feed: Feed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feed {
    Live,
    /// Part of the catch-up with this ticket; whether events were missed meanwhile that no log holds.
    CatchingUp {
        ticket: u64,
        missed_unlogged: bool,
    },
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
            subscriptions: Vec::new(),
            catch_ups: Vec::new(),
            outbox,
            state: State::Open,
            dirty: false,
            delivery: 0,
            stalled: None,
        }
    }

    /// A full outbox is written out first: a burst of one batch is no sign of a slow socket.
    pub(super) fn offer(&mut self, frame: Bytes, live: Option<Arc<Delivery>>) -> Offer {
        let full = self.outbox.offer(frame.clone(), live.clone()) == Offer::Overflowed;
        if !full {
            return Offer::Queued;
        }
        if !self.state.is_blocked() {
            self.outbox.flush(&*self.sink);
        }
        self.outbox.offer(frame, live)
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
    pub(super) fn is_live(&self) -> bool {
        self.feed == Feed::Live
    }

    pub(super) const fn ticket(&self) -> Option<u64> {
        match self.feed {
            Feed::Live => None,
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

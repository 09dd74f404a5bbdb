//! One subscriber of the hub: its socket, its subscriptions, what waits to be written.
//!
//! In: frames. Out: marks for the sweep. Invariant: a subscriber that is closing takes nothing more.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::Sink;
use super::super::outbox::{Offer, Outbox};
use crate::domain::channel::Pattern;
use crate::domain::routes::SubscriberId;
use crate::protocol::Wire;

pub(super) struct Subscriber {
    pub(super) tenant: u64,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) wire: &'static dyn Wire,
    pub(super) user: Option<Arc<str>>,
    pub(super) subscriptions: Vec<Subscription>,
    /// Replays that wait until the outbox is empty.
    pub(super) written: Vec<oneshot::Sender<()>>,
    pub(super) outbox: Outbox,
    pub(super) state: State,
    pub(super) dirty: bool,
    /// The last delivery this subscriber got.
    pub(super) delivery: u64,
}

pub(super) struct Subscription {
    pub(super) pattern: Pattern,
    /// The replay that must end before it is live.
    pub(super) replay: Option<u64>,
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
    /// A full outbox is written out first: a burst of one batch is no sign of a slow socket.
    pub(super) fn offer(&mut self, frame: Bytes) -> Offer {
        let full = self.outbox.offer(frame.clone()) == Offer::Overflowed;
        if !full {
            return Offer::Queued;
        }
        if !self.state.is_blocked() {
            self.outbox.flush(&*self.sink);
        }
        self.outbox.offer(frame)
    }

    pub(super) fn mark(&mut self, slot: SubscriberId, dirty: &mut Vec<SubscriberId>) {
        if !self.dirty {
            self.dirty = true;
            dirty.push(slot);
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

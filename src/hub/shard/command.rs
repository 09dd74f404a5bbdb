//! What a shard is told.
//!
//! In: words of ingest, of sessions and of the history. Out: [`Command`]s, in the order in which they take effect.
//! Invariant: a key that has another tenant by now means nobody.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::{History, Sink};
use crate::domain::channel::Pattern;
use crate::domain::close::CloseReason;
use crate::domain::event::{Batch, Event};
use crate::domain::message::{Reference, ResetReason, SystemEvent};
use crate::domain::past::{Backfill, Page, Survey};
use crate::domain::rights::{Version, Whose};
use crate::domain::routes::SubscriberId;
use crate::domain::template::Template;
use crate::protocol::Wire;
use crate::telemetry::vitals::Vitals;

/// A subscriber's slot, and which of its tenants is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub(super) slot: SubscriberId,
    pub(super) tenant: u64,
}

pub enum Command {
    Join {
        sink: Arc<dyn Sink>,
        wire: &'static dyn Wire,
        reply: oneshot::Sender<Key>,
    },
    Identify {
        key: Key,
        user: Option<Arc<str>>,
    },
    Send {
        key: Key,
        frame: Bytes,
    },
    Subscribe {
        key: Key,
        pattern: Pattern,
        reference: Option<Reference>,
        past: Past,
        judged: Version,
    },
    /// Rights have changed: those concerned get nothing more until they were judged again.
    Suspend(Whose),
    /// This subscriber was, at this version.
    GoOn {
        key: Key,
        judged: Version,
    },
    /// A part of the past that the history was asked for.
    Page {
        key: Key,
        ticket: u64,
        page: Result<(Page, Option<Survey>), ResetReason>,
    },
    /// What came before memory begins, as the history was asked for it under this number.
    Backfill {
        number: u64,
        backfill: Result<Backfill, ResetReason>,
    },
    Unsubscribe {
        key: Key,
        pattern: Pattern,
    },
    Close {
        key: Key,
        reason: CloseReason,
    },
    Leave {
        key: Key,
    },
    /// A socket that was blocked may take more.
    Writable {
        key: Key,
    },
    Publish(Arc<Batch>),
    PublishUnlogged(Arc<[Event]>),
    Begin {
        past: Arc<[Batch]>,
        history: Arc<dyn History>,
        reason: Option<ResetReason>,
    },
    Continue(Arc<dyn History>),
    ResetUnlogged(Arc<[Template]>),
    SetQueueBytes(usize),
    Announce(SystemEvent),
    /// How it is; answered in turn, so that the answer shows that the queue moves.
    Ask {
        reply: oneshot::Sender<Vitals>,
    },
    Drain {
        done: oneshot::Sender<()>,
    },
}

/// What of the past a subscription asks for.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Where the client wants to resume, as it names the place.
    pub after: Option<Box<str>>,
    /// So many of the last events, where `after` is absent or of no use.
    pub history: Option<u16>,
    /// Of what was missed, only the newest change of each row.
    pub compact: bool,
}

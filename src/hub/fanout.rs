//! One event on its way to the subscribers of one channel.
//!
//! In: an event, a channel. Out: frames. Invariant: encoded at most once a wire, however many get it.

use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

use crate::domain::channel::Channel;
use crate::domain::event::{Event, Logged};
use crate::domain::position::Position;
use crate::protocol::{WIRES, Wire};

/// One event on one channel, encoded at most once a wire.
pub(super) struct Frames<'a> {
    event: &'a Event,
    channel: &'a Channel,
    encoded: [Option<Bytes>; WIRES],
}

impl<'a> Frames<'a> {
    pub(super) const fn new(event: &'a Event, channel: &'a Channel) -> Self {
        Self { event, channel, encoded: [const { None }; WIRES] }
    }

    pub(super) fn frame(&mut self, wire: &dyn Wire) -> Bytes {
        self.encoded[wire.slot()]
            .get_or_insert_with(|| wire.change(self.event, &self.event.token, self.channel))
            .clone()
    }
}

/// What a queued frame of a live event is, for the time when it has to be dropped. All subscribers share it.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) channel: Channel,
    /// `None` where no log holds it.
    pub(super) logged: Option<Logged>,
    /// The place just before the event, from which it can be read again.
    pub(super) place: Option<Position>,
    pub(super) since: Instant,
}

impl Delivery {
    pub(super) fn new(event: &Event, channel: &Channel, run: Option<&Position>) -> Arc<Self> {
        let place = event.logged.zip(run).map(|(logged, run)| Position {
            before: Arc::clone(&run.before),
            upto: Arc::clone(&run.upto),
            last: logged.id - 1,
        });
        let (channel, logged) = (channel.clone(), event.logged);
        Arc::new(Self { channel, logged, place, since: Instant::now() })
    }

    /// The same for the frames of one event.
    pub(super) fn event(&self) -> Option<i64> {
        self.logged.map(|logged| logged.id)
    }
}

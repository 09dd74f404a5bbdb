//! One event on its way to the subscribers of one channel.
//!
//! In: an event, a channel. Out: frames. Invariant: encoded at most once a wire, however many get it, and not at all
//! for nobody.

use std::sync::Arc;
use tokio::time::Instant;

use super::burst::{Burst, FrameNumber};
use crate::domain::channel::Channel;
use crate::domain::event::{Event, Logged};
use crate::domain::position::Position;
use crate::protocol::{WIRES, Wire};

/// One event on one channel, encoded at most once a wire.
pub(super) struct Frames<'a> {
    event: &'a Event,
    channel: &'a Channel,
    run: Option<&'a Position>,
    live: Option<Arc<Delivery>>,
    encoded: [Option<FrameNumber>; WIRES],
}

impl<'a> Frames<'a> {
    /// `run` is where in the log the event is, if it is there.
    pub(super) const fn new(
        event: &'a Event,
        channel: &'a Channel,
        run: Option<&'a Position>,
    ) -> Self {
        Self { event, channel, run, live: None, encoded: [None; WIRES] }
    }

    pub(super) fn frame(&mut self, wire: &dyn Wire, burst: &mut Burst) -> FrameNumber {
        let Self { event, channel, run, live, encoded } = self;
        *encoded[wire.slot()].get_or_insert_with(|| {
            let live = live.get_or_insert_with(|| Delivery::new(event, channel, *run));
            burst.add(wire.change(event, &event.token, channel), Arc::clone(live))
        })
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

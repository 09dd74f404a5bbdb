//! One event on its way to the subscribers of one channel.
//!
//! In: an event, a channel. Out: frames. Invariant: encoded at most once a wire, however many get it.

use bytes::Bytes;

use crate::domain::channel::Channel;
use crate::domain::event::Event;
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
            .get_or_insert_with(|| wire.change(self.event, self.channel))
            .clone()
    }
}

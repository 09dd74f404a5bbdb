//! Frames of the past that others are about to get as well.
//!
//! In: events of this node's own runs. Out: frames, encoded at most once a channel and wire for a crowd that reads the
//! same. Invariant: it holds no more than [`MOST_BYTES`], and nothing while nobody is caught up.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::domain::channel::Channel;
use crate::domain::event::Event;
use crate::protocol::Wire;

#[derive(Default)]
pub(super) struct Encoded {
    /// By where in memory the channel's name is, and the wire. What is there stays there: the event is held.
    frames: HashMap<(usize, usize), (Arc<Event>, Bytes)>,
    bytes: usize,
}

impl Encoded {
    pub(super) fn frame(
        &mut self,
        event: &Arc<Event>,
        channel: &Channel,
        wire: &dyn Wire,
    ) -> Bytes {
        let place = (std::ptr::from_ref(channel).addr(), wire.slot());
        if let Some((_, frame)) = self.frames.get(&place) {
            return frame.clone();
        }
        let frame = wire.change(event, &event.token, channel);
        if self.bytes + frame.len() > MOST_BYTES {
            self.forget();
        }
        self.bytes += frame.len();
        self.frames.insert(place, (Arc::clone(event), frame.clone()));
        frame
    }

    pub(super) fn forget(&mut self) {
        if !self.frames.is_empty() {
            *self = Self::default();
        }
    }
}

/// A hundred pages.
const MOST_BYTES: usize = 4 * 1024 * 1024;

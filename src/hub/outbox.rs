//! What waits for one socket.
//!
//! In: frames, shared with every other subscriber of the event. Out: writes of everything queued at once.
//! Invariant: bytes of a frame that was begun are always followed by its rest, and of an event that comes in several
//! frames either all are dropped or none.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use tokio::time::Instant;

use super::Sink;
use super::fanout::Delivery;

#[derive(Debug)]
pub struct Outbox {
    queue: VecDeque<Queued>,
    bytes: usize,
    limit: usize,
    /// Whether the first frame is the rest of one that was partly written.
    begun: bool,
    /// The event of the last live frame that was written whole ([`Delivery::event`]).
    written: Option<i64>,
}

#[derive(Debug)]
struct Queued {
    frame: Bytes,
    /// What it is, if it is a live event; else it is said once and must not be dropped.
    live: Option<Arc<Delivery>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    Empty,
    /// The socket takes no more for now; whether it took anything.
    Blocked {
        took_some: bool,
    },
    /// The connection is gone.
    Broken,
}

impl Outbox {
    pub const fn new(limit: usize) -> Self {
        Self { queue: VecDeque::new(), bytes: 0, limit, begun: false, written: None }
    }

    /// Whether a frame of this size is within the limit; one of any size is, where nothing waits.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.queue.is_empty() || self.bytes + bytes <= self.limit
    }

    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Queues something that is said once.
    pub fn push(&mut self, frame: Bytes) {
        self.add(Queued { frame, live: None });
    }

    /// Queues a live event, which can be dropped.
    pub(super) fn push_live(&mut self, frame: Bytes, live: Arc<Delivery>) {
        self.add(Queued { frame, live: Some(live) });
    }

    /// Drops what is queued, but for the rest of a frame that was begun, and queues this one last frame.
    pub fn replace(&mut self, frame: Bytes) {
        self.queue.truncate(usize::from(self.begun));
        self.bytes = self.queue.iter().map(|queued| queued.frame.len()).sum();
        self.push(frame);
    }

    /// Drops the live events, in their order, but for one that the socket has a part of.
    pub(super) fn drop_live(&mut self) -> Vec<Arc<Delivery>> {
        let begun = self.queue.front().filter(|_| self.begun).and_then(|first| first.live.as_ref());
        let partly = begun.map_or(self.written, |first| first.event());
        let stays = |at: usize, live: &Delivery| {
            (at == 0 && self.begun) || (partly.is_some() && live.event() == partly)
        };
        let mut dropped = Vec::new();
        let mut kept = VecDeque::new();
        for (at, queued) in std::mem::take(&mut self.queue).into_iter().enumerate() {
            match queued.live {
                Some(live) if !stays(at, &live) => {
                    self.bytes -= queued.frame.len();
                    dropped.push(live);
                }
                live => kept.push_back(Queued { live, ..queued }),
            }
        }
        self.queue = kept;
        dropped
    }

    /// Since when a live event waits.
    pub fn oldest(&self) -> Option<Instant> {
        self.queue.iter().find_map(|queued| queued.live.as_ref()).map(|live| live.since)
    }

    pub fn flush(&mut self, sink: &dyn Sink) -> Flush {
        let mut took_some = false;
        while !self.queue.is_empty() {
            match self.write(sink) {
                Ok(0) => return Flush::Broken,
                Ok(written) => {
                    took_some = true;
                    self.advance(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Flush::Blocked { took_some };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Flush::Broken,
            }
        }
        self.queue.shrink_to(KEPT_SLOTS);
        Flush::Empty
    }

    fn add(&mut self, queued: Queued) {
        self.bytes += queued.frame.len();
        self.queue.push_back(queued);
    }

    fn write(&self, sink: &dyn Sink) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = self.queue.len().min(SLICES);
        for (slice, queued) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(&queued.frame);
        }
        sink.try_write(&slices[..count])
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(first) = self.queue.front_mut() {
            if written < first.frame.len() {
                self.begun |= written > 0;
                first.frame.advance(written);
                return;
            }
            written -= first.frame.len();
            self.begun = false;
            self.written = first.live.as_ref().map_or(self.written, |live| live.event());
            self.queue.pop_front();
        }
    }
}

/// Frames handed to one system call; a call takes at most 1,024 (`IOV_MAX` of Linux), and past a few dozen the
/// copy outweighs the call.
const SLICES: usize = 64;

/// Slots that an idle outbox keeps, so that a steady trickle allocates nothing.
const KEPT_SLOTS: usize = 4;

#[cfg(test)]
mod tests;

//! What waits for one socket.
//!
//! In: frames, shared with every other subscriber of the event. Out: writes of everything queued at once.
//! Invariant: bytes of a frame that was begun are always followed by its rest, and of an event that comes in several
//! frames either all are dropped or none; what the socket did not take outlives the burst that it came with.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use tokio::time::Instant;

use super::Sink;
use super::burst::{Burst, FrameNumber, Trail};
use super::fanout::Delivery;

#[derive(Debug)]
pub struct Outbox {
    /// Frames of this burst that need no place of their own, as nothing is before them.
    trail: Option<Trail>,
    /// Nothing waits for most sockets, so it takes little of what a sweep has to look at.
    waiting: Option<Box<Waiting>>,
    limit: usize,
    /// The event of the last live frame that was written whole ([`Delivery::event`]).
    written: Option<i64>,
}

/// At least one frame.
#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Queued>,
    bytes: usize,
    /// Whether the first frame is the rest of one that was partly written.
    begun: bool,
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
        Self { trail: None, waiting: None, limit, written: None }
    }

    /// Whether a frame of this size is within the limit; one of any size is, where nothing waits.
    pub fn has_room(&self, bytes: usize, burst: &Burst) -> bool {
        self.is_empty() || self.bytes(burst) + bytes <= self.limit
    }

    pub fn bytes(&self, burst: &Burst) -> usize {
        let waiting = self.waiting.as_ref().map_or(0, |waiting| waiting.bytes);
        waiting + self.trail.map_or(0, |trail| burst.length(trail))
    }

    /// Queues something that is said once.
    pub fn push(&mut self, frame: Bytes, burst: &Burst) {
        self.settle(burst);
        self.waiting.get_or_insert_default().push(Queued { frame, live: None });
    }

    /// Queues a live event, which can be dropped.
    pub(super) fn push_live(&mut self, frame: FrameNumber, burst: &mut Burst) {
        match &mut self.waiting {
            None => self.trail = Some(burst.follow(self.trail, frame)),
            Some(waiting) => waiting.push(Queued::live(burst.frame(frame))),
        }
    }

    /// Drops what is queued, but for the rest of a frame that was begun, and queues this one last frame.
    pub fn replace(&mut self, frame: Bytes) {
        self.trail = None;
        let waiting = self.waiting.get_or_insert_default();
        waiting.queue.truncate(usize::from(waiting.begun));
        waiting.bytes = waiting.queue.iter().map(|queued| queued.frame.len()).sum();
        waiting.push(Queued { frame, live: None });
    }

    /// Drops the live events, in their order, but for one that the socket has a part of.
    pub(super) fn drop_live(&mut self, burst: &Burst) -> Vec<Arc<Delivery>> {
        self.settle(burst);
        let Some(mut waiting) = self.waiting.take() else { return Vec::new() };
        let dropped = waiting.drop_live(self.written);
        self.waiting = Some(waiting).filter(|waiting| !waiting.queue.is_empty());
        dropped
    }

    /// Since when a live event waits that was there before this burst.
    pub fn oldest(&self) -> Option<Instant> {
        let mut queue = self.waiting.iter().flat_map(|waiting| &waiting.queue);
        queue.find_map(|queued| queued.live.as_ref()).map(|live| live.since)
    }

    /// Whether events of this burst are about to be written.
    pub const fn has_trail(&self) -> bool {
        self.trail.is_some()
    }

    pub fn flush(&mut self, sink: &dyn Sink, burst: &mut Burst) -> Flush {
        let flushed = self.write_all(sink, burst);
        self.settle(burst);
        flushed
    }

    fn write_all(&mut self, sink: &dyn Sink, burst: &mut Burst) -> Flush {
        let mut took_some = false;
        while !self.is_empty() {
            match self.write(sink, burst) {
                Ok(0) => return Flush::Broken,
                Ok(written) => {
                    took_some = true;
                    self.advance(written, burst);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Flush::Blocked { took_some };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Flush::Broken,
            }
        }
        Flush::Empty
    }

    /// Gives what is left of the burst a place of its own.
    pub(super) fn settle(&mut self, burst: &Burst) {
        let mut rest = self.trail.take();
        while let Some(trail) = rest {
            let waiting = self.waiting.get_or_insert_default();
            let last = Queued::live(burst.last(trail));
            waiting.bytes += last.frame.len();
            waiting.queue.push_front(last);
            rest = burst.before(trail);
        }
    }

    const fn is_empty(&self) -> bool {
        self.trail.is_none() && self.waiting.is_none()
    }

    fn write(&self, sink: &dyn Sink, burst: &mut Burst) -> io::Result<usize> {
        if let Some(trail) = self.trail {
            return sink.try_write(&[IoSlice::new(burst.joined(trail))]);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let queue = self.waiting.iter().flat_map(|waiting| &waiting.queue);
        let mut count = 0;
        for (slice, queued) in slices.iter_mut().zip(queue) {
            *slice = IoSlice::new(&queued.frame);
            count += 1;
        }
        sink.try_write(&slices[..count])
    }

    fn advance(&mut self, written: usize, burst: &Burst) {
        if let Some(trail) = self.trail.take_if(|trail| written == burst.length(*trail)) {
            self.written = burst.last(trail).1.event();
            return;
        }
        self.settle(burst);
        if let Some(waiting) = &mut self.waiting {
            self.written = waiting.advance(written, self.written);
        }
        self.waiting.take_if(|waiting| waiting.queue.is_empty());
    }
}

impl Waiting {
    fn push(&mut self, queued: Queued) {
        self.bytes += queued.frame.len();
        self.queue.push_back(queued);
    }

    /// What event was written last, if it was this one before.
    fn advance(&mut self, mut written: usize, mut last: Option<i64>) -> Option<i64> {
        self.bytes -= written;
        while let Some(first) = self.queue.front_mut() {
            if written < first.frame.len() {
                self.begun |= written > 0;
                first.frame.advance(written);
                break;
            }
            written -= first.frame.len();
            self.begun = false;
            last = first.live.as_ref().map_or(last, |live| live.event());
            self.queue.pop_front();
        }
        last
    }

    /// `written` is the event that was written last.
    fn drop_live(&mut self, written: Option<i64>) -> Vec<Arc<Delivery>> {
        let begun = self.queue.front().filter(|_| self.begun).and_then(|first| first.live.as_ref());
        let partly = begun.map_or(written, |first| first.event());
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
}

impl Queued {
    fn live((frame, live): (&Bytes, &Arc<Delivery>)) -> Self {
        Self { frame: frame.clone(), live: Some(Arc::clone(live)) }
    }
}

/// Frames handed to one system call; a call takes at most 1,024 (`IOV_MAX` of Linux), and past a few dozen the
/// copy outweighs the call.
const SLICES: usize = 64;

#[cfg(test)]
mod tests;

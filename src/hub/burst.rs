//! The live frames that were routed since the last sweep, each held once, however many sockets are to get it.
//!
//! In: frames, and who is to get the next one. Out: for each socket the bytes of all its frames in one piece.
//! Invariant: a [`Trail`] means nothing once the burst is cleared; sockets that get the same frames in the same order
//! have the same trail, so that their bytes are joined once, and a delivery allocates and counts nothing.

use bytes::Bytes;
use std::sync::Arc;

use super::fanout::Delivery;

#[derive(Debug, Default)]
pub struct Burst {
    frames: Vec<Frame>,
    steps: Vec<Step>,
    bytes: usize,
    joined: Vec<u8>,
    /// Whose bytes these are.
    joined_of: Option<Trail>,
}

/// The frames of one socket, by the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trail(u32);

/// A frame of this burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameNumber(u32);

#[derive(Debug)]
struct Frame {
    bytes: Bytes,
    live: Arc<Delivery>,
    /// Of those who had nothing before it.
    alone: Trail,
}

#[derive(Debug)]
struct Step {
    before: Option<Trail>,
    frame: FrameNumber,
    /// Of all frames up to here.
    bytes: usize,
    /// Where the last frame led to that was added here. One frame is routed after the other, so one is enough.
    next: Option<(FrameNumber, Trail)>,
}

impl Burst {
    pub(super) fn add(&mut self, bytes: Bytes, live: Arc<Delivery>) -> FrameNumber {
        let frame = FrameNumber(number(self.frames.len()));
        let alone = self.step(None, frame, bytes.len());
        self.bytes += bytes.len();
        self.frames.push(Frame { bytes, live, alone });
        frame
    }

    /// The trail of somebody who gets this frame next.
    pub(super) fn follow(&mut self, trail: Option<Trail>, frame: FrameNumber) -> Trail {
        let Some(trail) = trail else { return self.frames[index(frame.0)].alone };
        let Step { next, bytes, .. } = self.steps[index(trail.0)];
        if let Some((_, next)) = next.filter(|(last, _)| *last == frame) {
            return next;
        }
        let next = self.step(Some(trail), frame, bytes + self.frame(frame).0.len());
        self.steps[index(trail.0)].next = Some((frame, next));
        next
    }

    pub(super) fn frame(&self, frame: FrameNumber) -> (&Bytes, &Arc<Delivery>) {
        let frame = &self.frames[index(frame.0)];
        (&frame.bytes, &frame.live)
    }

    /// The frame that the trail ends with.
    pub(super) fn last(&self, trail: Trail) -> (&Bytes, &Arc<Delivery>) {
        self.frame(self.steps[index(trail.0)].frame)
    }

    /// The trail without its last frame.
    pub(super) fn before(&self, trail: Trail) -> Option<Trail> {
        self.steps[index(trail.0)].before
    }

    /// How long the frames of a trail are.
    pub(super) fn length(&self, trail: Trail) -> usize {
        self.steps[index(trail.0)].bytes
    }

    /// The frames of a trail in one piece. Sockets that are written to one after the other mostly have the same.
    pub(super) fn joined(&mut self, trail: Trail) -> &[u8] {
        if self.before(trail).is_none() {
            return self.last(trail).0;
        }
        if self.joined_of != Some(trail) {
            self.join(trail);
        }
        &self.joined
    }

    /// Whether it is time for a sweep, though more may have arrived.
    pub(super) const fn is_large(&self) -> bool {
        self.bytes >= LARGE
    }

    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.steps.clear();
        self.joined_of = None;
        self.bytes = 0;
        self.frames.shrink_to(KEPT_FRAMES);
        self.steps.shrink_to(KEPT_FRAMES);
        self.joined.truncate(0);
        self.joined.shrink_to(KEPT_BYTES);
    }

    fn step(&mut self, before: Option<Trail>, frame: FrameNumber, bytes: usize) -> Trail {
        let trail = Trail(number(self.steps.len()));
        self.steps.push(Step { before, frame, bytes, next: None });
        trail
    }

    fn join(&mut self, trail: Trail) {
        let mut end = self.length(trail);
        let mut joined = std::mem::take(&mut self.joined);
        joined.resize(end, 0);
        let mut rest = Some(trail);
        while let Some(trail) = rest {
            let frame = self.last(trail).0;
            joined[end - frame.len()..end].copy_from_slice(frame);
            end -= frame.len();
            rest = self.before(trail);
        }
        (self.joined, self.joined_of) = (joined, Some(trail));
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a sweep comes long before a burst has four thousand million steps")
}

const fn index(number: u32) -> usize {
    number as usize
}

/// Bytes of frames that are routed before the sockets are written to: enough for each write to carry many, and
/// little beside what may wait for a single socket.
const LARGE: usize = 1 << 20;

/// What an emptied burst keeps, so that the next one allocates nothing.
const KEPT_FRAMES: usize = 1024;
const KEPT_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests;

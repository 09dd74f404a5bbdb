//! What waits for one socket.
//!
//! In: frames, shared with every other subscriber of the event. Out: writes of everything queued at once.
//! Invariant: never more than the limit in bytes, except that one frame of any size is always taken; bytes of
//! a frame that was begun are always followed by its rest.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};

use super::Sink;

#[derive(Debug)]
pub struct Outbox {
    frames: VecDeque<Bytes>,
    bytes: usize,
    limit: usize,
    /// Whether the first frame is the rest of one that was partly written.
    begun: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    Queued,
    /// The frame would exceed the limit; it was not taken.
    Overflowed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    Empty,
    /// The socket takes no more for now.
    Blocked,
    /// The connection is gone.
    Broken,
}

impl Outbox {
    pub const fn new(limit: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, limit, begun: false }
    }

    pub fn offer(&mut self, frame: Bytes) -> Offer {
        if !self.frames.is_empty() && self.bytes + frame.len() > self.limit {
            return Offer::Overflowed;
        }
        self.push(frame);
        Offer::Queued
    }

    /// Drops what is queued, but for the rest of a frame that was begun, and queues this one last frame.
    pub fn replace(&mut self, frame: Bytes) {
        self.frames.truncate(usize::from(self.begun));
        self.bytes = self.frames.iter().map(Bytes::len).sum();
        self.push(frame);
    }

    pub fn flush(&mut self, sink: &dyn Sink) -> Flush {
        while !self.frames.is_empty() {
            match self.write(sink) {
                Ok(0) => return Flush::Broken,
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flush::Blocked,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Flush::Broken,
            }
        }
        self.frames.shrink_to(KEPT_SLOTS);
        Flush::Empty
    }

    fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    fn write(&self, sink: &dyn Sink) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = self.frames.len().min(SLICES);
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(frame);
        }
        sink.try_write(&slices[..count])
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        self.begun = false;
        while let Some(first) = self.frames.front_mut() {
            if written < first.len() {
                self.begun |= written > 0;
                first.advance(written);
                return;
            }
            written -= first.len();
            self.frames.pop_front();
        }
    }
}

/// Frames handed to one system call; a call takes at most 1,024 (`IOV_MAX` of Linux), and past a few dozen the
/// copy outweighs the call.
const SLICES: usize = 64;

/// Slots that an idle outbox keeps, so that a steady trickle allocates nothing.
const KEPT_SLOTS: usize = 4;

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;

    /// Takes the next number of bytes of its plan at each call, and blocks at a zero.
    struct Trickle {
        plan: Mutex<VecDeque<usize>>,
        taken: Mutex<Vec<u8>>,
    }

    impl Sink for Trickle {
        fn try_write(&self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
            let room = self.plan.lock().unwrap().pop_front().unwrap_or(usize::MAX);
            if room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let all: Vec<u8> = frames.iter().flat_map(|frame| frame.iter().copied()).collect();
            let count = all.len().min(room);
            self.taken.lock().unwrap().extend_from_slice(&all[..count]);
            Ok(count)
        }

        fn writable(&self) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn finish(&self) {}

        fn abort(&self) {}
    }

    fn trickle(plan: Vec<usize>) -> Trickle {
        Trickle { plan: Mutex::new(plan.into()), taken: Mutex::default() }
    }

    #[test]
    fn one_frame_over_the_limit_is_taken_and_a_second_is_not() {
        let mut outbox = Outbox::new(10);
        assert_eq!(outbox.offer(Bytes::from_static(&[0; 100])), Offer::Queued);
        assert_eq!(outbox.offer(Bytes::from_static(&[0; 1])), Offer::Overflowed);
    }

    #[test]
    fn a_frame_that_was_begun_is_finished_before_its_replacement() {
        let sink = trickle(vec![2, 0]);
        let mut outbox = Outbox::new(100);
        outbox.offer(Bytes::from_static(b"begun"));
        outbox.offer(Bytes::from_static(b"dropped"));
        assert_eq!(outbox.flush(&sink), Flush::Blocked);
        outbox.replace(Bytes::from_static(b"!"));
        assert_eq!(outbox.flush(&sink), Flush::Empty);
        assert_eq!(*sink.taken.lock().unwrap(), b"begun!");
    }

    proptest! {
        #[test]
        fn whatever_the_socket_takes_at_a_time_the_bytes_arrive_in_order(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..200),
            plan in proptest::collection::vec(0..60usize, 0..100),
        ) {
            let sink = trickle(plan);
            let mut outbox = Outbox::new(usize::MAX);
            for frame in &frames {
                outbox.offer(Bytes::copy_from_slice(frame));
            }
            while outbox.flush(&sink) == Flush::Blocked {}
            prop_assert_eq!(&*sink.taken.lock().unwrap(), &frames.concat());
            prop_assert_eq!(outbox.bytes, 0);
        }
    }
}

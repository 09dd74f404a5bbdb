//! What arrives of what is queued, whatever the socket takes.

use std::pin::Pin;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::domain::channel::Channel;
use crate::domain::event::Logged;
use crate::domain::position::Position;
use crate::domain::snapshot::Snapshot;

/// Takes the next number of bytes of its plan at each call, and blocks at a zero.
struct Trickle {
    plan: Mutex<VecDeque<usize>>,
    taken: Mutex<Vec<u8>>,
    /// How long each piece was that it was offered, whole or not.
    pieces: Mutex<Vec<usize>>,
}

impl Sink for Trickle {
    fn try_write(&self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
        self.pieces.lock().unwrap().extend(frames.iter().map(|frame| frame.len()));
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
    Trickle { plan: Mutex::new(plan.into()), taken: Mutex::default(), pieces: Mutex::default() }
}

/// The frame of an event, which is its id twice.
fn live(id: u8) -> (Bytes, Option<Arc<Delivery>>) {
    let run = Arc::new(Snapshot::below(9));
    let place = Position { before: Arc::clone(&run), upto: run, last: i64::from(id) - 1 };
    let channel = Channel::parse("items").unwrap();
    let logged = Some(Logged { xid: 9, id: i64::from(id) });
    let delivery = Delivery { channel, logged, place: Some(place), since: Instant::now() };
    (Bytes::from(vec![id, id]), Some(Arc::new(delivery)))
}

fn said(text: &'static [u8]) -> (Bytes, Option<Arc<Delivery>>) {
    (Bytes::from_static(text), None)
}

/// An outbox and the burst that its live events came with.
struct Rig {
    outbox: Outbox,
    burst: Burst,
}

impl Rig {
    fn new(limit: usize, frames: Vec<(Bytes, Option<Arc<Delivery>>)>) -> Self {
        let mut rig = Self { outbox: Outbox::new(limit), burst: Burst::default() };
        for (frame, live) in frames {
            rig.queue(frame, live);
        }
        rig
    }

    fn queue(&mut self, frame: Bytes, live: Option<Arc<Delivery>>) {
        match live {
            Some(live) => {
                let frame = self.burst.add(frame, live);
                self.outbox.push_live(frame, &mut self.burst);
            }
            None => self.outbox.push(frame, &self.burst),
        }
    }

    /// As a sweep does it: what the socket does not take outlives the burst.
    fn sweep(&mut self, sink: &Trickle) -> Flush {
        let flush = self.outbox.flush(sink, &mut self.burst);
        self.burst.clear();
        flush
    }

    fn bytes(&self) -> usize {
        self.outbox.bytes(&self.burst)
    }
}

#[test]
fn one_frame_over_the_limit_has_room_and_a_second_has_not() {
    let has_room = |rig: Rig, bytes| rig.outbox.has_room(bytes, &rig.burst);
    assert!(has_room(Rig::new(10, vec![]), 100));
    assert!(!has_room(Rig::new(10, vec![said(&[0; 100])]), 1));
    assert!(has_room(Rig::new(10, vec![live(1), live(2)]), 6));
    assert!(!has_room(Rig::new(10, vec![live(1), live(2)]), 7));
}

#[test]
fn a_frame_that_was_begun_is_finished_before_its_replacement() {
    let sink = trickle(vec![2, 0]);
    let mut rig = Rig::new(100, vec![said(b"begun"), said(b"dropped")]);
    assert_eq!(rig.sweep(&sink), Flush::Blocked { took_some: true });
    rig.outbox.replace(Bytes::from_static(b"!"));
    assert_eq!(rig.sweep(&sink), Flush::Empty);
    assert_eq!(*sink.taken.lock().unwrap(), b"begun!");
}

#[test]
fn the_frames_of_an_event_stay_together_when_live_ones_are_dropped() {
    // Event 1 comes on three channels; the socket took the first frame, or it and a half.
    for taken in [2, 3] {
        let sink = trickle(vec![taken, 0]);
        let frames = vec![live(1), live(1), live(1), said(b"a"), live(2), live(3), said(b"b")];
        let mut rig = Rig::new(100, frames);
        rig.sweep(&sink);
        let dropped: Vec<_> =
            rig.outbox.drop_live(&rig.burst).iter().map(|live| live.event()).collect();
        assert_eq!(dropped, [Some(2), Some(3)]);
        assert_eq!(rig.sweep(&sink), Flush::Empty);
        assert_eq!(*sink.taken.lock().unwrap(), b"\x01\x01\x01\x01\x01\x01ab");
        assert_eq!(rig.bytes(), 0);
    }
}

#[test]
fn an_event_that_the_socket_took_a_frame_of_in_the_last_burst_is_not_dropped_in_this_one() {
    let sink = trickle(vec![]);
    let mut rig = Rig::new(100, vec![live(1)]);
    assert_eq!(rig.sweep(&sink), Flush::Empty);
    for (frame, live) in [live(1), live(2)] {
        rig.queue(frame, live);
    }
    let dropped: Vec<_> =
        rig.outbox.drop_live(&rig.burst).iter().map(|live| live.event()).collect();
    assert_eq!(dropped, [Some(2)]);
    assert_eq!(rig.sweep(&sink), Flush::Empty);
    assert_eq!(*sink.taken.lock().unwrap(), [1, 1, 1, 1]);
}

#[test]
fn all_that_came_in_one_burst_goes_out_in_one_piece() {
    let sink = trickle(vec![]);
    let mut rig = Rig::new(1000, (1..=100).map(live).collect());
    assert_eq!(rig.sweep(&sink), Flush::Empty);
    assert_eq!(*sink.pieces.lock().unwrap(), [200]);
}

proptest! {
    #[test]
    fn whatever_the_socket_takes_at_a_time_the_bytes_arrive_in_order(
        frames in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(any::<u8>(), 1..40)), 0..200),
        plan in proptest::collection::vec(0..60usize, 0..100),
    ) {
        let sink = trickle(plan);
        let mut rig = Rig::new(usize::MAX, vec![]);
        for (is_live, frame) in &frames {
            let live = live(1).1.filter(|_| *is_live);
            rig.queue(Bytes::copy_from_slice(frame), live);
        }
        let frames: Vec<_> = frames.into_iter().map(|(_, frame)| frame).collect();
        prop_assert_eq!(rig.bytes(), frames.concat().len());
        while matches!(rig.sweep(&sink), Flush::Blocked { .. }) {}
        prop_assert_eq!(&*sink.taken.lock().unwrap(), &frames.concat());
        prop_assert_eq!(rig.bytes(), 0);
    }

    /// Steps: queue the next live event, say something, let the socket take bytes, drop what is live and go on
    /// from the first event that was dropped, as a log would.
    #[test]
    fn with_drops_at_any_time_each_event_arrives_once_and_in_order(
        steps in proptest::collection::vec((0..4u8, 1..5usize), 1..200),
    ) {
        let sink = trickle(Vec::new());
        let mut rig = Rig::new(usize::MAX, vec![]);
        let (mut next, mut sayings) = (1u8, 0usize);
        for (kind, amount) in steps {
            match kind {
                0 if next < 200 => {
                    let (frame, live) = live(next);
                    rig.queue(frame, live);
                    next += 1;
                }
                1 => {
                    rig.queue(Bytes::from_static(&[255, 255]), None);
                    sayings += 1;
                }
                2 => {
                    *sink.plan.lock().unwrap() = [amount, 0].into();
                    rig.sweep(&sink);
                }
                _ => {
                    if let Some(first) = rig.outbox.drop_live(&rig.burst).first() {
                        next = u8::try_from(first.event().unwrap()).unwrap();
                    }
                }
            }
        }
        sink.plan.lock().unwrap().clear();
        prop_assert_eq!(rig.sweep(&sink), Flush::Empty);
        let taken = sink.taken.lock().unwrap();
        let pairs: Vec<_> = taken.chunks(2).inspect(|pair| assert_eq!(pair[0], pair[1])).collect();
        let events: Vec<u8> = pairs.iter().map(|pair| pair[0]).filter(|id| *id < 255).collect();
        prop_assert_eq!(events, (1..next).collect::<Vec<_>>());
        prop_assert_eq!(pairs.iter().filter(|pair| pair[0] == 255).count(), sayings);
    }
}

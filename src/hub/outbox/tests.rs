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

fn outbox(limit: usize, frames: Vec<(Bytes, Option<Arc<Delivery>>)>) -> Outbox {
    let mut outbox = Outbox::new(limit);
    for (frame, live) in frames {
        queue(&mut outbox, frame, live);
    }
    outbox
}

fn queue(outbox: &mut Outbox, frame: Bytes, live: Option<Arc<Delivery>>) {
    match live {
        Some(live) => outbox.push_live(frame, live),
        None => outbox.push(frame),
    }
}

#[test]
fn one_frame_over_the_limit_has_room_and_a_second_has_not() {
    assert!(outbox(10, vec![]).has_room(100));
    assert!(!outbox(10, vec![said(&[0; 100])]).has_room(1));
}

#[test]
fn a_frame_that_was_begun_is_finished_before_its_replacement() {
    let sink = trickle(vec![2, 0]);
    let mut outbox = outbox(100, vec![said(b"begun"), said(b"dropped")]);
    assert_eq!(outbox.flush(&sink), Flush::Blocked { took_some: true });
    outbox.replace(Bytes::from_static(b"!"));
    assert_eq!(outbox.flush(&sink), Flush::Empty);
    assert_eq!(*sink.taken.lock().unwrap(), b"begun!");
}

#[test]
fn the_frames_of_an_event_stay_together_when_live_ones_are_dropped() {
    // Event 1 comes on three channels; the socket took the first frame, or it and a half.
    for taken in [2, 3] {
        let sink = trickle(vec![taken, 0]);
        let frames = vec![live(1), live(1), live(1), said(b"a"), live(2), live(3), said(b"b")];
        let mut outbox = outbox(100, frames);
        outbox.flush(&sink);
        let dropped: Vec<_> = outbox.drop_live().iter().map(|live| live.event()).collect();
        assert_eq!(dropped, [Some(2), Some(3)]);
        assert_eq!(outbox.flush(&sink), Flush::Empty);
        assert_eq!(*sink.taken.lock().unwrap(), b"\x01\x01\x01\x01\x01\x01ab");
        assert_eq!(outbox.bytes, 0);
    }
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
            outbox.push(Bytes::copy_from_slice(frame));
        }
        while matches!(outbox.flush(&sink), Flush::Blocked { .. }) {}
        prop_assert_eq!(&*sink.taken.lock().unwrap(), &frames.concat());
        prop_assert_eq!(outbox.bytes, 0);
    }

    /// Steps: queue the next live event, say something, let the socket take bytes, drop what is live and go on
    /// from the first event that was dropped, as a log would.
    #[test]
    fn with_drops_at_any_time_each_event_arrives_once_and_in_order(
        steps in proptest::collection::vec((0..4u8, 1..5usize), 1..200),
    ) {
        let sink = trickle(Vec::new());
        let mut outbox = Outbox::new(usize::MAX);
        let (mut next, mut sayings) = (1u8, 0usize);
        for (kind, amount) in steps {
            match kind {
                0 if next < 200 => {
                    let (frame, live) = live(next);
                    queue(&mut outbox, frame, live);
                    next += 1;
                }
                1 => {
                    outbox.push(Bytes::from_static(&[255, 255]));
                    sayings += 1;
                }
                2 => {
                    *sink.plan.lock().unwrap() = [amount, 0].into();
                    outbox.flush(&sink);
                }
                _ => {
                    if let Some(first) = outbox.drop_live().first() {
                        next = u8::try_from(first.event().unwrap()).unwrap();
                    }
                }
            }
        }
        sink.plan.lock().unwrap().clear();
        prop_assert_eq!(outbox.flush(&sink), Flush::Empty);
        let taken = sink.taken.lock().unwrap();
        let pairs: Vec<_> = taken.chunks(2).inspect(|pair| assert_eq!(pair[0], pair[1])).collect();
        let events: Vec<u8> = pairs.iter().map(|pair| pair[0]).filter(|id| *id < 255).collect();
        prop_assert_eq!(events, (1..next).collect::<Vec<_>>());
        prop_assert_eq!(pairs.iter().filter(|pair| pair[0] == 255).count(), sayings);
    }
}

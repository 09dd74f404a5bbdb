//! Each subscriber's bytes, however their subscriptions differ, against plain lists.

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::domain::channel::Channel;

fn delivery() -> Arc<Delivery> {
    let channel = Channel::parse("items").unwrap();
    Arc::new(Delivery { channel, logged: None, place: None, since: Instant::now() })
}

proptest! {
    /// Each frame goes to some of the subscribers, one bit for each.
    #[test]
    fn a_trail_joins_what_its_subscriber_got_and_the_same_frames_are_the_same_trail(
        frames in proptest::collection::vec((0..50usize, any::<u8>()), 0..60),
    ) {
        let (mut burst, live) = (Burst::default(), delivery());
        let mut trails = [None; 8];
        let mut lists: [Vec<usize>; 8] = Default::default();
        let bytes = |at: usize| vec![u8::try_from(at).unwrap(); frames[at].0];
        for (at, (_, whom)) in frames.iter().enumerate() {
            let frame = burst.add(bytes(at).into(), Arc::clone(&live));
            for (subscriber, trail) in trails.iter_mut().enumerate() {
                if whom & (1 << subscriber) != 0 {
                    *trail = Some(burst.follow(*trail, frame));
                    lists[subscriber].push(at);
                }
            }
        }
        for (trail, list) in trails.iter().zip(&lists) {
            let expected: Vec<u8> = list.iter().flat_map(|at| bytes(*at)).collect();
            let joined = trail.map(|trail| burst.joined(trail).to_vec());
            prop_assert_eq!(joined.unwrap_or_default(), expected);
            for (other, of_other) in trails.iter().zip(&lists) {
                prop_assert_eq!(trail == other, list == of_other);
            }
        }
    }
}

#[test]
fn a_cleared_burst_joins_what_is_new() {
    let (mut burst, live) = (Burst::default(), delivery());
    for letter in [b'a', b'b'] {
        let first = burst.add(Bytes::copy_from_slice(&[letter]), Arc::clone(&live));
        let second = burst.add(Bytes::copy_from_slice(&[letter; 2]), Arc::clone(&live));
        let trail = burst.follow(None, first);
        let trail = burst.follow(Some(trail), second);
        assert_eq!(burst.joined(trail), [letter; 3]);
        assert_eq!(burst.length(trail), 3);
        burst.clear();
    }
}

#[test]
fn a_burst_is_large_once_its_frames_are() {
    let (mut burst, live) = (Burst::default(), delivery());
    burst.add(vec![0; LARGE - 1].into(), Arc::clone(&live));
    assert!(!burst.is_large());
    burst.add(vec![0; 1].into(), live);
    assert!(burst.is_large());
    burst.clear();
    assert!(!burst.is_large());
}

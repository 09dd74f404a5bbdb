//! Which stretches a position gets.

use super::*;
use crate::domain::event::Logged;

fn event(xid: u64, id: i64) -> Arc<Event> {
    Arc::new(Event {
        token: "".into(),
        logged: Some(Logged { xid, id }),
        at: "".into(),
        table: None,
        op: "insert".into(),
        channels: Box::default(),
        audience: None,
        key: None,
        row: None,
        old: None,
        changed: None,
        user: None,
        origin: None,
        truncated: false,
    })
}

fn below(xid: u64) -> Arc<Snapshot> {
    Arc::new(Snapshot::below(xid))
}

fn at(xid: u64) -> Position {
    Position::complete(below(xid))
}

fn within(before: u64, upto: u64, last: i64) -> Position {
    Position { before: below(before), upto: below(upto), last }
}

fn run(events: Vec<Arc<Event>>, upto: u64) -> Batch {
    Batch { events, position: at(upto), token: "".into() }
}

/// The ids of what a position has not seen, stretch by stretch, and whether each stretch is the node's own.
fn stretches(ring: &Ring, position: Position) -> Vec<(Vec<i64>, bool)> {
    assert_eq!(ring.reach(&position), Reach::Memory, "{position:?}");
    let mut position = position;
    let mut found = Vec::new();
    while let Some(stretch) = ring.stretch(&position) {
        let ids = stretch.events.iter().map(|event| event.logged.unwrap().id).collect();
        found.push((ids, stretch.is_own));
        position = stretch.end;
    }
    found
}

fn three_runs() -> Ring {
    let mut ring = Ring::new(usize::MAX);
    ring.push(&run(vec![], 10));
    ring.push(&run(vec![event(10, 1), event(11, 2)], 12));
    ring.push(&run(vec![event(12, 3)], 13));
    ring.push(&run(vec![event(14, 4), event(13, 5)], 15));
    ring
}

#[test]
fn a_position_between_runs_gets_the_runs_behind_it() {
    let ring = three_runs();
    assert_eq!(ring.reach(&at(9)), Reach::Log(below(15)), "older than what is kept");
    assert_eq!(ring.reach(&at(16)), Reach::Ahead);
    assert_eq!(ring.reach(&within(15, 16, 7)), Reach::Ahead);
    let all = [(vec![1, 2], true), (vec![3], true), (vec![4, 5], true)];
    assert_eq!(stretches(&ring, at(10)), all);
    assert_eq!(stretches(&ring, at(13)), all[2..]);
    assert_eq!(stretches(&ring, at(15)), []);
    assert_eq!(stretches(&ring, within(13, 15, 4)), [(vec![5], true)]);
    assert_eq!(Ring::new(9).reach(&at(1)), Reach::Ahead, "nothing was read yet");
}

#[test]
fn a_position_of_another_node_gets_a_stretch_of_its_own_up_to_the_end_of_a_run() {
    let ring = three_runs();
    let rest = [(vec![3], true), (vec![4, 5], true)];
    // All that it has seen of a run comes before all that it has not: that is a place of this node's own.
    let mut expected = vec![(vec![2], true)];
    expected.extend(rest.clone());
    assert_eq!(stretches(&ring, at(11)), expected);
    assert_eq!(stretches(&ring, at(14)), [(vec![4], false)], "the last that it has seen is 5");
    // Inside a run that the other node read: first the rest of that one.
    assert_eq!(stretches(&ring, within(10, 13, 1)), [(vec![2, 3], false), rest[1].clone()]);
    let straddling = Position {
        before: Arc::new("10:12:10".parse().unwrap()),
        upto: Arc::new("13:15:13".parse().unwrap()),
        last: 2,
    };
    assert_eq!(stretches(&ring, straddling), [(vec![3, 4], false), (vec![5], true)]);
    let was_open = Position::complete(Arc::new("9:12:9".parse().unwrap()));
    assert_eq!(ring.reach(&was_open), Reach::Log(below(15)), "9 is older than what is kept");
}

#[test]
fn what_is_over_the_limit_goes_oldest_first_and_a_run_goes_as_a_whole() {
    let weight = event(1, 1).weight() + RUN_WEIGHT;
    let mut ring = Ring::new(2 * weight);
    ring.push(&run(vec![], 10));
    for xid in 10..13 {
        ring.push(&run(vec![event(xid, 1)], xid + 1));
    }
    assert_eq!(ring.reach(&at(10)), Reach::Log(below(13)));
    assert_eq!(ring.reach(&at(11)), Reach::Memory);

    let events = (0..10).map(|id| event(13, id)).collect();
    ring.push(&Batch { events, position: within(13, 14, 9), token: "".into() });
    assert_eq!(ring.reach(&at(13)), Reach::Ahead, "its first part is gone");
    ring.push(&run(vec![event(13, 10)], 14));
    assert_eq!(stretches(&ring, at(14)), []);
    assert_eq!(ring.settled(), Some(&below(14)));
}

#[test]
fn a_run_that_is_still_growing_is_read_as_far_as_it_is_there() {
    let mut ring = three_runs();
    let events = vec![event(15, 6), event(16, 7)];
    ring.push(&Batch { events, position: within(15, 17, 7), token: "".into() });
    assert_eq!(stretches(&ring, at(15)), [(vec![6, 7], true)]);
    assert_eq!(stretches(&ring, within(15, 17, 6)), [(vec![7], true)]);
    assert_eq!(ring.reach(&within(15, 16, 6)), Reach::Ahead, "another node's, in the same run");
    assert_eq!(ring.reach(&within(15, 17, 8)), Reach::Ahead, "another node has read on");
    ring.push(&run(vec![event(16, 8)], 17));
    assert_eq!(stretches(&ring, within(15, 17, 7)), [(vec![8], true)]);
}

fn before(from: u64, runs: Vec<Batch>) -> Backfill {
    Backfill { from: below(from), is_from_chosen: false, runs, floor: 0 }
}

fn filled() -> Ring {
    let mut ring = Ring::new(usize::MAX / 2);
    ring.push(&run(vec![], 10));
    ring.push(&run(vec![event(10, 5), event(11, 6)], 12));
    ring.push(&run(vec![event(12, 7)], 13));
    ring.extend();
    ring.backfill(before(
        5,
        vec![
            run(vec![event(5, 1), event(7, 2), event(6, 3)], 8),
            run(vec![event(8, 4)], 10),
            run(vec![event(10, 5), event(11, 6)], 12),
        ],
    ));
    ring
}

#[test]
fn what_came_before_is_put_in_front_and_serves_whoever_stands_in_it() {
    let ring = filled();
    let rest = [(vec![5, 6], true), (vec![7], true)];
    let behind = |first: &[(Vec<i64>, bool)]| [first, &rest].concat();
    assert_eq!(ring.reach(&at(4)), Reach::Log(below(13)));
    let all = [(vec![1, 2, 3], true), (vec![4], true)];
    assert_eq!(stretches(&ring, at(5)), behind(&all));
    assert_eq!(stretches(&ring, at(8)), behind(&all[1..]));
    let waits = Position::complete(Arc::new("6:8:6".parse().unwrap()));
    assert_eq!(stretches(&ring, waits), behind(&[(vec![3], true), all[1].clone()]));
    let waits = Position::complete(Arc::new("5:7:5".parse().unwrap()));
    assert_eq!(stretches(&ring, waits), behind(&[(vec![1, 2], false), all[1].clone()]));
    assert_eq!(stretches(&ring, within(5, 8, 2)), behind(&[(vec![3], true), all[1].clone()]));
    assert!(ring.stretch(&at(10)).unwrap().is_filled);
    assert!(!ring.stretch(&at(12)).unwrap().is_filled);
}

#[test]
fn what_does_not_end_where_memory_begins_is_not_put_there() {
    let mut ring = three_runs();
    for end in [8, 10, 13] {
        ring.backfill(before(5, vec![run(vec![event(5, -4)], end)]));
    }
    ring.backfill(before(5, vec![]));
    assert_eq!(ring.base(), Some(&below(10)));
}

#[test]
fn a_first_run_of_which_a_part_may_have_come_before_what_is_in_front_of_it_is_read_again() {
    let mut ring = Ring::new(usize::MAX / 2);
    ring.push(&run(vec![], 11));
    // Whoever is 10 waited for whoever is 17.
    ring.push(&run(vec![event(17, 7)], 18));
    ring.push(&run(vec![event(18, 10)], 19));
    assert_eq!(ring.joint().map(|(upto, _)| upto), Some(&below(18)));
    ring.backfill(before(9, vec![run(vec![event(9, 6), event(17, 7), event(10, 9)], 18)]));
    assert_eq!(stretches(&ring, at(9)), [(vec![6, 7, 9], true), (vec![10], true)]);
    assert_eq!(ring.joint().map(|(upto, _)| upto), Some(&below(9)));

    let chosen = before(8, vec![run(vec![event(8, 5)], 9)]);
    ring.backfill(Backfill { is_from_chosen: true, ..chosen });
    assert_eq!(ring.joint().map(|(upto, _)| upto), Some(&below(9)), "the first run is read again");
}

#[test]
fn what_was_put_in_front_goes_first_once_nobody_wants_it() {
    let weight = event(1, 1).weight() + RUN_WEIGHT;
    let mut ring = Ring::new(4 * weight);
    ring.push(&run(vec![], 9));
    for xid in 9..14 {
        ring.push(&run(vec![event(xid, 1)], xid + 1));
    }
    ring.extend();
    assert_eq!(ring.room(), 3 * weight);
    ring.backfill(before(7, vec![run(vec![event(7, 1)], 8), run(vec![event(8, 1)], 10)]));
    assert_eq!((ring.room(), ring.base()), (weight, Some(&below(7))));
    ring.push(&run(vec![event(14, 1)], 15));
    ring.push(&run(vec![event(15, 1)], 16));
    assert_eq!((ring.room(), ring.base()), (0, Some(&below(7))), "what is live takes the room");
    ring.push(&run(vec![event(16, 1)], 17));
    assert_eq!((ring.room(), ring.base()), (0, Some(&below(8))), "the oldest goes");
    ring.release();
    assert_eq!(ring.base(), Some(&below(13)));
}

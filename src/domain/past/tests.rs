//! Where a stretch of the log is divided.

use super::*;

fn below(xid: Xid) -> Arc<Snapshot> {
    Arc::new(Snapshot::below(xid))
}

fn events(xids: impl IntoIterator<Item = Xid>) -> Vec<Logged> {
    xids.into_iter().zip(1..).map(|(xid, id)| Logged { xid, id }).collect()
}

#[test]
fn each_run_ends_where_all_that_follows_is_of_later_transactions() {
    let most = RUN_EVENTS as u64;
    let runs = divide(&below(100), &below(2000), &events((0..=2 * most).map(|at| 100 + at)));
    let ends = [below(100 + most), below(100 + 2 * most), below(2000)];
    let sizes = [RUN_EVENTS, RUN_EVENTS, 1];
    assert_eq!(runs, sizes.into_iter().zip(ends).collect::<Vec<_>>());

    let crossing = events((100..100 + most).rev());
    assert_eq!(divide(&below(100), &below(2000), &crossing), [(RUN_EVENTS, below(2000))]);
    let large = events(std::iter::repeat_n(100, 2 * RUN_EVENTS));
    assert_eq!(divide(&below(100), &below(2000), &large), [(2 * RUN_EVENTS, below(2000))]);
}

#[test]
fn what_was_open_at_the_beginning_is_all_in_the_first_run() {
    let from: Snapshot = "50:400:50,60".parse().unwrap();
    let most = RUN_EVENTS as u64;
    let open_and_new = events([50].into_iter().chain(400..400 + most).chain([60, 900]));
    let runs = divide(&from, &below(1000), &open_and_new);
    assert_eq!(runs, [(RUN_EVENTS + 2, below(900)), (1, below(1000))]);
    assert!(runs[0].1.includes(&from), "runs follow each other");
}

#[test]
fn a_stretch_without_events_is_a_run_and_one_without_transactions_is_none() {
    assert_eq!(divide(&below(10), &below(20), &[]), [(0, below(20))]);
    assert_eq!(divide(&below(20), &below(20), &[]), []);
}

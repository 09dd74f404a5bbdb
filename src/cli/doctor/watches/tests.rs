//! Each way in which a watch can be broken, beside one that is not.

use super::*;
use crate::cli::doctor::check::State;
use crate::postgres::diagnosis::{Transaction, Trigger};

fn watch() -> Watched {
    let trigger = |op: &str| Trigger { name: format!("rowcast_900_{op}"), enabled: Some('O') };
    Watched {
        oid: 5,
        table: "public.orders".to_owned(),
        is_dropped: false,
        channels: vec!["orders".to_owned()],
        users: None,
        is_logged: true,
        by_statement: true,
        wakes: true,
        has_key: true,
        triggers: vec![trigger("insert"), trigger("update")],
        uncovered: Vec::new(),
        children: Vec::new(),
        lost: Vec::new(),
        is_replicated: false,
        drift: None,
        call: "select rowcast.watch('public.orders', log => 't'".to_owned(),
        capture: "auto".to_owned(),
    }
}

fn with_triggers(state: Option<char>) -> Watched {
    let triggers = watch().triggers.into_iter();
    Watched { triggers: triggers.map(|t| Trigger { enabled: state, ..t }).collect(), ..watch() }
}

#[test]
fn a_sound_watch_is_one_line() {
    let checks = judge(&watch());
    assert_eq!((checks.len(), checks[0].state), (1, State::Ok));
}

#[test]
fn each_fault_has_a_name_and_a_mend() {
    let again =
        "select rowcast.watch('public.orders', log => 't', capture => 'auto', wake => 'auto');";
    let uncovered = vec![("public.p1".to_owned(), "rowcast_900_insert".to_owned())];
    for (broken, aspect, mend) in [
        (Watched { is_dropped: true, ..watch() }, "public.orders", "select rowcast.unwatch(5);"),
        (with_triggers(None), ": triggers", again),
        (with_triggers(Some('D')), ": triggers", "enable trigger rowcast_900_insert;\nalter table"),
        (with_triggers(Some('R')), ": triggers", "enable trigger rowcast_900_update;"),
        (Watched { uncovered, ..watch() }, ": partitions", "alter table public.p1 enable trigger"),
        (Watched { has_key: false, ..watch() }, ": key", "add primary key"),
        (Watched { is_replicated: true, ..watch() }, ": replication", "capture => 'row'"),
        (Watched { children: vec!["public.c".into()], ..watch() }, ": children", "'public.c'"),
        (Watched { drift: Some("its key is another".into()), ..watch() }, ": drift", again),
        (
            Watched { drift: Some("no column".into()), lost: vec!["qty".into()], ..watch() },
            ": drift",
            "without what the table no longer has (qty)",
        ),
    ] {
        let checks = judge(&broken);
        assert_eq!(checks.len(), 1, "{checks:?}");
        assert!(checks[0].name.ends_with(aspect), "{checks:?}");
        assert!(checks[0].mend.as_ref().is_some_and(|said| said.contains(mend)), "{checks:?}");
        assert_ne!(checks[0].state, State::Ok);
    }
}

#[test]
fn triggers_that_always_fire_suit_a_subscription_if_they_are_of_rows() {
    let always = with_triggers(Some('A'));
    let by_row = Watched { by_statement: false, is_replicated: true, ..always.clone() };
    assert_eq!(judge(&by_row)[0].state, State::Ok);
    assert_eq!(judge(&Watched { is_replicated: true, ..always })[0].state, State::Failure);
}

#[test]
fn a_prepared_transaction_is_in_the_way_of_tables_that_notify() {
    let prepared = Transaction {
        holder: Holder::Prepared("x".to_owned()),
        database: None,
        is_here: true,
        user: None,
        state: None,
        age: Some(1.0),
        horizon: 1,
        query: None,
    };
    let used = Activity { transactions: vec![prepared], ..Activity::default() };
    let state = |watched: Watched, wake| two_phase(&[watched], &used, wake).state;
    assert_eq!(two_phase(&[watch()], &Activity::default(), Wake::Auto).state, State::Ok);
    assert_eq!(state(watch(), Wake::Auto), State::Warning);
    assert_eq!(state(watch(), Wake::Poll), State::Ok);
    assert_eq!(state(Watched { wakes: false, ..watch() }, Wake::Auto), State::Ok);
    assert_eq!(state(Watched { is_logged: false, ..watch() }, Wake::Poll), State::Warning);
}

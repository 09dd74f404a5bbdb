//! Five thousand subscribers, of whom one in a hundred is meant.

use super::Case;
use super::fanout::micros;
use crate::report::Figure;
use crate::rig::{ITEM, Rig, Table, median, subscribe};
use crate::{Outcome, Run};

pub const CASE: Case = Case {
    name: "selective",
    goal: "P5",
    about: "an event for 1 % of 5,000 subscribers, against one for all of them",
    run,
};

fn run(run: &Run) -> Outcome<Vec<Figure>> {
    let rig = Rig::new(run)?;
    let mut load = rig.clients(SUBSCRIBERS)?;
    load.subscribe(|number| subscribe(&format!("topic:{}", number % TOPICS)))?;
    load.subscribe(|_| subscribe(ITEM.channel))?;
    let meant = (SUBSCRIBERS / TOPICS) as u64;
    let (few, many) = (run.or(1000, 200), run.or(80, 20));
    let (mut some, mut all, mut ratios) = (vec![], vec![], vec![]);
    let first = load.frames;
    let rounds = run.or(6, 4);
    for _ in 0..rounds {
        let one = micros(rig.one_at_a_time(&mut load, TOPIC, few, meant)?, few);
        let every = micros(rig.one_at_a_time(&mut load, ITEM, many, SUBSCRIBERS as u64)?, many);
        some.push(one);
        all.push(every);
        ratios.push(one / every);
    }
    let expected = rounds * (few * meant + many * SUBSCRIBERS as u64);
    load.pump(std::time::Duration::from_millis(100))?;
    if load.frames - first != expected {
        return Err(format!("{} frames came instead of {expected}", load.frames - first).into());
    }
    Ok(vec![
        Figure::new(
            "CPU of an event for 1 % of 5,000, as a part of one for all",
            median(ratios),
            "x",
        )
        .at_most(0.25),
        Figure::new("CPU of an event for 50 of 5,000 subscribers", median(some), "µs"),
        Figure::new("CPU of an event for all 5,000", median(all), "µs"),
    ])
}

const SUBSCRIBERS: usize = 5000;
const TOPICS: usize = 100;

const TOPIC: Table =
    Table { insert: "insert into topic_item (topic, body) values (7, $1)", channel: "topic:7" };

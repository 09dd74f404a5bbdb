//! A large transaction that nobody hears, behind it one event that somebody waits for.

use std::time::Instant;

use super::Case;
use super::fanout::micros;
use crate::report::Figure;
use crate::rig::{ITEM, Rig, UNHEARD, body, median};
use crate::{Outcome, Run};

pub const CASE: Case = Case {
    name: "ingest",
    goal: "P6",
    about: "events from the log, while the only subscriber listens elsewhere",
    run,
};

fn run(run: &Run) -> Outcome<Vec<Figure>> {
    let rig = Rig::new(run)?;
    let mut load = rig.subscribers(1, ITEM.channel)?;
    let before = load.seen();
    let (mut rates, mut costs) = (vec![], vec![]);
    let rounds = run.or(8, 3);
    for _ in 0..rounds {
        rig.db.run("begin")?;
        let many = format!(
            "insert into {} (body) select '{}' from generate_series(1, {EVENTS})",
            UNHEARD.channel,
            body(256)
        );
        rig.db.run(&many)?;
        rig.db.wait(rig.db.client.execute(ITEM.insert, &[&body(256)]))?;
        let (cpu, began, target) = (rig.cpu()?, Instant::now(), load.frames + 1);
        rig.db.run("commit")?;
        load.until_frames(target)?;
        rates.push(EVENTS as f64 / began.elapsed().as_secs_f64());
        costs.push(micros(rig.cpu()?.saturating_sub(cpu), EVENTS));
    }
    load.nothing_missing(&before, rounds)?;
    Ok(vec![
        Figure::new("events from the log, 100,000 in a transaction", median(rates), "/s")
            .at_least(100_000.0),
        Figure::new("the daemon's CPU for each of them", median(costs), "µs").at_most(3.0),
    ])
}

const EVENTS: u64 = 100_000;

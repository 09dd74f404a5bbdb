//! A daemon with nothing to do.

use std::time::{Duration, Instant};

use super::Case;
use crate::report::Figure;
use crate::rig::{ITEM, Rig};
use crate::{Outcome, Run};

pub const CASE: Case = Case {
    name: "idle",
    goal: "",
    about: "what a daemon without work costs, itself and its database",
    run,
};

fn run(run: &Run) -> Outcome<Vec<Figure>> {
    let rig = Rig::counting(run)?;
    let (alone, asked) = watch(run, &rig, || Ok(()))?;
    let mut load = rig.subscribers(1000, ITEM.channel)?;
    let (with, _) = watch(run, &rig, || load.pump(Duration::from_millis(500)))?;
    Ok(vec![
        Figure::new("CPU of an idle daemon, of a core", alone, "%").at_most(0.1),
        Figure::new("the same with 1,000 idle subscribers, who answer pings", with, "%"),
        Figure::new("statements that its database gets", asked, "/s"),
    ])
}

/// Its share of a core in per cent, and its statements in a second.
fn watch(run: &Run, rig: &Rig, mut meanwhile: impl FnMut() -> Outcome<()>) -> Outcome<(f64, f64)> {
    std::thread::sleep(Duration::from_secs(2));
    rig.db.run("select pg_stat_statements_reset()")?;
    let (cpu, began) = (rig.cpu()?, Instant::now());
    while began.elapsed() < Duration::from_secs(run.or(60, 10)) {
        meanwhile()?;
        std::thread::sleep(Duration::from_millis(200));
    }
    let (used, seconds) = (rig.cpu()?.saturating_sub(cpu), began.elapsed().as_secs_f64());
    let calls: i64 = rig.db.one(ASKED, &[])?.get(0);
    Ok((100.0 * used.as_secs_f64() / seconds, calls as f64 / seconds))
}

/// But for our own.
const ASKED: &str = "\
select coalesce(sum(calls), 0)::int8
  from pg_stat_statements
 where query not like '%pg_stat_statements%'";

//! What the hot path costs in instructions of our own, which hardly differ from one run to the next.
//!
//! The daemon runs under callgrind. What the kernel does is not counted, so this guards our part of a delivery and of
//! an event between releases; what both cost in time is told by `fanout`, `saturated` and `ingest`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Case;
use super::fanout::SUBSCRIBERS;
use crate::load::Load;
use crate::report::Figure;
use crate::rig::{ITEM, Rig, Table, UNHEARD, body, median};
use crate::server::run as call;
use crate::{Outcome, Run};

pub const CASE: Case = Case {
    name: "instructions",
    goal: "",
    about: "instructions of a delivery and of an event; needs valgrind",
    run,
};

fn run(run: &Run) -> Outcome<Vec<Figure>> {
    call(Command::new("valgrind").arg("--version"))
        .map_err(|error| format!("this case needs valgrind: {error}"))?;
    let mut rig = Rig::new(run)?;
    rig.program.under = CALLGRIND;
    rig.restart()?;
    let mut load = rig.subscribers(SUBSCRIBERS, ITEM.channel)?;
    // What is done once only.
    rig.one_at_a_time(&mut load, ITEM, 3, SUBSCRIBERS as u64)?;
    let (mut alone, mut together, mut unheard) = (vec![], vec![], vec![]);
    for _ in 0..run.or(7, 3) {
        let deliveries = (EVENTS * SUBSCRIBERS as u64) as f64;
        alone.push(count(&rig, || one_by_one(&rig, &mut load))? / deliveries);
        together.push(count(&rig, || at_once(&rig, &mut load, ITEM, EVENTS))? / deliveries);
        unheard.push(count(&rig, || at_once(&rig, &mut load, UNHEARD, MANY))? / MANY as f64);
    }
    let one = "instructions of a delivery, 1,000 subscribers, one event at a time";
    let many = "instructions of a delivery, 1,000 subscribers, 100 events at a time";
    let none = "instructions of an event that nobody hears, 20,000 in a transaction";
    Ok(vec![
        Figure::new(one, median(alone), "").at_most(LAST.0 * TOLERANCE),
        Figure::new(many, median(together), "").at_most(LAST.1 * TOLERANCE),
        Figure::new(none, median(unheard), "").at_most(LAST.2 * TOLERANCE),
    ])
}

fn one_by_one(rig: &Rig, load: &mut Load) -> Outcome<()> {
    rig.one_at_a_time(load, ITEM, EVENTS, SUBSCRIBERS as u64).map(drop)
}

/// In a transaction, and behind them one event for everybody, which shows that they were dealt with.
fn at_once(rig: &Rig, load: &mut Load, table: Table, events: u64) -> Outcome<()> {
    let heard = if table.channel == ITEM.channel { events } else { 1 };
    let rest = events - u64::from(heard == events);
    let insert =
        table.insert.replace("values ($1)", "select $1 from generate_series(1, $2::bigint)");
    let target = load.frames + heard * load.len() as u64;
    rig.db.run("begin")?;
    let rest = i64::try_from(rest)?;
    rig.db.wait(rig.db.client.execute(&insert, &[&body(256), &rest]))?;
    rig.db.wait(rig.db.client.execute(ITEM.insert, &[&body(256)]))?;
    rig.db.run("commit")?;
    load.until_frames(target)
}

/// Of all threads of the daemon, while something is done.
fn count(rig: &Rig, act: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    tell(rig, "zero")?;
    act()?;
    tell(rig, "dump")?;
    let deadline = Instant::now() + Duration::from_secs(20);
    // It goes on writing after it has answered.
    while Instant::now() < deadline {
        for file in dumps(rig)? {
            if let Some(total) = total(&fs::read_to_string(&file)?) {
                fs::remove_file(&file)?;
                return Ok(total);
            }
        }
        sleep(Duration::from_millis(50));
    }
    Err("callgrind wrote no count".into())
}

fn dumps(rig: &Rig) -> Outcome<Vec<PathBuf>> {
    let files = fs::read_dir(&rig.program.folder)?.filter_map(Result::ok).map(|file| file.path());
    let is_dump = |path: &PathBuf| path.file_stem().is_some_and(|name| name == "counts");
    Ok(files.filter(is_dump).collect())
}

fn tell(rig: &Rig, what: &str) -> Outcome<()> {
    let pid = format!("--pid={}", rig.daemon.pid());
    call(Command::new("vgdb").arg(pid).arg(what)).map(drop)
}

fn total(dump: &str) -> Option<f64> {
    dump.lines().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

const CALLGRIND: &[&str] = &["valgrind", "--tool=callgrind", "--callgrind-out-file=counts"];
const EVENTS: u64 = 100;
const MANY: u64 = 20_000;

/// What a change may add without a word; more is to be explained, or taken in here.
const TOLERANCE: f64 = 1.1;

/// When the figures were last found good, in their order.
const LAST: (f64, f64, f64) = (520.0, 150.0, 13_700.0);

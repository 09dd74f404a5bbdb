//! Ten thousand clients that hold a connection and say nothing.

use std::time::Duration;

use super::Case;
use crate::report::Figure;
use crate::rig::{Rig, subscribe};
use crate::{Outcome, Run, machine};

pub const CASE: Case = Case {
    name: "memory",
    goal: "P3",
    about: "resident memory of an idle, authorised WebSocket",
    run,
};

fn run(run: &Run) -> Outcome<Vec<Figure>> {
    let rig = Rig::new(run)?;
    // What every daemon needs, however many clients it has.
    drop(rig.clients(100)?);
    std::thread::sleep(Duration::from_secs(1));
    let empty = machine::rss(rig.daemon.pid())?;
    let mut load = rig.clients(CLIENTS)?;
    load.pump(SETTLE)?;
    let idle = machine::rss(rig.daemon.pid())?;
    load.subscribe(|number| subscribe(&format!("own:{number}")))?;
    load.pump(SETTLE)?;
    let subscribed = machine::rss(rig.daemon.pid())?;
    let each = |kib: f64| (kib - empty) / CLIENTS as f64;
    Ok(vec![
        Figure::new("memory of an idle WebSocket, 10,000 of them", each(idle), "KiB").at_most(3.0),
        Figure::new("the same, each with a subscription of its own", each(subscribed), "KiB"),
        Figure::new("the daemon with 10,000 subscribers", subscribed / 1024.0, "MiB"),
    ])
}

pub const CLIENTS: usize = 10_000;

/// Pages that were for the handshakes go back by then.
const SETTLE: Duration = Duration::from_secs(2);

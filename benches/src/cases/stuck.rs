//! One of a thousand clients stops reading, while it is sent more than anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use super::Case;
use super::fanout::SUBSCRIBERS;
use crate::load::Load;
use crate::report::Figure;
use crate::rig::{FLOOD, ITEM, Rig, body, median, percentile, subscribe};
use crate::server::Db;
use crate::{Outcome, Run, machine};

pub const CASE: Case = Case {
    name: "stuck",
    goal: "P10",
    about: "what the other 999 notice of a client that reads nothing",
    run,
};

fn run(run: &Run) -> Outcome<Vec<Figure>> {
    let rig = Rig::new(run)?;
    let mut load = rig.clients(SUBSCRIBERS - 1)?;
    load.subscribe(|_| subscribe(ITEM.channel))?;
    fill_memory(&rig)?;
    let (mut with, mut without, mut ratios) = (vec![], vec![], vec![]);
    let (mut memory, mut more) = (vec![], vec![]);
    for _ in 0..run.or(4, 1) {
        // Whoever reads gets the same flood, so that all that differs is who does not.
        let calm = round(run, &rig, &mut load, false)?;
        let stuck = round(run, &rig, &mut load, true)?;
        ratios.push(stuck.p99 / calm.p99);
        without.push(calm.p99);
        with.push(stuck.p99);
        memory.push(stuck.memory);
        more.push(stuck.memory - calm.memory);
    }
    Ok(vec![
        Figure::new(
            "p99 of 999 clients beside a stuck one, against beside one that reads",
            median(ratios),
            "x",
        )
        .at_most(1.1),
        Figure::new("their p99 beside a stuck client", median(with), "ms"),
        Figure::new("their p99 beside one that reads", median(without), "ms"),
        Figure::new("memory that the stuck client took at most", median(more), "MiB").at_most(4.0),
        Figure::new("the daemon's memory then", median(memory), "MiB"),
    ])
}

struct Round {
    p99: f64,
    memory: f64,
}

fn round(run: &Run, rig: &Rig, load: &mut Load, stuck: bool) -> Outcome<Round> {
    let mut other = Load::new()?;
    other.connect_narrow(rig.daemon.address, &rig.program.token("other")?)?;
    for channel in [ITEM.channel, FLOOD.channel] {
        other.subscribe(|_| subscribe(channel))?;
    }
    if stuck {
        other.stick(0)?;
    }
    let flood = Flood::start(rig.server.url("bench"));
    // Enough for the system's buffers and the daemon's queue to be full.
    let filled = Instant::now() + Duration::from_secs(run.or(8, 4));
    while Instant::now() < filled {
        other.pump(Duration::from_millis(20))?;
    }
    let events = run.or(300, 100);
    let commits: Arc<Vec<AtomicU64>> = Arc::new((0..events).map(|_| AtomicU64::new(0)).collect());
    let (before, began) = (load.seen(), Instant::now());
    load.begin_timing(began, Arc::clone(&commits));
    let publisher = publish(rig.server.url("bench"), began, commits);
    let (target, mut memory) = (load.frames + events * load.len() as u64, 0_f64);
    while load.frames < target {
        load.pump(Duration::from_millis(5))?;
        other.pump(Duration::ZERO)?;
        memory = memory.max(machine::rss(rig.daemon.pid())? / 1024.0);
        if began.elapsed() > Duration::from_mins(2) {
            return Err("what was published did not come".into());
        }
    }
    publisher.join().map_err(|_| "the publisher panicked")?;
    flood.end()?;
    let mut latencies = load.end_timing();
    load.nothing_missing(&before, events)?;
    Ok(Round { p99: percentile(&mut latencies, 0.99), memory })
}

/// So many recent events that the daemon's memory of them is full: it would grow during the first rounds only.
fn fill_memory(rig: &Rig) -> Outcome<()> {
    let large = "insert into flood (body) select repeat('y', 100000) from generate_series(1, 100)";
    (0..10).try_for_each(|_| rig.db.run(large))
}

/// An event every 50 ms.
fn publish(url: String, began: Instant, commits: Arc<Vec<AtomicU64>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let db = Db::open(&url).expect("the server takes another connection");
        for (number, commit) in (0_u32..).zip(commits.iter()) {
            let due = Duration::from_millis(50) * number;
            sleep(due.saturating_sub(began.elapsed()));
            let now = u64::try_from(began.elapsed().as_nanos()).unwrap_or_default();
            commit.store(now, Ordering::Release);
            db.wait(db.client.execute(ITEM.insert, &[&body(256)])).expect("an insert");
        }
    })
}

/// Large events, two megabytes a second.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Flood {
    fn start(url: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let db = Db::open(&url).expect("the server takes another connection");
            let body = "y".repeat(100_000);
            while !stopped.load(Ordering::Acquire) {
                db.wait(db.client.execute(FLOOD.insert, &[&body])).expect("an insert");
                sleep(Duration::from_millis(50));
            }
        });
        Self { stop, thread }
    }

    fn end(self) -> Outcome<()> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().map_err(|_| "the flood panicked".into())
    }
}

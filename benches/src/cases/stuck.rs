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
    let mut rig = Rig::new(run)?;
    let mut turns = [const { Vec::new() }; 3];
    for _ in 0..run.or(4, 1) {
        for (other, turns) in
            [Other::Absent, Other::Reads, Other::Stuck].into_iter().zip(&mut turns)
        {
            // Memory once taken is not given back, so each turn has a daemon of its own.
            rig.restart()?;
            turns.push(turn(run, &rig, other)?);
        }
    }
    let [absent, reads, stuck] = turns;
    let p99 = |turns: &[Turn]| median(turns.iter().map(|turn| turn.p99).collect());
    let grown = |turns: &[Turn]| median(turns.iter().map(|turn| turn.grown).collect());
    let ratio = |to: &[Turn]| {
        median(stuck.iter().zip(to).map(|(one, other)| one.p99 / other.p99).collect())
    };
    Ok(vec![
        Figure::new(
            "p99 of 999 clients beside a stuck one, against without it",
            ratio(&absent),
            "x",
        )
        .at_most(1.1),
        Figure::new("the same, against beside one that reads", ratio(&reads), "x"),
        Figure::new("their p99 beside a stuck client", p99(&stuck), "ms"),
        Figure::new("their p99 beside one that reads", p99(&reads), "ms"),
        Figure::new("their p99 without it", p99(&absent), "ms"),
        Figure::new(
            "what the daemon grew by with a stuck client, above without it",
            grown(&stuck) - grown(&absent),
            "MiB",
        )
        .at_most(4.0),
        Figure::new("what it grew by without it", grown(&absent), "MiB"),
    ])
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Other {
    Absent,
    Reads,
    Stuck,
}

struct Turn {
    p99: f64,
    /// At most, in MiB, while the events came.
    grown: f64,
}

fn turn(run: &Run, rig: &Rig, what: Other) -> Outcome<Turn> {
    let mut load = rig.clients(SUBSCRIBERS - 1)?;
    load.subscribe(|_| subscribe(ITEM.channel))?;
    rig.fill_memory()?;
    let memory = || Ok::<_, Box<dyn std::error::Error>>(machine::rss(rig.daemon.pid())? / 1024.0);
    let empty = memory()?;
    let mut other = Load::new()?;
    if what != Other::Absent {
        other.connect_narrow(rig.daemon.address, &rig.program.token("other")?)?;
        for channel in [ITEM.channel, FLOOD.channel] {
            other.subscribe(|_| subscribe(channel))?;
        }
    }
    if what == Other::Stuck {
        other.stick(0)?;
    }
    let flood = Flood::start(rig.server.url("bench"));
    // Enough for the system's buffers and the daemon's queue to be full.
    let filled = Instant::now() + Duration::from_secs(8);
    let mut most = empty;
    while Instant::now() < filled {
        other.pump(Duration::from_millis(20))?;
        most = most.max(memory()?);
    }
    let events = run.or(300, 100);
    let commits: Arc<Vec<AtomicU64>> = Arc::new((0..events).map(|_| AtomicU64::new(0)).collect());
    let (before, began) = (load.seen(), Instant::now());
    load.begin_timing(began, Arc::clone(&commits));
    let publisher = publish(rig.server.url("bench"), began, commits);
    let target = load.frames + events * load.len() as u64;
    while load.frames < target {
        load.pump(Duration::from_millis(5))?;
        other.pump(Duration::ZERO)?;
        most = most.max(memory()?);
        if began.elapsed() > Duration::from_mins(2) {
            return Err("what was published did not come".into());
        }
    }
    publisher.join().map_err(|_| "the publisher panicked")?;
    flood.end()?;
    let mut latencies = load.end_timing();
    load.nothing_missing(&before, events)?;
    if what == Other::Stuck {
        was_left_behind(&mut other)?;
    }
    Ok(Turn { p99: percentile(&mut latencies, 0.99), grown: most - empty })
}

/// The daemon says so once the client reads again; else it was never stuck, and the turn measured nothing.
fn was_left_behind(other: &mut Load) -> Outcome<()> {
    other.keep_next(1_000);
    other.unstick(0)?;
    other.until("word that the stuck client was left behind", |other| {
        other.kept(0).iter().any(|text| text.contains(r#""lagged""#))
    })
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

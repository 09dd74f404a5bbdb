//! Ten thousand clients come back at once, each of them a hundred events behind.

use std::time::Instant;

use super::Case;
use super::memory::CLIENTS;
use crate::load::Load;
use crate::report::Figure;
use crate::rig::{ITEM, Rig, body, subscribe};
use crate::{Outcome, Run, machine};

pub const CASE: Case = Case {
    name: "resume",
    goal: "P8",
    about: "10,000 clients come back at once, each 100 events behind",
    run,
};

fn run(run: &Run) -> Outcome<Vec<Figure>> {
    let mut rig = Rig::counting(run)?;
    let tokens = rig.tokens()?;
    let mut figures = Vec::new();
    for state in [SAME, STARTED, FORGETFUL] {
        let after = miss_events(&rig)?;
        match state {
            STARTED => rig.restart()?,
            FORGETFUL => rig.fill_memory()?,
            _ => {}
        }
        let back = come_back(&rig, &tokens, &after)?;
        figures.extend([
            Figure::new(format!("until all are caught up, {state}"), back.seconds, "s")
                .at_most(5.0),
            Figure::new(
                format!("of it, from the last welcome on, {state}"),
                back.since_welcome,
                "s",
            ),
            Figure::new(format!("reads of the log for them, {state}"), back.reads, "").at_most(1.0),
            Figure::new(format!("the daemon's CPU, {state}"), back.cpu, "s"),
            Figure::new(format!("the daemon's memory after, {state}"), back.memory, "MiB"),
        ]);
    }
    Ok(figures)
}

/// Publishes what will be missed; returns the id to resume from.
fn miss_events(rig: &Rig) -> Outcome<String> {
    let mut witness = rig.clients(1)?;
    witness.subscribe(|_| subscribe(ITEM.channel))?;
    witness.keep_next(1);
    for missed in 0..=MISSED {
        let target = witness.frames + 1;
        rig.db.wait(rig.db.client.execute(ITEM.insert, &[&body(256)]))?;
        if missed == 0 {
            witness.until_frames(target)?;
        }
    }
    witness.until_frames(witness.frames.max(1) + MISSED)?;
    let first = witness.kept(0).first().cloned().unwrap_or_default();
    let id = first.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next());
    Ok(id.ok_or_else(|| format!("no id in {first}"))?.to_owned())
}

struct Back {
    seconds: f64,
    since_welcome: f64,
    reads: f64,
    cpu: f64,
    memory: f64,
}

fn come_back(rig: &Rig, tokens: &[String], after: &str) -> Outcome<Back> {
    let resume =
        format!(r#"{{"type":"subscribe","ref":1,"channel":"{}","after":"{after}"}}"#, ITEM.channel);
    rig.db.run("select pg_stat_statements_reset()")?;
    let (mut load, cpu, began) = (Load::new()?, rig.cpu()?, Instant::now());
    load.connect(CLIENTS, rig.daemon.address, tokens)?;
    let welcomed = Instant::now();
    let before = load.seen();
    for client in 0..CLIENTS {
        load.say(client, &resume)?;
    }
    load.until_frames(load.frames + (CLIENTS as u64) * (MISSED + 1))?;
    let done = Instant::now();
    load.nothing_missing(&before, MISSED + 1)?;
    let (since_welcome, seconds) = (done.duration_since(welcomed), done.duration_since(began));
    let reads: i64 = rig.db.one(READS, &[])?.get(0);
    Ok(Back {
        seconds: seconds.as_secs_f64(),
        since_welcome: since_welcome.as_secs_f64(),
        reads: reads as f64,
        cpu: rig.cpu()?.saturating_sub(cpu).as_secs_f64(),
        memory: machine::rss(rig.daemon.pid())? / 1024.0,
    })
}

const MISSED: u64 = 100;

const SAME: &str = "the same daemon";
const STARTED: &str = "a daemon just started";
/// The log has to be read: without this one, a count of no reads could be a count that does not work.
const FORGETFUL: &str = "a daemon that holds newer events only";

/// What follows the log asks for the current snapshot, what replays it does not.
const READS: &str = "\
select coalesce(sum(calls), 0)::int8
  from pg_stat_statements
 where query like '%rowcast.event%'
   and query not like '%pg_current_snapshot()%'
   and query not like '%pg_stat_statements%'";

//! One event at a time to a thousand subscribers, from the commit to the last socket.

use std::time::Duration;

use super::Case;
use crate::load::Load;
use crate::raw::Raw;
use crate::report::Figure;
use crate::rig::{ITEM, Rig, median};
use crate::{Outcome, Run, machine};

pub const CASE: Case = Case {
    name: "fanout",
    goal: "P1",
    about: "CPU time of a delivery, against one send() per socket",
    run,
};

fn run(run: &Run) -> Outcome<Vec<Figure>> {
    let rig = Rig::new(run)?;
    let mut load = rig.subscribers(SUBSCRIBERS, ITEM.channel)?;
    let frame = rig.sample_frame(&mut load)?;
    let (mut raw, mut raw_load) = raw(run, &frame, SUBSCRIBERS)?;
    let events = run.or(400, 100);
    let (before, raw_before) = (load.seen(), raw_load.seen());
    let (mut rowcast, mut floor, mut vectored, mut ratios) = (vec![], vec![], vec![], vec![]);
    let pairs = run.or(8, 4);
    for _ in 0..pairs {
        let deliveries = events * SUBSCRIBERS as u64;
        let ours = rig.one_at_a_time(&mut load, ITEM, events, SUBSCRIBERS as u64)?;
        let theirs = sends(&mut raw, &mut raw_load, events, Raw::send)?;
        let writev = sends(&mut raw, &mut raw_load, events, Raw::send_vectored)?;
        rowcast.push(micros(ours, deliveries));
        floor.push(micros(theirs, deliveries));
        vectored.push(micros(writev, deliveries));
        ratios.push(ours.as_secs_f64() / theirs.as_secs_f64());
    }
    load.nothing_missing(&before, pairs * events)?;
    raw_load.nothing_missing(&raw_before, 2 * pairs * events)?;
    let bytes = frame.len();
    Ok(vec![
        Figure::new(
            "CPU of a delivery, 1,000 subscribers, as a multiple of raw send()",
            median(ratios),
            "x",
        )
        .at_most(1.15),
        Figure::new(format!("CPU of a delivery, frames of {bytes} bytes"), median(rowcast), "µs"),
        Figure::new("the same, raw send()", median(floor), "µs"),
        Figure::new("the same, raw writev() of one part", median(vectored), "µs"),
    ])
}

/// The raw server and its clients.
pub fn raw(run: &Run, frame: &[u8], subscribers: usize) -> Outcome<(Raw, Load)> {
    let file = run.folder.join("frame");
    std::fs::write(&file, frame)?;
    let raw = Raw::start(subscribers, &file, &machine::cores().0)?;
    let mut load = Load::new()?;
    load.connect_raw(subscribers, raw.address)?;
    Ok((raw, load))
}

type Send = fn(&mut Raw, u32) -> Outcome<()>;

fn sends(raw: &mut Raw, load: &mut Load, events: u64, send: Send) -> Outcome<Duration> {
    let (before, mut target) = (machine::cpu(raw.pid())?, load.frames);
    for _ in 0..events {
        send(raw, 1)?;
        target += load.len() as u64;
        load.spin_until_frames(target)?;
    }
    Ok(machine::cpu(raw.pid())?.saturating_sub(before))
}

pub fn micros(cpu: Duration, deliveries: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / deliveries as f64
}

pub const SUBSCRIBERS: usize = 1000;

//! Everybody who takes turns, and the rounds of them.
//!
//! In: rowcast on its rig, the raw server, the peers. Out: a row for each. Invariant: all of them run all the time, and
//! in each round each has its turn, from another place on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::contender::Contender;
use super::publisher::Publisher;
use super::servers::Peer;
use super::table::Row;
use super::{place, start, subscribers};
use crate::cases::{fanout, saturated};
use crate::rig::{ITEM, Rig, median};
use crate::{Outcome, Run, machine};

/// rowcast first, then the raw server.
pub struct Field {
    entries: Vec<Entry>,
    /// Frames that rowcast put into one write when it last was saturated, and the raw server then does.
    at_once: u64,
}

struct Entry {
    name: &'static str,
    version: String,
    settings: &'static str,
    contender: Contender,
    single: Vec<Option<f64>>,
    saturated: Vec<Option<f64>>,
    /// Bytes of a delivery, one at a time.
    bytes: f64,
}

impl Entry {
    fn new(name: &'static str, version: String, settings: &'static str, it: Contender) -> Self {
        let (single, saturated) = (Vec::new(), Vec::new());
        Self { name, version, settings, contender: it, single, saturated, bytes: f64::NAN }
    }
}

impl Field {
    pub fn start(run: &Run, rig: &Rig, peers: &[&'static Peer]) -> Outcome<Self> {
        let mut load = rig.subscribers(SUBSCRIBERS, ITEM.channel)?;
        let frame = rig.sample_frame(&mut load)?;
        let permits = Arc::new(Semaphore::new(0));
        let events = (run.turns() + 1) * (run.singles() + run.saturated());
        saturated::publish(rig.server.url("bench"), ITEM.insert, events, Arc::clone(&permits));
        let ours = Contender::new(rig.daemon.pid(), load, Publisher::Commits(permits), None);
        let (raw, load) = fanout::raw(run, &frame, SUBSCRIBERS)?;
        let raw = Contender::new(raw.pid(), load, Publisher::Raw(raw), None);
        let mut entries = vec![
            Entry::new("rowcast", machine::commit(), OURS, ours),
            Entry::new(
                RAW,
                String::new(),
                "one send() a subscriber, as many frames in it as rowcast writes at once on average; its memory is no server's",
                raw,
            ),
        ];
        let event = String::from_utf8(frame[HEADER..].to_vec())?;
        for peer in peers {
            entries
                .push(entry(run, peer, &event).map_err(|error| format!("{}: {error}", peer.name))?);
        }
        Ok(Self { entries, at_once: 1 })
    }

    /// The first turn warms up and is not counted.
    pub fn take_turns(&mut self, run: &Run, rig: &Rig) -> Outcome<()> {
        let count = self.entries.len();
        for turn in 0..=run.turns() {
            for at in 0..count {
                let at = (at + usize::try_from(turn)?) % count;
                self.single(at, run.singles())?;
                self.saturated(at, run.saturated(), rig)?;
            }
        }
        Ok(())
    }

    fn single(&mut self, at: usize, events: u64) -> Outcome<()> {
        self.answer_pings()?;
        let entry = &mut self.entries[at];
        let before = (entry.contender.load.bytes, entry.contender.load.frames);
        let figure = entry.contender.turn(events, 1, 1)?;
        let load = &entry.contender.load;
        if figure.is_some() {
            entry.bytes = (load.bytes - before.0) as f64 / (load.frames - before.1) as f64;
        }
        entry.single.push(figure);
        Ok(())
    }

    fn saturated(&mut self, at: usize, events: u64, rig: &Rig) -> Outcome<()> {
        self.answer_pings()?;
        let step = if self.entries[at].name == RAW { self.at_once } else { 1 };
        let entry = &mut self.entries[at];
        let writes = rig.daemon.writes()?;
        let figure = entry.contender.turn(events, OUTSTANDING, step)?;
        entry.saturated.push(figure);
        if at == 0 {
            let deliveries = (events * SUBSCRIBERS as u64) as f64;
            let at_once = deliveries / (rig.daemon.writes()? - writes);
            self.at_once = rounded(at_once).clamp(1, OUTSTANDING);
        }
        Ok(())
    }

    /// Whoever waits for its turn still has to say that it is there.
    fn answer_pings(&mut self) -> Outcome<()> {
        self.entries.iter_mut().try_for_each(|entry| entry.contender.load.pump(Duration::ZERO))
    }

    pub fn rows(&mut self, memory: &[f64]) -> Outcome<Vec<Row>> {
        self.entries[1].version = format!("{} frames in a send, saturated", self.at_once);
        let raw = (self.entries[1].single.clone(), self.entries[1].saturated.clone());
        // The raw server has none.
        let mut memory = memory.iter().copied();
        let mut rows = Vec::new();
        for entry in &mut self.entries {
            let is_server = entry.name != RAW;
            rows.push(Row {
                name: entry.name,
                version: std::mem::take(&mut entry.version),
                settings: entry.settings,
                bytes: entry.bytes,
                single: middle(&entry.single),
                single_ratio: ratio(&entry.single, &raw.0),
                saturated: middle(&entry.saturated),
                saturated_ratio: ratio(&entry.saturated, &raw.1),
                memory: if is_server { memory.next() } else { None },
                missing: entry.contender.missing()?,
            });
        }
        Ok(rows)
    }
}

fn entry(run: &Run, peer: &'static Peer, event: &str) -> Outcome<Entry> {
    let place = place(run)?;
    let process = start(peer, &place)?;
    let load = subscribers(peer, &place, SUBSCRIBERS)?;
    let publisher = Publisher::Wire((peer.publisher)(&place, event)?);
    let contender = Contender::new(process.pid(), load, publisher, Some(process));
    Ok(Entry::new(peer.name, (peer.version)(&place)?, peer.settings, contender))
}

/// The median of all turns but the first, if all of them have a figure.
fn middle(turns: &[Option<f64>]) -> Option<f64> {
    let counted: Option<Vec<f64>> = turns.iter().skip(1).copied().collect();
    counted.map(median)
}

fn ratio(turns: &[Option<f64>], raw: &[Option<f64>]) -> Option<f64> {
    let ratios: Vec<_> = turns.iter().zip(raw).map(|(it, raw)| Some((*it)? / (*raw)?)).collect();
    middle(&ratios)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few frames")]
fn rounded(value: f64) -> u64 {
    value.round() as u64
}

impl Run {
    const fn turns(&self) -> u64 {
        self.or(6, 2)
    }

    const fn singles(&self) -> u64 {
        self.or(100, 40)
    }

    const fn saturated(&self) -> u64 {
        self.or(512, 256)
    }
}

const RAW: &str = "raw send()";
const OURS: &str =
    "as it ships, with wide limits; a commit an event, over 8 connections, read from the log";
const SUBSCRIBERS: usize = fanout::SUBSCRIBERS;
const OUTSTANDING: u64 = 32;
/// Of the frames that the bench makes of an event.
const HEADER: usize = 4;

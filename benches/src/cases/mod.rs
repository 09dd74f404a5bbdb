//! The cases, one file each.

mod capture;
pub mod fanout;
mod handshakes;
mod idle;
mod ingest;
mod instructions;
mod latency;
mod memory;
mod resume;
pub mod saturated;
mod selective;
mod stuck;
mod writer;

use crate::report::Figure;
use crate::{Outcome, Run};

pub struct Case {
    pub name: &'static str,
    /// Its number among the goals.
    pub goal: &'static str,
    pub about: &'static str,
    pub run: fn(&Run) -> Outcome<Vec<Figure>>,
}

pub const ALL: &[Case] = &[
    fanout::CASE,
    saturated::CASE,
    memory::CASE,
    latency::CASE,
    selective::CASE,
    ingest::CASE,
    writer::CASE,
    resume::CASE,
    handshakes::CASE,
    stuck::CASE,
    idle::CASE,
    instructions::CASE,
    capture::CASE,
];

pub fn find(name: &str) -> Option<&'static Case> {
    ALL.iter().find(|case| case.name == name)
}

pub fn names() -> String {
    ALL.iter().map(|case| case.name).collect::<Vec<_>>().join(", ")
}

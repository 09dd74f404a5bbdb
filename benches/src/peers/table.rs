//! The table and the chart of the comparison.
//!
//! In: a row for each server. Out: a part of `README.md`, `peers.svg`. Invariant: they are written together, from one
//! run, or not at all.

use std::fmt::Write as _;
use std::fs;

use crate::report::{digits, replace};
use crate::{Outcome, Run, machine};

pub struct Row {
    pub name: &'static str,
    pub version: String,
    pub settings: &'static str,
    /// On the wire, of a delivery.
    pub bytes: f64,
    /// Seconds of CPU time of a delivery, one event at a time; none if something did not arrive.
    pub single: Option<f64>,
    pub single_ratio: Option<f64>,
    pub saturated: Option<f64>,
    pub saturated_ratio: Option<f64>,
    /// KiB.
    pub memory: Option<f64>,
    pub missing: u64,
}

/// Shows the rows, and keeps them unless they were made in a hurry.
pub fn show(run: &Run, rows: &[Row]) -> Outcome<()> {
    let text = table(rows);
    println!("{text}");
    if run.quick {
        return Ok(());
    }
    let host = machine::description(&crate::server::version_of_programs()?);
    let (commit, load) = (machine::commit(), machine::load_average());
    let text = format!(
        "Machine: {host}.\n`./bench peers` at commit {commit}, load {load} at its end.\n\n{text}\n{}",
        settings(rows)
    );
    replace(&run.root, BEGIN, END, &text)?;
    Ok(fs::write(run.root.join("benches/peers.svg"), chart(rows))?)
}

fn table(rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    for row in rows {
        let cells = [
            digits(row.bytes),
            with(row.single, |cpu| format!("{} µs", digits(cpu * 1e6))),
            with(row.single_ratio, |ratio| format!("{}x", digits(ratio))),
            with(row.saturated, |cpu| digits((1.0 / cpu / 1000.0).round() * 1000.0)),
            with(row.saturated_ratio, |ratio| format!("{}x", digits(ratio))),
            with(row.memory, |kib| format!("{} KiB", digits(kib))),
            row.missing.to_string(),
        ];
        let _ = writeln!(text, "| {} | {} |", row.name, cells.join(" | "));
    }
    text
}

fn settings(rows: &[Row]) -> String {
    let mut text = "| server | version | settings |\n| --- | --- | --- |\n".to_owned();
    for row in rows {
        let _ = writeln!(text, "| {} | {} | {} |", row.name, row.version, row.settings);
    }
    text
}

fn with(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or("–".to_owned(), show)
}

/// Two bars a server: one event at a time, and saturated.
fn chart(rows: &[Row]) -> String {
    let height = TOP + rows.len() * STEP + 16;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1040 {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"1040\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"24\" font-size=\"16\" fill=\"#1b1f24\">CPU of a delivery to one of 1,000 subscribers: shorter is better</text>\n"
    );
    let longest = rows.iter().flat_map(|row| [row.single, row.saturated]).flatten();
    let scale = WIDTH / longest.fold(f64::MIN_POSITIVE, f64::max);
    for (number, row) in rows.iter().enumerate() {
        let top = TOP + number * STEP;
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{}\" text-anchor=\"end\" fill=\"#1b1f24\">{}</text>{}{}",
            top + 21,
            row.name,
            bar(row.single, top, scale, "#2f7d5b", "one event at a time"),
            bar(row.saturated, top + 16, scale, "#4a6fa5", "32 outstanding"),
        );
    }
    svg + "</svg>\n"
}

fn bar(cpu: Option<f64>, top: usize, scale: f64, colour: &str, what: &str) -> String {
    let Some(cpu) = cpu else { return String::new() };
    let (left, width) = (LEFT + 10, cpu * scale);
    format!(
        "<rect x=\"{left}\" y=\"{top}\" width=\"{width:.1}\" height=\"13\" fill=\"{colour}\"/>\
         <text x=\"{:.1}\" y=\"{}\" fill=\"#57606a\">{} µs, {what}</text>",
        f64::from(left) + width + 8.0,
        top + 11,
        digits(cpu * 1e6),
    )
}

const HEAD: &str = "\
| server | bytes of a delivery | CPU of a delivery, one event at a time | × raw | \
deliveries in a second of CPU, saturated | CPU × raw | memory of a connection | not delivered |
| --- | --: | --: | --: | --: | --: | --: | --: |
";

const BEGIN: &str = "<!-- peers: written by ./bench peers -->";
const END: &str = "<!-- end of peers -->";

const TOP: usize = 44;
const STEP: usize = 40;
const LEFT: i32 = 160;
/// Of the longest bar.
const WIDTH: f64 = 660.0;

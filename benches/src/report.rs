//! From figures to the table and the chart.
//!
//! In: the figures of one case. Out: `results.tsv`, the table in `README.md`, `chart.svg`. Invariant: a case that is
//! run replaces its own figures and no others', each with the commit and the load it was measured at.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::cases::Case;
use crate::{Outcome, Run, machine};

/// One measured number.
pub struct Figure {
    label: String,
    value: f64,
    unit: &'static str,
    goal: Goal,
}

#[derive(Clone, Copy)]
enum Goal {
    None,
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    pub fn new(label: impl Into<String>, value: f64, unit: &'static str) -> Self {
        // The table and the file are made of columns.
        let label = label.into().replace(['\t', '|'], " ");
        Self { label, value, unit, goal: Goal::None }
    }

    pub fn at_most(self, bound: f64) -> Self {
        Self { goal: Goal::AtMost(bound), ..self }
    }

    pub fn at_least(self, bound: f64) -> Self {
        Self { goal: Goal::AtLeast(bound), ..self }
    }
}

/// Shows the figures, and keeps them unless they were made in a hurry.
pub fn take(run: &Run, case: &Case, figures: &[Figure]) -> Outcome<()> {
    for figure in figures {
        let line = Line::of(case, figure, String::new());
        println!(
            "   {:<64} {:>12} {:<14} {}",
            line.label,
            line.figure(),
            line.wanted(),
            line.verdict()
        );
    }
    if run.quick {
        return Ok(());
    }
    let at = format!("{}, load {}", machine::commit(), machine::load_average());
    let path = run.root.join("benches/results.tsv");
    let mut lines = read(&path);
    lines.retain(|line| line.case != case.name);
    lines.extend(figures.iter().map(|figure| Line::of(case, figure, at.clone())));
    // In the order of the cases, whatever the order in which they were run.
    lines.sort_by_key(|line| crate::cases::ALL.iter().position(|case| case.name == line.case));
    let text: Vec<String> = lines.iter().map(|line| line.columns().join("\t")).collect();
    fs::write(&path, text.join("\n") + "\n")?;
    let host = machine::description(&crate::server::version_of_programs()?);
    fs::write(run.root.join("benches/machine.txt"), host + "\n")?;
    render(&run.root)
}

/// Writes the table and the chart anew.
pub fn render(root: &Path) -> Outcome<()> {
    let folder = root.join("benches");
    let lines = read(&folder.join("results.tsv"));
    let host = fs::read_to_string(folder.join("machine.txt")).unwrap_or_default();
    let text = format!("Machine: {}.\n\n{}", host.trim(), table(&lines));
    replace(root, BEGIN, END, &text)?;
    Ok(fs::write(folder.join("chart.svg"), chart(&lines))?)
}

/// Writes what stands between two marks of the benches' page.
pub fn replace(root: &Path, begin: &str, end: &str, text: &str) -> Outcome<()> {
    let page = root.join("benches/README.md");
    let readme = fs::read_to_string(&page)?;
    let parts =
        readme.split_once(begin).and_then(|(head, rest)| Some((head, rest.split_once(end)?.1)));
    let (head, tail) =
        parts.ok_or_else(|| format!("benches/README.md has lost the mark {begin}"))?;
    Ok(fs::write(&page, format!("{head}{begin}\n{text}{end}{tail}"))?)
}

struct Line {
    case: String,
    goal: String,
    label: String,
    value: f64,
    unit: String,
    bound: Goal,
    at: String,
}

impl Line {
    fn of(case: &Case, figure: &Figure, at: String) -> Self {
        Self {
            case: case.name.to_owned(),
            goal: case.goal.to_owned(),
            label: figure.label.clone(),
            value: figure.value,
            unit: figure.unit.to_owned(),
            bound: figure.goal,
            at,
        }
    }

    fn columns(&self) -> [String; 7] {
        let (case, goal, label) = (self.case.clone(), self.goal.clone(), self.label.clone());
        let bound = match self.bound {
            Goal::None => String::new(),
            Goal::AtMost(bound) => format!("<={bound}"),
            Goal::AtLeast(bound) => format!(">={bound}"),
        };
        [case, goal, label, self.value.to_string(), self.unit.clone(), bound, self.at.clone()]
    }

    fn read(line: &str) -> Option<Self> {
        let columns: [&str; 7] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
        let [case, goal, label, value, unit, bound, at] = columns.map(str::to_owned);
        let bound = match (bound.strip_prefix("<="), bound.strip_prefix(">=")) {
            (Some(most), _) => Goal::AtMost(most.parse().ok()?),
            (_, Some(least)) => Goal::AtLeast(least.parse().ok()?),
            _ => Goal::None,
        };
        Some(Self { case, goal, label, value: value.parse().ok()?, unit, bound, at })
    }

    fn figure(&self) -> String {
        format!("{}{}", digits(self.value), spaced(&self.unit))
    }

    fn wanted(&self) -> String {
        match self.bound {
            Goal::None => String::new(),
            Goal::AtMost(bound) => format!("≤ {}{}", short(bound), spaced(&self.unit)),
            Goal::AtLeast(bound) => format!("≥ {}{}", short(bound), spaced(&self.unit)),
        }
    }

    fn verdict(&self) -> &'static str {
        match self.used() {
            None => "",
            Some(used) if used <= 1.0 => "met",
            Some(_) => "**not met**",
        }
    }

    /// How much of the goal is used up: 1 is just met.
    fn used(&self) -> Option<f64> {
        match self.bound {
            Goal::None => None,
            Goal::AtMost(bound) => Some(self.value / bound),
            Goal::AtLeast(bound) => Some(bound / self.value),
        }
    }
}

fn spaced(unit: &str) -> String {
    match unit {
        "" | "x" | "%" => unit.to_owned(),
        unit => format!(" {unit}"),
    }
}

pub fn digits(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => grouped(value),
        middle if middle >= 100.0 => format!("{value:.0}"),
        small if small >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A bound, with no more digits than it was given with.
fn short(value: f64) -> String {
    if value >= 1000.0 { grouped(value) } else { value.to_string() }
}

fn grouped(value: f64) -> String {
    let plain = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn read(path: &Path) -> Vec<Line> {
    fs::read_to_string(path).unwrap_or_default().lines().filter_map(Line::read).collect()
}

fn table(lines: &[Line]) -> String {
    let mut text = "| goal | case | measured | figure | wanted | | commit, load |\n".to_owned();
    text += "| --- | --- | --- | --: | --: | --- | --- |\n";
    for line in lines {
        let Line { goal, case, label, at, .. } = line;
        let (figure, wanted, verdict) = (line.figure(), line.wanted(), line.verdict());
        let _ = writeln!(
            text,
            "| {goal} | {case} | {label} | {figure} | {wanted} | {verdict} | {at} |"
        );
    }
    text
}

/// One bar a goal, as long as the share of the goal that is used up.
fn chart(lines: &[Line]) -> String {
    let bars: Vec<&Line> = lines.iter().filter(|line| line.used().is_some()).collect();
    let height = TOP + bars.len() * STEP + 24;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1040 {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"1040\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"24\" font-size=\"16\" fill=\"#1b1f24\">What is used up of each goal: the line is the goal, shorter is better</text>\n"
    );
    for (row, line) in bars.iter().enumerate() {
        let (top, used) = (TOP + row * STEP, line.used().unwrap_or_default());
        let width = UNIT * used.clamp(0.0, MOST);
        let colour = if used <= 1.0 { "#2f7d5b" } else { "#c2572b" };
        let cut = if used > MOST { " …" } else { "" };
        let text = top + 14;
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{text}\" text-anchor=\"end\" fill=\"#1b1f24\">{}  {}</text>\
             <rect x=\"{}\" y=\"{}\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{text}\" fill=\"#57606a\">{} (goal {}){cut}</text>",
            line.goal,
            escaped(&line.label),
            LEFT + 10,
            top + 2,
            f64::from(LEFT) + 18.0 + width,
            escaped(&line.figure()),
            escaped(&line.wanted()),
        );
    }
    let x = f64::from(LEFT) + 10.0 + UNIT;
    let _ = writeln!(
        svg,
        "<line x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{}\" stroke=\"#1b1f24\" stroke-dasharray=\"4 3\"/>\n</svg>",
        TOP - 6,
        height - 16
    );
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const BEGIN: &str = "<!-- figures: written by ./bench -->";
const END: &str = "<!-- end of figures -->";

const TOP: usize = 44;
const STEP: usize = 22;
const LEFT: i32 = 520;
/// The length of a goal.
const UNIT: f64 = 150.0;
/// Longer bars are cut.
const MOST: f64 = 1.9;

//! What the system says of a process and of itself.
//!
//! In: process ids. Out: CPU time, memory, system calls. Invariant: CPU time is the scheduler's own count over all
//! threads, in nanoseconds; ticks would be too coarse for a round of one second.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Outcome;

/// A process and its children.
pub fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    [pid].into_iter().chain(children).collect()
}

/// CPU time of all threads that a process has.
pub fn cpu(pid: u32) -> Outcome<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while we look.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        nanoseconds += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Resident memory, in KiB.
pub fn rss(pid: u32) -> Outcome<f64> {
    kib(pid, "VmRSS:")
}

fn kib(pid: u32, name: &str) -> Outcome<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    field(&status, name)
}

fn field(text: &str, name: &str) -> Outcome<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    Ok(word.ok_or_else(|| format!("the system does not tell {name}"))?.parse()?)
}

/// The daemon gets the first core to itself, everything else the rest.
pub fn cores() -> (String, String) {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let all = first_line("/sys/devices/system/cpu/online").unwrap_or_else(|| "0".into());
    let last = all.rsplit(['-', ',']).next().unwrap_or("0").to_owned();
    let rest = if count > 1 || last != "0" { format!("1-{last}") } else { "0".to_owned() };
    ("0".to_owned(), rest)
}

/// In one line: processor, cores, kernel, versions.
pub fn description(postgres: &str) -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = first_line("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.split('-').next().unwrap_or_default();
    format!("{}, {cores} cores, Linux {kernel}, {postgres}", model.unwrap_or("unknown processor"))
}

/// What the kernel counts as waiting or running, over the last minute.
pub fn load_average() -> String {
    let line = first_line("/proc/loadavg").unwrap_or_default();
    line.split(' ').next().unwrap_or_default().to_owned()
}

/// The last commit that touched what is measured.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let measured = ["--", "src", "sql", "Cargo.toml", "Cargo.lock"];
    let commit = git(&[&["log", "-1", "--format=%h"][..], &measured].concat()).unwrap_or_default();
    let changed = git(&[&["status", "--porcelain"][..], &measured].concat());
    let mark = if changed.is_some_and(|changed| !changed.is_empty()) { "+" } else { "" };
    format!("{commit}{mark}")
}

fn first_line(path: impl AsRef<Path>) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.lines().next()?.to_owned())
}

//! Measures rowcast from outside, as its clients and its writers see it.
//!
//! In: names of cases. Out: figures with their goals, and, for all that is not `--quick`, `results.tsv`, the table
//! in `README.md` and `chart.svg`. Invariant: a case whose clients miss anything has no figure.

mod cases;
mod daemon;
mod dialect;
mod frames;
mod load;
mod machine;
mod peers;
mod raw;
mod report;
mod rig;
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// How thoroughly, and where.
#[derive(Clone)]
pub struct Run {
    pub quick: bool,
    /// Of the repository.
    pub root: PathBuf,
    /// For everything that is thrown away.
    pub folder: PathBuf,
}

impl Run {
    /// The number to be thorough with, or the one to be quick with.
    pub const fn or<T: Copy>(&self, thorough: T, quick: T) -> T {
        if self.quick { quick } else { thorough }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["raw", subscribers, frame] => raw_server(subscribers, frame),
        ["render"] => report::render(&root()),
        _ => measure(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn raw_server(subscribers: &str, frame: &str) -> Outcome<()> {
    raw::serve(subscribers.parse()?, Path::new(frame))
}

fn measure(arguments: &[String]) -> Outcome<()> {
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let named: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| *argument != "--quick").collect();
    let known = |name: &str| name == peers::NAME || cases::find(name).is_some();
    if let Some(unknown) = named.iter().find(|name| !known(name)) {
        let all = format!("{} and {}", cases::names(), peers::NAME);
        return Err(format!("there is no case {unknown}; there are {all}").into());
    }
    let run = Run { quick, root: root(), folder: folder()? };
    let mut failed = Vec::new();
    for case in cases::ALL.iter().filter(|case| named.is_empty() || named.contains(&case.name)) {
        eprintln!("== {}: {}", case.name, case.about);
        match (case.run)(&run) {
            Ok(figures) => report::take(&run, case, &figures)?,
            Err(error) => {
                eprintln!("   failed: {error}");
                failed.push(case.name);
            }
        }
    }
    // Only by its name: it needs other people's servers.
    if named.contains(&peers::NAME) {
        peers::compare(&run).unwrap_or_else(|error| {
            eprintln!("   failed: {error}");
            failed.push(peers::NAME);
        });
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("no figures for {}", failed.join(", ")).into())
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `../bench` makes it, so that it can remove it whatever happens to us.
fn folder() -> Outcome<PathBuf> {
    Ok(std::env::var_os("ROWCAST_BENCH_FOLDER").ok_or("start me with ./bench")?.into())
}

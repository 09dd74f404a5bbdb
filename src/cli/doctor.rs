//! `rowcast doctor`: what is wrong, and how to mend it.
//!
//! In: the configuration, this machine, the database. Out: a list of checks. Invariant: nothing is changed; each check
//! is judged by a function of what was read; what is away fails its own checks, in bounded time, and no others.

mod address;
mod check;
mod configuration;
mod database;
mod function;
mod log;
mod machine;
mod notifications;
mod open_files;
mod role;
mod server;
mod sessions;
mod watches;

use std::io::{self, IsTerminal};
use std::time::Duration;

use super::{Failure, Settings, print};
use crate::config;
use check::Report;

/// Find out what is wrong, and how to mend it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// As a JSON array of check, state, answer and mend
    #[arg(long)]
    json: bool,

    /// How long a transaction may stay open before it is told
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = config::parse_duration)]
    patience: Duration,
}

pub async fn run(args: Args, settings: &Settings) -> Result<(), Failure> {
    let report = Box::pin(examine(&args, settings)).await;
    print(&if args.json { report.as_json()? } else { report.as_text(wants_colour()) })?;
    match report.failures() {
        0 => Ok(()),
        1 => Err(Failure::new("1 check failed").next(NEXT)),
        count => Err(Failure::new(format!("{count} checks failed")).next(NEXT)),
    }
}

async fn examine(args: &Args, settings: &Settings) -> Report {
    let mut report = Report::default();
    let loaded = match settings.sources().load() {
        Ok(loaded) => loaded,
        Err(faults) => {
            report.group("configuration", configuration::refused(&faults));
            return report;
        }
    };
    let vetted = super::config::vet(&loaded);
    report.group("configuration", configuration::examine(&loaded, vetted.as_ref().err()));
    report.group("machine", machine::examine(&loaded.config).await);
    Box::pin(database::examine(&loaded.config, args.patience, &mut report)).await;
    report
}

/// For a person's eyes only (no-color.org).
pub(super) fn wants_colour() -> bool {
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !is_refused
}

const NEXT: &str = "mend what stands behind each ✗ and ask again";

const EXAMPLES: &str = "\
Examples:
  rowcast doctor --config /etc/rowcast/config.toml
  rowcast doctor --json | jq -r '.[] | select(.state != \"ok\") | .mend'";

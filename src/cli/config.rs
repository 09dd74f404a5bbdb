//! `rowcast config`: is it right, what is in force, what could be set.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Failure, Settings, print, tell};
use crate::auth::Authenticator;
use crate::config::{self, Fault};

/// Check and show the configuration
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rowcast config check rowcast.toml")]
pub struct Args {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Say what is wrong, each with file, line and key
    #[command(after_help = "Example:\n  rowcast config check /etc/rowcast/config.toml")]
    Check {
        /// The file; without it the one that `serve` would read
        file: Option<PathBuf>,
    },
    /// Print what is in force after file, environment and flags; secrets are masked
    #[command(after_help = "Example:\n  rowcast config show --config rowcast.toml")]
    Show,
    /// Print every key with its default and what it means
    #[command(after_help = "Example:\n  rowcast config example > rowcast.toml")]
    Example,
}

pub fn run(args: Args, settings: &Settings) -> Result<(), Failure> {
    match args.question {
        Question::Check { file } => check(file, settings),
        Question::Show => print(&config::show(&settings.load()?.config)),
        Question::Example => print(&config::example()),
    }
}

fn check(file: Option<PathBuf>, settings: &Settings) -> Result<(), Failure> {
    let settings = Settings { config: file.or(settings.config.clone()), ..settings.clone() };
    let loaded = match settings.sources().load() {
        Ok(loaded) => loaded,
        Err(faults) => return refuse(&faults.0),
    };
    if let Err(error) = Authenticator::new(&loaded.config.auth) {
        return refuse(&[loaded.fault(error.key(), error.to_string())]);
    }
    for warning in &loaded.warnings {
        tell(&format!("warning: {warning}"));
    }
    match &loaded.file {
        Some(file) => print(&format!("{}: no faults", file.display())),
        None => print("no faults; no file was found, so defaults and environment are in force"),
    }
}

/// The faults are what was asked for, so they go where data goes.
fn refuse(faults: &[Fault]) -> Result<(), Failure> {
    for fault in faults {
        print(&fault.to_string())?;
    }
    let count = faults.len();
    let failure = Failure::new(format!("{count} {}", if count == 1 { "fault" } else { "faults" }));
    Err(failure.next("mend each line above and check again"))
}

//! `rowcast config`: is it right, what is in force, what could be set.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Failure, Settings, print, tell};
use crate::auth::Authenticator;
use crate::config::{self, Fault, Faults, Loaded};
use crate::postgres::connect::Target;
use crate::transport::origin::Origins;

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
    if let Err(faults) = vet(&loaded) {
        return refuse(&faults.0);
    }
    for warning in &loaded.warnings {
        tell(&format!("warning: {warning}"));
    }
    match &loaded.file {
        Some(file) => print(&format!("{}: no faults", file.display())),
        None => print("no faults; no file was found, so defaults and environment are in force"),
    }
}

/// What only the rooms that use a value can say about it.
pub(super) fn vet(loaded: &Loaded) -> Result<(), Faults> {
    let config = &loaded.config;
    let mut faults = Vec::new();
    if let Err(error) = Authenticator::new(&config.auth) {
        faults.push(loaded.fault(error.key(), error.to_string()));
    }
    for origin in &config.server.allowed_origins {
        if let Err(error) = Origins::parse(&[origin]) {
            faults.push(loaded.fault("server.allowed_origins", error.to_string()));
        }
    }
    let (url, listen_url) = (Some(&config.database.url), config.database.listen_url.as_ref());
    for (key, url) in [("database.url", url), ("database.listen_url", listen_url)] {
        if let Some(Err(error)) = url.map(|url| Target::parse(url.expose())) {
            faults.push(loaded.fault(key, error.to_string()));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Faults(faults)) }
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

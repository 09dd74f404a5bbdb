//! The command line: one file for each command, one line and one arm here.
//!
//! In: arguments. Out: data on standard output, talk on standard error, and the exit code: 0 done,
//! 1 failed, 2 wrong usage. Invariant: a command that fails says what to do next.

mod bench;
mod completions;
mod config;
mod database;
mod demo;
mod destination;
mod doctor;
mod emit;
mod explain;
mod man;
mod migrate;
mod output;
mod serve;
mod tail;
mod token;
mod uninstall;
mod unwatch;
mod watch;
mod watches;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Environment, Loaded, Sources};

pub use output::{Failure, print, tell};

/// Live updates for applications on PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "rowcast", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Demo(demo::Args),
    Tail(tail::Args),
    Migrate(migrate::Args),
    Watch(watch::Args),
    Unwatch(unwatch::Args),
    Watches(watches::Args),
    Emit(emit::Args),
    Doctor(doctor::Args),
    Explain(explain::Args),
    Bench(bench::Args),
    Uninstall(uninstall::Args),
    Config(config::Args),
    Token(token::Args),
    Completions(completions::Args),
    Man(man::Args),
}

#[allow(clippy::unused_async, reason = "most commands wait for a server")]
async fn run(command: Command, settings: &Settings) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => Box::pin(serve::run(args, settings)).await,
        Command::Demo(args) => Box::pin(demo::run(args, settings)).await,
        Command::Tail(args) => tail::run(args, settings).await,
        Command::Migrate(args) => migrate::run(args, settings).await,
        Command::Watch(args) => watch::run(args, settings).await,
        Command::Unwatch(args) => unwatch::run(args, settings).await,
        Command::Watches(args) => watches::run(args, settings).await,
        Command::Emit(args) => emit::run(args, settings).await,
        Command::Doctor(args) => Box::pin(doctor::run(args, settings)).await,
        Command::Explain(args) => Box::pin(explain::run(args, settings)).await,
        Command::Bench(args) => Box::pin(bench::run(args, settings)).await,
        Command::Uninstall(args) => uninstall::run(args, settings).await,
        Command::Config(args) => config::run(args, settings),
        Command::Token(args) => token::run(args, settings),
        Command::Completions(args) => completions::run(&args, self::command()),
        Command::Man(args) => man::run(&args, self::command()),
    }
}

/// What every command understands.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Settings {
    /// Configuration file; without it ./rowcast.toml, then /etc/rowcast/config.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Overrides a key of the configuration, as in --set server.listen=127.0.0.1:5050
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
}

impl Settings {
    pub fn load(&self) -> Result<Loaded, Failure> {
        self.sources().load().map_err(|faults| {
            let next = "mend the configuration; `rowcast config check` shows when it is right";
            Failure::new(faults.to_string()).next(next)
        })
    }

    fn sources(&self) -> Sources {
        Sources {
            file: self.config.clone(),
            environment: Environment::of_process(),
            flags: self.set.clone(),
        }
    }

    /// For a flag of a command that stands for a key.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.set.push((key.to_owned(), value.into()));
        self
    }
}

pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run(cli.command, &cli.settings)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// The command line, for what is made of it.
fn command() -> clap::Command {
    Cli::command()
}

/// Statements as psql runs them: all of them or none.
fn in_transaction(statements: &str) -> String {
    format!(
        "\\set ON_ERROR_STOP on\nbegin;\nset local lock_timeout = '2s';\n{}\ncommit;\n",
        statements.trim_end()
    )
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = pair.ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

const EXAMPLES: &str = "\
Examples:
  rowcast config check /etc/rowcast/config.toml
  rowcast token --user alice --claim org_id=7
  rowcast doctor";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_sound_and_every_command_shows_an_example() {
        let mut command = Cli::command();
        command.build();
        let mut waiting = vec![command];
        while let Some(command) = waiting.pop() {
            let inner: Vec<_> =
                command.get_subcommands().filter(|c| c.get_name() != "help").collect();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("rowcast "), "{} has no example", command.get_name());
            waiting.extend(inner.into_iter().cloned());
        }
        Cli::command().debug_assert();
    }
}

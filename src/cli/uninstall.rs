//! `rowcast uninstall`: the database as it was before.

use std::io::{self, IsTerminal};

use super::database::{connect, target};
use super::{Failure, Settings, print, tell};
use crate::postgres::migrations::{render_uninstall, uninstall};

/// Remove every trigger of rowcast, the schema and the log in it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Show the SQL instead; psql runs it as it is
    #[arg(long)]
    print: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub async fn run(args: Args, settings: &Settings) -> Result<(), Failure> {
    if args.print {
        return print(&render_uninstall());
    }
    let target = target(settings)?;
    if !args.yes {
        ask(&format!("Remove rowcast from {target}, with its triggers and the log?")).await?;
    }
    uninstall(&mut connect(&target).await?).await?;
    tell(&format!("{target} is without rowcast"));
    Ok(())
}

async fn ask(question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new("nobody is there to ask").next("say it with --yes"));
    }
    tell(&format!("{question} Type yes to go on:"));
    let answer = tokio::task::spawn_blocking(|| io::stdin().lines().next()).await?;
    match answer.transpose()? {
        Some(answer) if answer.trim() == "yes" => Ok(()),
        _ => Err(Failure::new("nothing was removed")),
    }
}

const EXAMPLES: &str = "\
Examples:
  rowcast uninstall
  rowcast uninstall --print | psql postgres://localhost/app";

//! `rowcast migrate`: the schema, installed or brought up to date.

use super::database::{connect, target};
use super::{Failure, Settings, print, tell};
use crate::postgres::migrations::{Migrated, migrate, render};

/// Install or upgrade the schema rowcast
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Show the SQL instead; psql runs it as it is
    #[arg(long)]
    print: bool,
}

pub async fn run(args: Args, settings: &Settings) -> Result<(), Failure> {
    if args.print {
        return print(&render());
    }
    let target = target(settings)?;
    let migrated = migrate(&mut connect(&target).await?).await?;
    tell(&match migrated {
        Migrated { from: None, to } => {
            format!("rowcast is installed in {target}, version {to}\n→ rowcast watch TABLE")
        }
        Migrated { from: Some(from), to } if from == to => {
            format!("rowcast in {target} has version {to} already; its functions are as new")
        }
        Migrated { from: Some(from), to } => {
            format!("rowcast in {target} went from version {from} to {to}")
        }
    });
    Ok(())
}

const EXAMPLES: &str = "\
Examples:
  DATABASE_URL=postgres://localhost/app rowcast migrate
  rowcast migrate --print | psql postgres://localhost/app";

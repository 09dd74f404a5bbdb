//! `rowcast watches`: which tables are watched, for whom, and whether they still are as they were set up.

use super::database::connect_installed;
use super::{Failure, Settings, print, tell};
use crate::postgres::watches::{Watched, list};

/// Show what is watched and what goes where
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// As a JSON array, one object for each table
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args, settings: &Settings) -> Result<(), Failure> {
    let watched = list(&connect_installed(settings).await?).await?;
    if args.json {
        return print(&serde_json::to_string_pretty(&watched)?);
    }
    if watched.is_empty() {
        tell("no table is watched\n→ rowcast watch TABLE");
        return Ok(());
    }
    print(&watched.iter().map(describe).collect::<Vec<_>>().join("\n"))
}

fn describe(watched: &Watched) -> String {
    let joined = |list: &Option<Vec<String>>| list.as_ref().map(|list| list.join(", "));
    let yes_or_no = |flag| if flag { "yes" } else { "no" }.to_owned();
    let lines = [
        ("channels", Some(watched.channels.join(", "))),
        ("users", joined(&watched.users)),
        ("columns", Some(watched.columns.join(", "))),
        ("except", joined(&watched.except)),
        ("ops", Some(watched.ops.join(", "))),
        ("when", watched.condition.clone()),
        ("old row", Some(yes_or_no(watched.old))),
        ("log", Some(yes_or_no(watched.log))),
        ("capture", Some(watched.capture.clone())),
        ("wake", Some(watched.wake.clone())),
        ("triggers", Some(watched.triggers.join(", "))),
        ("drift", watched.drift.clone()),
    ];
    let lines = lines.into_iter().filter_map(|(name, value)| Some((name, value?)));
    lines.fold(format!("{}\n", watched.table), |text, (name, value)| {
        format!("{text}  {name:<9} {value}\n")
    })
}

const EXAMPLES: &str = "\
Examples:
  rowcast watches
  rowcast watches --json | jq '.[] | select(.drift) | .table'";

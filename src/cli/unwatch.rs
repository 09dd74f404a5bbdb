//! `rowcast unwatch`: a table whose changes stay at home again.

use super::database::connect_installed;
use super::{Failure, Settings, print, tell};
use crate::postgres::watches::{unwatch, unwatch_sql};

/// Stop watching a table and remove its triggers
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// As SQL names it: orders, app.orders, '"Odd Name"'
    table: String,

    /// Show the SQL instead; psql runs it as it is
    #[arg(long)]
    print: bool,
}

pub async fn run(args: Args, settings: &Settings) -> Result<(), Failure> {
    let client = connect_installed(settings).await?;
    if args.print {
        return print(&super::in_transaction(&unwatch_sql(&client, &args.table).await?));
    }
    tell(&format!("{} is no longer watched", unwatch(&client, &args.table).await?));
    Ok(())
}

const EXAMPLES: &str = "\
Examples:
  rowcast unwatch orders
  rowcast unwatch app.orders --print | psql postgres://localhost/app";

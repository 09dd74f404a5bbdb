//! `rowcast emit`: an event that is no row change, sent through the database.

use serde::de::IgnoredAny;

use super::database::{connect, target};
use super::{Failure, Settings};
use crate::postgres::watches::emit;

/// Send an event of your own through the database
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where it goes, such as doc:9
    channel: String,

    /// Its name, anything but insert, update, delete and truncate
    event: String,

    /// Its data
    #[arg(value_name = "JSON", value_parser = json)]
    data: String,

    /// Only for this user; repeat for several [default: all who may subscribe]
    #[arg(long = "user", value_name = "USER")]
    users: Vec<String>,
}

pub async fn run(args: Args, settings: &Settings) -> Result<(), Failure> {
    // Without a look at the version: a role that may send need not see the schema's tables.
    let client = connect(&target(settings)?).await?;
    let users = if args.users.is_empty() { None } else { Some(args.users.as_slice()) };
    emit(&client, &args.channel, &args.event, &args.data, users).await?;
    Ok(())
}

fn json(text: &str) -> Result<String, String> {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; text is written with its quotes: '\"text\"'")),
    }
}

const EXAMPLES: &str = "\
Examples:
  rowcast emit doc:9 progress '{\"pct\": 40}'
  rowcast emit news headline '\"Hello\"' --user 7 --user 8";

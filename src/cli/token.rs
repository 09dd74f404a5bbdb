//! `rowcast token`: a token to try things with.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{Failure, Settings, print};
use crate::auth::{Minter, Request};
use crate::config;

/// Sign a development token with the configured secret
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Who the token speaks for
    #[arg(long, value_name = "ID")]
    user: String,

    /// A further claim; what reads as JSON is JSON, and a dotted name goes into objects
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    claims: Vec<(String, Value)>,

    /// The role, in the claim that the configuration names for it
    #[arg(long)]
    role: Option<String>,

    /// How long it lives, such as 5m or 8h
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = config::parse_duration)]
    ttl: Duration,
}

pub fn run(args: Args, settings: &Settings) -> Result<(), Failure> {
    let minter = Minter::new(&settings.load()?.config.auth)?;
    let request = Request { user: args.user, role: args.role, claims: args.claims, ttl: args.ttl };
    print(&minter.sign(request, SystemTime::now())?)
}

pub(super) fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = super::key_and_value(text)?;
    let value = serde_json::from_str(&value).unwrap_or(Value::String(value));
    Ok((name, value))
}

const EXAMPLES: &str = "\
Examples:
  rowcast token --user alice --role staff --claim org_id=7 --ttl 1h
  TOKEN=$(rowcast token --user alice --claim app_metadata.team=red)";

//! `rowcast bench`: what a running daemon takes.
//!
//! In: how many subscribers, how many events a second, for how long. Out: latencies, and whether each event came once
//! and in order. Invariant: the schedule waits for no answer, so that a slow one is counted and not left out; and
//! nothing stays behind but rows of the log.

mod crowd;
mod event;
mod figures;
mod reader;
mod report;
mod run;
mod scene;
mod spread;
mod tally;
mod writer;

use std::time::Duration;

use super::destination::Destination;
use super::{Failure, Settings, print};
use crate::config;
use crate::domain::channel::{Channel, Pattern};
use scene::Plan;

/// Measure a running daemon with subscribers and events of its own
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    destination: Destination,

    /// Where the events go [default: a channel of this run's own, bench:…]
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,

    /// How many connections follow the channel
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    subscribers: u32,

    /// Events a second, however long each takes
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,

    /// How long events are written
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = config::parse_duration)]
    duration: Duration,

    /// Bytes of data in each event
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(event::LEAST_BYTES.into()..=1_048_576))]
    payload: u32,

    /// Connections to the database that write
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    writers: u32,

    /// How long to wait at the end for what has not arrived
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = config::parse_duration)]
    patience: Duration,

    /// Write nothing, and measure what happens on the channel anyway
    #[arg(long, requires = "channel")]
    listen_only: bool,

    /// As a JSON object
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args, settings: &Settings) -> Result<(), Failure> {
    let plan = args.plan()?;
    let way = args.destination.way(settings)?;
    let measured = Box::pin(run::measure(plan, &way, settings, args.patience)).await?;
    print(&if args.json {
        serde_json::to_string_pretty(&measured.figures)?
    } else {
        report::report(&measured.figures, &measured.latencies)
    })?;
    measured.verdict()
}

impl Args {
    fn plan(&self) -> Result<Plan, Failure> {
        let run = name()?;
        let plan = Plan {
            channel: self.channel(&run)?,
            run,
            subscribers: self.subscribers as usize,
            rate: self.rate,
            duration: self.duration,
            payload: self.payload,
            // A connection that has nothing to do is none.
            lanes: self.writers.min(self.rate) as usize,
            listen_only: self.listen_only,
        };
        if plan.duration.is_zero() || (plan.events() == 0 && !plan.listen_only) {
            return Err(Failure::usage("--duration is too short for a single event"));
        }
        if plan.events() > MOST_EVENTS {
            let message = format!("that would be {} events in one run", plan.events());
            let next = format!("--rate times --duration may be {MOST_EVENTS} at most");
            return Err(Failure::usage(message).next(next));
        }
        Ok(plan)
    }

    /// A pattern has no events of its own, so that it is for listening only.
    fn channel(&self, run: &str) -> Result<String, Failure> {
        let Some(channel) = &self.channel else { return Ok(format!("{FAMILY}{run}")) };
        let parsed = if self.listen_only {
            Pattern::parse(channel).map(|pattern| pattern.is_reserved())
        } else {
            Channel::parse(channel).map(|channel| channel.is_reserved())
        };
        let is_reserved =
            parsed.map_err(|error| Failure::usage(format!("--channel {channel}: {error}")))?;
        if is_reserved {
            return Err(Failure::usage(format!("--channel {channel}: the name is reserved")));
        }
        Ok(channel.clone())
    }
}

/// Of a run: nobody else has it.
fn name() -> Result<String, Failure> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| Failure::new("the system gives no random numbers"))?;
    Ok(format!("{:016x}", u64::from_be_bytes(random)))
}

/// What the channels of runs begin with.
const FAMILY: &str = "bench:";

/// Each takes four bytes here and a row of the log there.
const MOST_EVENTS: u64 = 10_000_000;

const EXAMPLES: &str = "\
Examples:
  rowcast bench --role bench
  rowcast bench --subscribers 2000 --rate 500 --duration 1m --url wss://live.example.com/v1/ws
  rowcast bench --channel orders --listen-only --json | jq .latency_ms.delivery.p99";

//! `rowcast serve`: the daemon.

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

use super::{Failure, Settings};
use crate::app::Daemon;
use crate::{lifecycle, telemetry};

/// Run the daemon
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where clients connect; overrides server.listen
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

pub async fn run(args: Args, settings: &Settings) -> Result<(), Failure> {
    let settings = match args.listen {
        Some(address) => settings.clone().with("server.listen", address.to_string()),
        None => settings.clone(),
    };
    let loaded = settings.load()?;
    super::config::vet(&loaded)?;
    telemetry::init(&loaded.config.telemetry)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let stop = CancellationToken::new();
    lifecycle::stop_on_signal(stop.clone())?;
    let Some(daemon) = stop.run_until_cancelled(Daemon::start(&loaded.config, None)).await else {
        return Ok(());
    };
    let daemon = daemon?;
    tracing::info!(address = %daemon.address(), "ready");
    stop.cancelled().await;
    tracing::info!("stopping");
    daemon.stop().await;
    Ok(())
}

const EXAMPLES: &str = "\
Examples:
  rowcast serve --config /etc/rowcast/config.toml
  DATABASE_URL=postgres://localhost/app ROWCAST_JWT_SECRET=… rowcast serve";

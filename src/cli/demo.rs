//! `rowcast demo`: everything on one machine, with nothing prepared.
//!
//! In: the programs of a PostgreSQL server, or `DATABASE_URL`. Out: a page whose rows change live, or with `--check`
//! the proof that they do. Invariant: what it made is gone when it ends, also when it ends early.

mod check;
mod desk;
mod shop;
mod stage;
mod writer;

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{Failure, Settings, print, tell};
use crate::app::Daemon;
use crate::auth::Minter;
use crate::config::{AuthKey, Config, LogFormat, Secret};
use crate::domain::policy::{Policies, RawPolicy};
use crate::{lifecycle, telemetry, transport};
use desk::Desk;
use stage::Stage;

/// Show rows of a real PostgreSQL changing live in a page
///
/// Starts a private, throw-away PostgreSQL server, or uses DATABASE_URL where that is set; installs the schema,
/// watches a sample table that keeps changing, and serves a page in which two users see their own rows.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the page is; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value_t = DEFAULT_ADDRESS)]
    listen: SocketAddr,

    /// Open the page in the browser; the default on a desktop
    #[arg(long, overrides_with = "no_open")]
    open: bool,

    /// Only print the address
    #[arg(long)]
    no_open: bool,

    /// Write nothing: the sample rows change only when you change them
    #[arg(long)]
    still: bool,

    /// Prove by two WebSocket clients that each gets its own changes and no others, and end
    #[arg(long)]
    check: bool,

    /// The database to use, instead of a server of our own
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database: Option<String>,
}

impl Args {
    /// As in the configuration, a variable that is set to nothing is not set.
    fn database(&self) -> Option<&str> {
        self.database.as_deref().filter(|url| !url.is_empty())
    }
}

pub async fn run(args: Args, _settings: &Settings) -> Result<(), Failure> {
    let mut config = Config::default();
    "warn".clone_into(&mut config.telemetry.log_filter);
    config.telemetry.log_format = LogFormat::Pretty;
    telemetry::init(&config.telemetry)?;
    let stop = CancellationToken::new();
    lifecycle::stop_on_signal(stop.clone())?;
    let Some(stage) = stop.run_until_cancelled(Stage::set(args.database())).await else {
        return Ok(());
    };
    let mut stage = stage?;
    let outcome = stop.run_until_cancelled(perform(&args, config, &mut stage, &stop)).await;
    tell("Removing what the demo made.");
    let cleared = stage.clear().await;
    outcome.unwrap_or(Ok(())).and(cleared)
}

/// Ends by itself only with `--check`, or when something fails.
async fn perform(
    args: &Args,
    mut config: Config,
    stage: &mut Stage,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let shop = stage.open_shop().await?;
    let secret = configure(&mut config, args, stage)?;
    let desk = Arc::new(Desk { shop: Arc::clone(&shop), minter: Minter::new(&config.auth)? });
    let pages = transport::demo::routes(Arc::clone(&desk) as _);
    let daemon = Daemon::start(&config, Some(pages)).await.map_err(|error| {
        Failure::from(error).next("take another address: rowcast demo --listen 127.0.0.1:0")
    })?;
    let address = daemon.address();
    let outcome = if args.check {
        check::run(&shop, &desk, address).await
    } else {
        let _writer =
            (!args.still).then(|| AbortOnDropHandle::new(tokio::spawn(writer::run(shop))));
        welcome(args, address, stage, &secret).map(|()| open_page(args, address))?;
        stop.cancelled().await;
        Ok(())
    };
    daemon.stop().await;
    outcome
}

/// The configuration a reader could have written; only the secret is made for this run.
fn configure(config: &mut Config, args: &Args, stage: &Stage) -> Result<String, Failure> {
    let mut random = [0; 32];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| Failure::new("the system gives no random numbers"))?;
    let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    config.auth.key = Some(AuthKey::Hmac(Secret::new(secret.clone().into_bytes())));
    config.database.url = Secret::new(stage.url().to_owned());
    config.server.listen = args.listen;
    if args.check && args.listen == DEFAULT_ADDRESS {
        // Nobody looks at it, and a demo may be running already.
        config.server.listen.set_port(0);
    }
    config.policy = ["orders", "stock"]
        .map(|channel| RawPolicy {
            channel: channel.into(),
            allow: vec!["subscribe".into()],
            ..RawPolicy::default()
        })
        .into();
    config.policies = Policies::parse(config.policy.clone())
        .map_err(|faults| Failure::new(format!("the demo's own policies: {faults:?}")))?;
    Ok(secret)
}

fn welcome(args: &Args, address: SocketAddr, stage: &Stage, secret: &str) -> Result<(), Failure> {
    let program = std::env::args().next().unwrap_or_else(|| "rowcast".into());
    let url = stage.url();
    print(&format!(
        "
  Rows are changing live at  http://{address}/        Ctrl-C ends it and removes everything

  Three things to try, each in another terminal:

  1. Follow ana's orders as any client would
     ROWCAST_JWT_SECRET={secret} {program} tail orders --user ana --url ws://{address}/v1/ws

  2. Write a row with psql, and see it in the page
     psql '{url}' -c \"insert into demo.orders (customer, item, quantity, total, owner) values ('You', 'Oat milk', 2, 4.80, 'ana')\"

  3. Take a table of your own: an empty secret would let nobody in, so make one first
     export DATABASE_URL=postgres://localhost/yourdb ROWCAST_JWT_SECRET=$(openssl rand -hex 32)
     {program} migrate && {program} watch public.yourtable --channel yourtable && {program} serve
"
    ))?;
    if !args.listen.ip().is_loopback() {
        tell("Whoever reaches this address gets tokens for ana and ben: it is a demo.");
    }
    Ok(())
}

/// A page that does not open is no failure: its address is on the screen.
fn open_page(args: &Args, address: SocketAddr) {
    let desktop = cfg!(target_os = "macos")
        || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    let wanted = args.open || (!args.no_open && desktop && std::io::stdout().is_terminal());
    if !wanted {
        return;
    }
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = tokio::process::Command::new(opener);
    command.arg(format!("http://{address}/")).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(error) = command.spawn() {
        tell(&format!("{opener} does not start ({error}): open the address by hand."));
    }
}

const DEFAULT_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4040);

const EXAMPLES: &str = "\
Examples:
  rowcast demo
  rowcast demo --check
  DATABASE_URL=postgres://localhost/scratch rowcast demo --listen 127.0.0.1:5050";

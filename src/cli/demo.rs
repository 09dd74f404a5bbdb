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

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{Failure, Settings, print, tell};
use crate::app::Daemon;
use crate::auth::Minter;
use crate::config::{AuthKey, Config, LogFormat, Secret};
use crate::domain::policy::{Policies, RawPolicy};
use crate::{lifecycle, telemetry, transport};
use desk::Desk;
use shop::Shop;
use stage::Stage;

/// Show rows of a real database changing live in a page
///
/// Starts a private, throw-away PostgreSQL server unless a database is named; installs the schema,
/// watches a sample table that keeps changing, and serves a page in which two users see their own rows.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own on the command line")]
pub struct Args {
    /// Where the page is; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value_t = DEFAULT_ADDRESS)]
    listen: SocketAddr,

    #[command(flatten)]
    browser: Browser,

    /// Write nothing: the sample rows change only when you change them
    #[arg(long)]
    still: bool,

    /// Prove by two clients that each gets its own changes and no others, and end
    #[arg(long)]
    check: bool,

    /// The database to use, instead of a server of our own
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database: Option<String>,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Browser {
    /// Open the page in the browser; the default on a desktop
    #[arg(long)]
    open: bool,

    /// Only print the address
    #[arg(long)]
    no_open: bool,
}

impl Browser {
    fn is_wanted(&self) -> bool {
        let desktop = cfg!(target_os = "macos")
            || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
        self.open || (!self.no_open && desktop && std::io::stdout().is_terminal())
    }
}

impl Args {
    /// As in the configuration, a variable that is set to nothing is not set.
    fn database(&self) -> Option<&str> {
        self.database.as_deref().filter(|url| !url.is_empty())
    }

    /// A page may be closed at any time; a proof that was not finished is none.
    fn interrupted(&self) -> Result<(), Failure> {
        if self.check { Err(Failure::new("stopped before the check was done")) } else { Ok(()) }
    }
}

pub async fn run(args: Args, _settings: &Settings) -> Result<(), Failure> {
    let mut config = Config::default();
    "warn".clone_into(&mut config.telemetry.log_filter);
    config.telemetry.log_format = LogFormat::Pretty;
    telemetry::init(&config.telemetry)?;
    let stop = CancellationToken::new();
    lifecycle::stop_on_signal(stop.clone())?;
    let Some(set) = stop.run_until_cancelled(Stage::set(args.database())).await else {
        return args.interrupted();
    };
    let mut stage = set?;
    let outcome = play(&args, config, &mut stage, &stop).await;
    tell("Removing what the demo made.");
    let cleared = stage.clear().await;
    outcome.and(cleared)
}

/// Until it is stopped; with `--check`, until that is done.
async fn play(
    args: &Args,
    config: Config,
    stage: &mut Stage,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let opening = Box::pin(Play::open(args, config, stage));
    let Some(play) = stop.run_until_cancelled(opening).await.transpose()? else {
        return args.interrupted();
    };
    let outcome = if args.check {
        let check = check::run(&play.shop, &play.desk, play.daemon.address());
        stop.run_until_cancelled(check).await.unwrap_or_else(|| args.interrupted())
    } else {
        play.show(args, stage, stop).await
    };
    play.daemon.stop().await;
    outcome
}

/// All that runs.
struct Play {
    shop: Arc<Shop>,
    desk: Arc<Desk>,
    daemon: Daemon,
    secret: String,
}

impl Play {
    async fn open(args: &Args, mut config: Config, stage: &mut Stage) -> Result<Self, Failure> {
        let shop = stage.open_shop().await?;
        let secret = configure(&mut config, args, stage)?;
        let desk = Arc::new(Desk { shop: Arc::clone(&shop), minter: Minter::new(&config.auth)? });
        let pages = transport::demo::routes(Arc::clone(&desk) as _);
        let daemon = Daemon::start(&config, Some(pages)).await.map_err(|error| {
            Failure::from(error).next("take another address: rowcast demo --listen 127.0.0.1:0")
        })?;
        Ok(Self { shop, desk, daemon, secret })
    }

    async fn show(
        &self,
        args: &Args,
        stage: &Stage,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let writer = || AbortOnDropHandle::new(tokio::spawn(writer::run(Arc::clone(&self.shop))));
        let _writer = (!args.still).then(writer);
        welcome(args, self.daemon.address(), stage, &self.secret)?;
        open_page(args, self.daemon.address());
        stop.cancelled().await;
        Ok(())
    }
}

/// The configuration a reader could have written; only the secret is made for this run.
fn configure(config: &mut Config, args: &Args, stage: &Stage) -> Result<String, Failure> {
    let mut random = [0; 32];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| Failure::new("the system gives no random numbers"))?;
    let secret = BASE64_URL_SAFE_NO_PAD.encode(random);
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
    if !args.browser.is_wanted() {
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

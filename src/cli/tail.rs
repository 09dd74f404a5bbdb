//! `rowcast tail`: follow channels in the terminal, as any client of the daemon would.

use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{Failure, Settings, print, tell};
use crate::auth::{Minter, Request};

/// Follow channels in the terminal, one JSON object a line
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Such as orders:42, or orders:* for all below
    #[arg(required = true, value_name = "CHANNEL")]
    channels: Vec<String>,

    /// Resume behind the event with this id
    #[arg(long, value_name = "ID")]
    after: Option<String>,

    /// The daemon's address; the one of the configuration otherwise
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// A token; without one the configured secret signs one for --user
    #[arg(long, env = "ROWCAST_TOKEN", hide_env_values = true)]
    token: Option<String>,

    /// Who to be, where the configured secret signs the token
    #[arg(long, value_name = "ID", default_value = "tail")]
    user: String,

    /// The role in that token
    #[arg(long)]
    role: Option<String>,
}

pub async fn run(args: Args, settings: &Settings) -> Result<(), Failure> {
    let (url, token) = destination(&args, settings)?;
    let mut socket = connect(&url, token.as_deref()).await?;
    for channel in &args.channels {
        let request = json!({
            "type": "subscribe", "ref": channel, "channel": channel, "after": args.after,
        });
        socket.send(Message::text(request.to_string())).await?;
    }
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        match message {
            Some(Ok(Message::Text(text))) => show(&text)?,
            Some(Ok(Message::Close(frame))) => return Err(closed(frame)),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err(closed(None)),
        }
    }
}

/// The configuration is needed only for what the arguments leave open.
fn destination(args: &Args, settings: &Settings) -> Result<(String, Option<String>), Failure> {
    if let (Some(url), Some(token)) = (&args.url, &args.token) {
        return Ok((url.clone(), Some(token.clone())));
    }
    let config = settings.load()?.config;
    let url = args.url.clone().unwrap_or_else(|| format!("ws://{}/v1/ws", config.server.listen));
    let token = match &args.token {
        Some(token) => Some(token.clone()),
        None if !config.auth.has_key() && config.auth.anonymous => None,
        None => {
            let (user, role) = (args.user.clone(), args.role.clone());
            let request = Request { user, role, claims: Vec::new(), ttl: TOKEN_LIFE };
            Some(Minter::new(&config.auth)?.sign(request, SystemTime::now())?)
        }
    };
    Ok((url, token))
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(url: &str, token: Option<&str>) -> Result<Socket, Failure> {
    let mut request = url.into_client_request()?;
    if let Some(token) = token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) if answer.status() == 401 => {
            Err(Failure::new("the daemon refused the token")
                .next("its log says why; `rowcast token` signs one with the configured secret"))
        }
        Err(error) => Err(Failure::from(error).next(format!("is the daemon running at {url}?"))),
    }
}

/// Events to standard output, all else to standard error.
fn show(text: &str) -> Result<(), Failure> {
    let message: Value = serde_json::from_str(text)?;
    match message["type"].as_str() {
        Some("change" | "broadcast" | "presence" | "notification") => print(text),
        Some("ok") => {
            tell(&format!("following {}", message["channel"].as_str().unwrap_or_default()));
            Ok(())
        }
        Some("error") => {
            let message = message["message"].as_str().unwrap_or_default();
            Err(Failure::new(message)
                .next("a policy of the configuration decides who may follow what"))
        }
        Some("welcome" | "pong") => Ok(()),
        _ => {
            tell(text);
            Ok(())
        }
    }
}

fn closed(frame: Option<CloseFrame>) -> Failure {
    match frame {
        Some(frame) => {
            Failure::new(format!("closed by the daemon: {} {}", frame.code, frame.reason))
        }
        None => Failure::new("the connection is gone"),
    }
}

const TOKEN_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

const EXAMPLES: &str = "\
Examples:
  rowcast tail orders --user alice
  rowcast tail 'orders:*' --url ws://db.example.com:4040/v1/ws --token \"$TOKEN\" | jq .row";

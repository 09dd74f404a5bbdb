//! `rowcast tail`: follow channels in the terminal, as any client of the daemon would.
//!
//! In: channels, a place to begin. Out: one JSON object an event. Invariant: over lost connections and restarts each
//! event is printed once.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::destination::{Destination, REFUSED, Socket};
use super::{Failure, Settings, print, tell};
use crate::domain::channel::{Channel, Pattern};

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

    #[command(flatten)]
    destination: Destination,
}

pub async fn run(args: Args, settings: &Settings) -> Result<(), Failure> {
    let mut places: Vec<Place> = Vec::new();
    for channel in &args.channels {
        let pattern = Pattern::parse(channel)?;
        places.push(Place { pattern, after: args.after.clone() });
    }
    tokio::select! {
        ended = keep_following(&args, settings, &mut places) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// What is followed, and behind which event it goes on.
struct Place {
    pattern: Pattern,
    after: Option<String>,
}

/// Comes back as any client should, until the daemon says that this is of no use.
async fn keep_following(
    args: &Args,
    settings: &Settings,
    places: &mut [Place],
) -> Result<(), Failure> {
    let mut socket = args.destination.way(settings)?.connect(USER).await?;
    loop {
        let wait = follow(&mut socket, places).await?;
        tell("the connection is gone; coming back");
        sleep(wait).await;
        let mut pause = FIRST_PAUSE;
        socket = loop {
            // The secret may have changed meanwhile.
            match args.destination.way(settings)?.connect(USER).await {
                Ok(socket) => break socket,
                Err(failure) if failure.message() == REFUSED => return Err(failure),
                Err(_) => sleep(pause).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
    }
}

/// Until the connection is gone; how long to wait before the next one.
async fn follow(socket: &mut Socket, places: &mut [Place]) -> Result<Duration, Failure> {
    for Place { pattern, after } in &*places {
        let channel = pattern.to_string();
        let request =
            json!({ "type": "subscribe", "ref": channel, "channel": channel, "after": after });
        if socket.send(Message::text(request.to_string())).await.is_err() {
            return Ok(FIRST_PAUSE);
        }
    }
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                show(&text)?;
                note_place(&text, places)?;
            }
            Some(Ok(Message::Close(Some(frame)))) => return comes_back(&frame),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Ok(FIRST_PAUSE),
        }
    }
}

/// Protocol section 9: the range of the code says what to do.
fn comes_back(frame: &CloseFrame) -> Result<Duration, Failure> {
    let code = u16::from(frame.code);
    if !matches!(code, 1000 | 1001 | 1006 | 1012 | 1013 | 4400..=4499) {
        return Err(Failure::new(format!("closed by the daemon: {code} {}", frame.reason)));
    }
    let wait = frame.reason.rsplit_once("retry_after_ms=").and_then(|(_, ms)| ms.parse().ok());
    Ok(wait.map_or(FIRST_PAUSE, Duration::from_millis))
}

/// Where each subscription would go on.
fn note_place(text: &str, places: &mut [Place]) -> Result<(), Failure> {
    let message: Value = serde_json::from_str(text)?;
    let id = match message["type"].as_str() {
        Some("change" | "broadcast") => &message["id"],
        Some("ok") if message["replayed"] == 0 => &message["position"],
        _ => return Ok(()),
    };
    let (Some(id), Some(channel)) = (id.as_str(), message["channel"].as_str()) else {
        return Ok(());
    };
    let (of, channel) = (Pattern::parse(channel).ok(), Channel::parse(channel).ok());
    for place in places {
        if of.as_ref() == Some(&place.pattern)
            || channel.as_ref().is_some_and(|channel| place.pattern.covers(channel))
        {
            place.after = Some(id.to_owned());
        }
    }
    Ok(())
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

/// Unless --user says otherwise.
const USER: &str = "tail";

const FIRST_PAUSE: Duration = Duration::from_millis(200);

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  rowcast tail orders --user alice
  rowcast tail 'orders:*' --url ws://db.example.com:4040/v1/ws --token \"$TOKEN\" | jq .row";

//! The subscribers of a run: connected in waves, each with its subscription in force.
//!
//! In: the way to the daemon, how many. Out: their sockets, and who the daemon says it is. Invariant: either all of
//! them stand or the run ends with the reason and what to do about it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::reader::Subscriber;
use super::scene::Plan;
use crate::cli::destination::{Socket, Way};
use crate::cli::{Failure, tell};
use crate::transport::descriptors;

/// Hands each to one of the readers as soon as it stands; what the daemon calls itself.
pub async fn gather(
    way: &Way,
    plan: &Plan,
    readers: &[Sender<Subscriber>],
) -> Result<String, Failure> {
    check_descriptors(plan)?;
    let mut waiting = stream::iter(0..plan.subscribers)
        .map(|number| async move { (number, enter(way, plan, number).await) })
        .buffer_unordered(WAVE);
    let (mut server, mut standing) = (String::new(), 0);
    while let Some((number, entered)) = waiting.next().await {
        let (socket, name) = entered.map_err(|failure| after(failure, standing, plan))?;
        server = name;
        standing += 1;
        // A reader ends with the run only.
        let _ = readers[number % readers.len()].send(Subscriber::new(socket, plan.lanes)).await;
        if standing.is_multiple_of(TOLD_EACH) && standing < plan.subscribers {
            tell(&format!(
                "{standing} of {} subscribers follow {}",
                plan.subscribers, plan.channel
            ));
        }
    }
    Ok(server)
}

fn after(failure: Failure, standing: usize, plan: &Plan) -> Failure {
    if standing == 0 {
        return failure;
    }
    failure.behind(&format!("after {standing} of {} subscribers, ", plan.subscribers))
}

fn check_descriptors(plan: &Plan) -> Result<(), Failure> {
    let limit = descriptors::raise_limit();
    if descriptors::connections(plan.subscribers, limit, RESERVED) == plan.subscribers {
        return Ok(());
    }
    let limit = limit.unwrap_or_default();
    let need = plan.subscribers + RESERVED;
    Err(Failure::new(format!(
        "{} subscribers take {need} open files, and this process may have {limit}",
        plan.subscribers
    ))
    .next(format!("raise the hard limit: `ulimit -Hn {need}` as root, or LimitNOFILE")))
}

/// Connected, welcomed, subscribed.
async fn enter(way: &Way, plan: &Plan, number: usize) -> Result<(Socket, String), Failure> {
    let entering = async {
        let mut socket = way.connect(&Plan::user(number)).await?;
        let subscribe = json!({ "type": "subscribe", "ref": 1, "channel": plan.channel });
        let welcome = until(&mut socket, "welcome", plan).await?;
        socket.send(Message::text(subscribe.to_string())).await?;
        until(&mut socket, "ok", plan).await?;
        Ok((socket, welcome["server"].as_str().unwrap_or_default().to_owned()))
    };
    match timeout(PATIENCE, entering).await {
        Ok(entered) => entered,
        Err(_) => Err(Failure::new(format!("{} did not answer in time", way.shown()))
            .next("is it a daemon of rowcast, and is it ready? /readyz says so")),
    }
}

/// The next message of this type. What a busy channel sends before is not the run's.
async fn until(socket: &mut Socket, wanted: &str, plan: &Plan) -> Result<Value, Failure> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                let message: Value = serde_json::from_str(&text)?;
                match message["type"].as_str() {
                    Some("error") => return Err(refused(&message, plan)),
                    Some(kind) if kind == wanted => return Ok(message),
                    _ => {}
                }
            }
            Some(Ok(Message::Close(frame))) => {
                let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                    (frame.code.into(), frame.reason.to_string())
                });
                return Err(Failure::new(format!("closed by the daemon: {code} {reason}"))
                    .next(advice(code)));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Failure::new("the connection was lost")),
        }
    }
}

/// As docs/operations.md has it.
fn advice(code: u16) -> &'static str {
    match code {
        4429 => {
            "for a test, raise limits.connections_per_user and limits.messages_per_minute and reload"
        }
        4501 => "its log says why; `rowcast token` signs one with the configured secret",
        1012 => "it stops or restarts; try again",
        _ => "docs/operations.md says what the code means",
    }
}

fn refused(message: &Value, plan: &Plan) -> Failure {
    let said = message["message"].as_str().unwrap_or_default();
    let channel = &plan.channel;
    match message["code"].as_str() {
        Some("forbidden") => {
            Failure::new(format!("no subscribing to {channel}: {said}")).next(policy(channel))
        }
        Some("rate_limited") => Failure::new(said).next(
            "for a test, raise limits.messages_per_minute and reload, or give each its own user",
        ),
        Some("unauthorized") => Failure::new(said)
            .next("name the configuration with the secret by --config, or a token by --token"),
        _ => Failure::new(said),
    }
}

fn policy(channel: &str) -> String {
    let own = channel.strip_prefix(super::FAMILY).map(|_| "bench:*");
    let channel = own.unwrap_or(channel);
    format!(
        "allow it with a policy, reload, and run with --role bench; or follow another by --channel:\n\n\
         [[policy]]\nchannel = \"{channel}\"\nallow = [\"subscribe\"]\nwhen = {{ role = [\"bench\"] }}\n"
    )
}

/// How many connect at once: fewer than may wait to be accepted.
const WAVE: usize = 64;

const TOLD_EACH: usize = 500;

/// Descriptors for everything else.
const RESERVED: usize = 128;

/// A daemon on a loaded machine takes a part of it for the slowest of a wave.
const PATIENCE: Duration = Duration::from_secs(20);

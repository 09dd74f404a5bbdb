//! Reads what a part of the subscribers get.
//!
//! In: subscribers, frames. Out: each subscriber's tally, and the latencies of all. Invariant: a frame of the run costs
//! one scan for its mark and no parsing, so that the generator is not what is measured; one task polls all sockets of
//! a reader.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, future};
use serde::Deserialize;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;

use super::event::Mine;
use super::scene::Scene;
use super::spread::Latencies;
use super::tally::Tally;
use crate::cli::destination::Socket;

pub struct Subscriber {
    socket: Socket,
    tally: Tally,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    /// The end of the run has come.
    Complete,
    Closed(u16),
    /// The subscription ended, and the connection did not.
    Refused,
}

/// What the subscribers of a reader got, all together.
#[derive(Clone, Debug)]
pub struct Heard {
    pub latencies: Latencies,
    /// Of each subscriber.
    pub tallies: Vec<Tally>,
    /// How many ended before the run, by close code or `forbidden`.
    pub lost: BTreeMap<String, u64>,
    /// How many had not seen the end when the wait for it was over.
    pub behind: u64,
    /// Events of others, in a run that writes its own.
    pub foreign: u64,
    pub lagged: u64,
    pub resets: u64,
    /// When the last event came, by the run's clock.
    pub until: u64,
}

/// Until every subscriber has seen the end of the run or is lost, or until the stop.
pub async fn read(
    scene: Arc<Scene>,
    mut arriving: Receiver<Subscriber>,
    stop: CancellationToken,
) -> Heard {
    let heard = Arc::new(Mutex::new(Heard::new()));
    let mut following = FuturesUnordered::new();
    let (mut ended, mut more) = (Vec::new(), true);
    while more || !following.is_empty() {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(subscriber) = following.next() => ended.push(subscriber),
            subscriber = arriving.recv(), if more => match subscriber {
                Some(subscriber) => following.push(Following {
                    subscriber: Some(subscriber),
                    scene: Arc::clone(&scene),
                    heard: Arc::clone(&heard),
                }),
                None => more = false,
            },
        }
    }
    ended.extend(following.into_iter().filter_map(|following| following.subscriber));
    let mut all = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for subscriber in &ended {
        all.note_end(subscriber);
    }
    future::join_all(ended.into_iter().map(Subscriber::leave)).await;
    all
}

/// One subscriber, until it is lost or complete.
struct Following {
    /// `None` once it has been handed out.
    subscriber: Option<Subscriber>,
    scene: Arc<Scene>,
    heard: Arc<Mutex<Heard>>,
}

impl Future for Following {
    type Output = Subscriber;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Subscriber> {
        let this = &mut *self;
        let Some(subscriber) = &mut this.subscriber else { return Poll::Pending };
        let mut heard = this.heard.lock().unwrap_or_else(PoisonError::into_inner);
        ready!(subscriber.poll_fate(&this.scene, &mut heard, context));
        drop(heard);
        this.subscriber.take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Subscriber {
    pub fn new(socket: Socket, lanes: usize) -> Self {
        Self { socket, tally: Tally::new(lanes), fate: Fate::Open }
    }

    fn poll_fate(
        &mut self,
        scene: &Scene,
        heard: &mut Heard,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        while self.fate == Fate::Open {
            match ready!(self.socket.poll_next_unpin(context)) {
                Some(Ok(Message::Text(text))) => self.take(&text, scene, heard),
                Some(Ok(Message::Close(frame))) => {
                    self.fate = Fate::Closed(frame.map_or(NO_CODE, |frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => self.fate = Fate::Closed(LOST),
            }
        }
        Poll::Ready(())
    }

    fn take(&mut self, text: &str, scene: &Scene, heard: &mut Heard) {
        match scene.mark.find(text.as_bytes()) {
            Some(Mine::Event { number, due }) => {
                if self.tally.take(number) {
                    let latency = heard.arrived(scene.micros(Instant::now()), due);
                    scene.note_last(number, latency);
                }
            }
            Some(Mine::End) => self.fate = Fate::Complete,
            None => self.take_other(text, scene, heard),
        }
    }

    fn take_other(&mut self, text: &str, scene: &Scene, heard: &mut Heard) {
        let Ok(message) = serde_json::from_str::<Other>(text) else { return };
        match &*message.kind {
            "change" if scene.plan.listen_only => self.take_age(&message, scene, heard),
            "change" => heard.foreign += 1,
            "lagged" => heard.lagged += 1,
            "reset" => heard.resets += 1,
            "error" => self.fate = Fate::Refused,
            _ => {}
        }
    }

    /// Of an event that somebody else has written: from its capture, where both clocks agree.
    fn take_age(&mut self, message: &Other<'_>, scene: &Scene, heard: &mut Heard) {
        let now = scene.micros(Instant::now());
        if now < scene.begin() {
            return;
        }
        let at = message.at.as_deref().and_then(|at| humantime::parse_rfc3339(at).ok());
        let age = at.and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default();
        let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        self.tally.count();
        heard.arrived(now, now.saturating_sub(age));
    }

    /// As a client that has read all it wanted.
    async fn leave(mut self) {
        if !matches!(self.fate, Fate::Open | Fate::Complete) {
            return;
        }
        let farewell = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let leaving = async {
            let _ = self.socket.close(Some(farewell)).await;
            while let Some(Ok(_)) = self.socket.next().await {}
        };
        // Whoever does not answer is left without.
        let _ = timeout(PATIENCE, leaving).await;
    }
}

impl Heard {
    pub fn new() -> Self {
        Self {
            latencies: Latencies::new(),
            tallies: Vec::new(),
            lost: BTreeMap::new(),
            behind: 0,
            foreign: 0,
            lagged: 0,
            resets: 0,
            until: 0,
        }
    }

    pub fn add(&mut self, other: Self) {
        self.latencies.add(&other.latencies);
        self.tallies.extend(other.tallies);
        for (why, count) in other.lost {
            *self.lost.entry(why).or_default() += count;
        }
        self.behind += other.behind;
        self.foreign += other.foreign;
        self.lagged += other.lagged;
        self.resets += other.resets;
        self.until = self.until.max(other.until);
    }

    fn arrived(&mut self, now: u64, since: u64) -> u64 {
        let latency = now.saturating_sub(since);
        self.latencies.record(latency);
        self.until = now;
        latency
    }

    fn note_end(&mut self, subscriber: &Subscriber) {
        self.tallies.push(subscriber.tally.clone());
        let why = match subscriber.fate {
            Fate::Open => return self.behind += 1,
            Fate::Complete => return,
            Fate::Closed(code) => code.to_string(),
            Fate::Refused => "forbidden".to_owned(),
        };
        *self.lost.entry(why).or_default() += 1;
    }
}

/// A message that is none of the run's.
#[derive(Deserialize)]
struct Other<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    at: Option<Cow<'a, str>>,
}

/// RFC 6455, 7.4.1.
const NO_CODE: u16 = 1005;
const LOST: u16 = 1006;

/// As long as the daemon waits for a close frame.
const PATIENCE: Duration = Duration::from_secs(5);

//! The clients: any number of sockets on one thread, which count frames and read nothing else.
//!
//! In: bytes of a server. Out: how many data frames each socket got, and when. Invariant: a frame is looked into
//! only while `keep` asks for it, so the measured server's core is never the slower one for want of a reader.

mod socket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::Outcome;
use crate::dialect::Dialect;
use socket::Socket;
use socket::upgrade;
pub use socket::upgrade_of_peer;

pub struct Load {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    sockets: Vec<Socket>,
    /// Messages over all sockets, which are data frames where a server has no dialect of its own.
    pub frames: u64,
    /// Everything that was read.
    pub bytes: u64,
    /// Texts of the next frames of each socket are kept, so many.
    keep: usize,
    stopwatch: Option<Stopwatch>,
}

/// Measures from the commit of an event, by its number, to each frame.
pub struct Stopwatch {
    pub began: Instant,
    /// Nanoseconds since `began`, written before the commit is sent.
    pub commits: Arc<Vec<AtomicU64>>,
    pub latencies: Vec<Duration>,
    /// What each socket had seen before the first event.
    before: Vec<u64>,
}

impl Load {
    pub fn new() -> Outcome<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(4096),
            buffer: vec![0; 256 * 1024],
            sockets: Vec::new(),
            frames: 0,
            bytes: 0,
            keep: 0,
            stopwatch: None,
        })
    }

    /// As many more clients with their welcome, in waves.
    pub fn connect(&mut self, count: usize, server: SocketAddr, tokens: &[String]) -> Outcome<()> {
        let open = |load: &mut Self, number: usize| {
            let request = upgrade(&tokens[number % tokens.len()]);
            load.open(server, Some(&request), Dialect::Plain, None)
        };
        self.in_waves(count, open, |socket| socket.seen > 0)
    }

    /// Clients of another server, which are subscribed when this returns.
    pub fn connect_peer(
        &mut self,
        count: usize,
        server: SocketAddr,
        path: &str,
        dialect: Dialect,
    ) -> Outcome<()> {
        let request = upgrade_of_peer(path);
        let open = |load: &mut Self, _| load.open(server, Some(&request), dialect, None);
        self.in_waves(count, open, |socket| socket.head.is_none() && socket.ear.ready)
    }

    fn in_waves(
        &mut self,
        count: usize,
        open: impl Fn(&mut Self, usize) -> Outcome<()>,
        is_ready: impl Fn(&Socket) -> bool,
    ) -> Outcome<()> {
        let first = self.sockets.len();
        for wave in (first..first + count).collect::<Vec<_>>().chunks(WAVE) {
            wave.iter().try_for_each(|number| open(self, *number))?;
            let wave = wave[0]..=wave[wave.len() - 1];
            self.until("a welcome", |load| load.sockets[wave.clone()].iter().all(&is_ready))?;
        }
        Ok(())
    }

    /// A client that has only a small buffer for what it will not read.
    pub fn connect_narrow(&mut self, server: SocketAddr, token: &str) -> Outcome<usize> {
        let number = self.sockets.len();
        self.open(server, Some(&upgrade(token)), Dialect::Plain, Some(4096))?;
        self.until("a welcome", |load| load.sockets[number].seen > 0)?;
        Ok(number)
    }

    /// Clients of the raw server, which says nothing first.
    pub fn connect_raw(&mut self, count: usize, server: SocketAddr) -> Outcome<()> {
        (0..count).try_for_each(|_| self.open(server, None, Dialect::Plain, None))
    }

    fn open(
        &mut self,
        server: SocketAddr,
        request: Option<&str>,
        dialect: Dialect,
        buffer: Option<usize>,
    ) -> Outcome<()> {
        let mut socket = Socket::open(server, request, dialect, buffer)?;
        let token = Token(self.sockets.len());
        self.poll.registry().register(&mut socket.stream, token, Interest::READABLE)?;
        self.sockets.push(socket);
        Ok(())
    }

    /// Every client subscribes and has its answer. The texts of the answers are returned.
    pub fn subscribe(&mut self, message: impl Fn(usize) -> String) -> Outcome<Vec<String>> {
        let all: Vec<usize> = (0..self.sockets.len()).collect();
        self.keep_next(1);
        for wave in all.chunks(WAVE) {
            let before: Vec<u64> = wave.iter().map(|number| self.sockets[*number].seen).collect();
            for number in wave {
                self.say(*number, &message(*number))?;
            }
            let first = wave[0];
            self.until("an answer", |load| {
                let now = before.iter().zip(&load.sockets[first..]);
                now.clone().all(|(before, socket)| socket.seen > *before)
            })?;
        }
        self.keep = 0;
        let answers: Vec<String> =
            self.sockets.iter().flat_map(|socket| socket.kept.clone()).collect();
        match answers.iter().find(|answer| !answer.contains("\"ok\"")) {
            Some(refusal) => Err(format!("a subscription was refused: {refusal}").into()),
            None => Ok(answers),
        }
    }

    pub fn say(&mut self, number: usize, text: &str) -> Outcome<()> {
        self.sockets[number].say(text)
    }

    /// The texts of the next frames of each client.
    pub fn keep_next(&mut self, count: usize) {
        self.keep = count;
        self.sockets.iter_mut().for_each(|socket| socket.kept.clear());
    }

    pub fn kept(&self, number: usize) -> &[String] {
        &self.sockets[number].kept
    }

    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    pub fn seen(&self) -> Vec<u64> {
        self.sockets.iter().map(|socket| socket.seen).collect()
    }

    /// From now on this client reads nothing.
    pub fn stick(&mut self, number: usize) -> Outcome<()> {
        let socket = &mut self.sockets[number];
        Ok(self.poll.registry().deregister(&mut socket.stream)?)
    }

    pub fn unstick(&mut self, number: usize) -> Outcome<()> {
        let stream = &mut self.sockets[number].stream;
        Ok(self.poll.registry().register(stream, Token(number), Interest::READABLE)?)
    }

    pub fn begin_timing(&mut self, began: Instant, commits: Arc<Vec<AtomicU64>>) {
        let before = self.seen();
        self.stopwatch = Some(Stopwatch { began, commits, latencies: Vec::new(), before });
    }

    pub fn end_timing(&mut self) -> Vec<Duration> {
        self.stopwatch.take().map(|stopwatch| stopwatch.latencies).unwrap_or_default()
    }

    /// Reads what has come, waiting for it up to this long.
    pub fn pump(&mut self, wait: Duration) -> Outcome<()> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let polled = self.poll.poll(&mut events, Some(wait));
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
        for event in &events {
            self.read(event.token().0)?;
        }
        self.events = events;
        Ok(())
    }

    /// Reads until this is so.
    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Outcome<()> {
        self.pump_until(Duration::from_millis(100), what, done)
    }

    fn pump_until(
        &mut self,
        wait: Duration,
        what: &str,
        done: impl Fn(&Self) -> bool,
    ) -> Outcome<()> {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            if Instant::now() > deadline {
                let closed = self.sockets.iter().filter(|socket| socket.closed).count();
                let all = self.sockets.len();
                return Err(
                    format!("{what} did not come; {closed} of {all} sockets are closed").into()
                );
            }
            self.pump(wait)?;
        }
        Ok(())
    }

    /// Until so many data frames have come in all.
    pub fn until_frames(&mut self, total: u64) -> Outcome<()> {
        self.until("what was published", |load| load.frames >= total)
    }

    /// The same without ever falling asleep. To wake a reader is dear, and which server finds it asleep how often is
    /// not the server's merit: the slower one leaves it more time to.
    pub fn spin_until_frames(&mut self, total: u64) -> Outcome<()> {
        self.pump_until(Duration::ZERO, "what was published", |load| load.frames >= total)
    }

    /// Nothing is missing and nothing came twice: each client has exactly so many more than before.
    pub fn nothing_missing(&mut self, before: &[u64], more: u64) -> Outcome<()> {
        let expected: Vec<u64> = before.iter().map(|seen| seen + more).collect();
        self.until("what is missing", |load| {
            load.sockets.iter().zip(&expected).all(|(socket, expected)| socket.seen >= *expected)
        })?;
        self.pump(Duration::from_millis(50))?;
        let wrong =
            self.seen().iter().zip(&expected).filter(|(seen, expected)| seen != expected).count();
        if wrong > 0 {
            return Err(format!("{wrong} clients got more than was sent to them").into());
        }
        Ok(())
    }

    fn read(&mut self, number: usize) -> Outcome<()> {
        loop {
            let socket = &mut self.sockets[number];
            let Some(count) = socket.read(&mut self.buffer) else { return Ok(()) };
            let new = socket.take(&self.buffer[..count], self.keep)?;
            self.frames += new;
            self.bytes += count as u64;
            if let Some(stopwatch) = &mut self.stopwatch {
                stopwatch.note(number, socket.seen - new..socket.seen);
            }
            // A read that fills less than the buffer has emptied the socket.
            if count < self.buffer.len() {
                return Ok(());
            }
        }
    }
}

impl Stopwatch {
    fn note(&mut self, number: usize, seen: std::ops::Range<u64>) {
        let now = self.began.elapsed();
        for frame in seen {
            let event = usize::try_from(frame - self.before[number]).unwrap_or(usize::MAX);
            if let Some(commit) = self.commits.get(event) {
                let commit = Duration::from_nanos(commit.load(Ordering::Acquire));
                self.latencies.push(now.saturating_sub(commit));
            }
        }
    }
}

/// How many connect at once: fewer than may wait to be accepted.
const WAVE: usize = 256;

/// Ten thousand clients that are served from the log, beside other work, take more than one.
const PATIENCE: Duration = Duration::from_mins(5);

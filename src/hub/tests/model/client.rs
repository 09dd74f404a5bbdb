//! A client, and what it holds against what it gets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::socket::Socket;
use super::PATTERNS;
use super::log::{Log, Row};
use crate::domain::channel::Pattern;
use crate::domain::position::Position;
use crate::domain::rights::Version;
use crate::hub::{Past, Subscriber};

pub(in super::super) struct Client {
    pub(in super::super) socket: Arc<Socket>,
    pub(super) subscriber: Subscriber,
    pub(super) node: usize,
    pub(super) last: BTreeMap<&'static str, String>,
    pub(super) seen: BTreeSet<(&'static str, u64, i32)>,
    pub(super) newest: BTreeMap<(&'static str, u64), i32>,
    pub(super) told: Vec<String>,
    pub(super) seed: u64,
    /// Whether what it has got may come once more when it comes back, and what follows it then too.
    pub(super) is_coarse: bool,
    /// Until it was judged again it is to get nothing that was published behind this.
    pub(super) held: Option<Position>,
    /// Whether it has connected and not yet subscribed to anything.
    pub(super) is_away: bool,
    pub(super) log: Log,
}

impl Client {
    /// Takes in what has come, and holds it against what it may be.
    pub(super) fn take(&mut self) {
        for line in self.socket.take_lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let ["event", channel, key, version, id] = words[..] else {
                self.told.push(line);
                continue;
            };
            if key == "-" {
                continue;
            }
            let pattern = if channel == "all" { PATTERNS[0] } else { PATTERNS[1] };
            let (key, version) = (key.parse().unwrap(), version.parse().unwrap());
            let seed = self.seed;
            assert!(self.may_have(key, version), "seed {seed}: {line} without the right to it");
            let is_new = self.seen.insert((pattern, key, version));
            assert!(is_new || self.is_coarse, "seed {seed}: twice: {line}");
            let before = self.newest.insert((pattern, key), version).unwrap_or(0);
            assert!(version > before, "seed {seed}: {line} after version {before}");
            self.last.insert(pattern, id.to_owned());
        }
    }

    pub(super) fn begin_anew(&mut self) {
        if self.is_coarse {
            self.newest.clear();
        }
    }

    /// Nothing older came behind the newest version of a row.
    pub(super) fn expect_newest(&self) {
        let mut newest = BTreeMap::new();
        for row in self.log.lock().unwrap().iter() {
            let version = newest.entry(row.key).or_insert(row.version);
            *version = row.version.max(*version);
        }
        for ((_, key), version) in &self.newest {
            assert_eq!(Some(version), newest.get(key), "seed {}: row {key}", self.seed);
        }
    }

    fn may_have(&self, key: u64, version: i32) -> bool {
        let Some(held) = &self.held else { return true };
        let log = self.log.lock().unwrap();
        let is_it = |row: &&Row| row.key == key && row.version == version;
        log.iter().rfind(is_it).is_some_and(|row| held.sees(row.logged.xid, row.logged.id))
    }

    /// Subscribes, behind these events where there are any.
    pub(in super::super) async fn resume(
        &self,
        last: &BTreeMap<&'static str, String>,
        judged: Version,
    ) {
        for pattern in PATTERNS {
            let after = last.get(pattern).map(|id| id.as_str().into());
            let past = Past { after, ..Past::default() };
            let pattern = Pattern::parse(pattern).unwrap();
            self.subscriber.subscribe(pattern, None, past, judged).await;
        }
    }

    pub(in super::super) async fn unsubscribe(&self, pattern: &str) {
        self.subscriber.unsubscribe(Pattern::parse(pattern).unwrap()).await;
    }

    /// Where it would resume.
    pub(in super::super) fn places(&self) -> BTreeMap<&'static str, String> {
        self.last.clone()
    }

    pub(in super::super) fn is_told(&mut self, what: &str) -> bool {
        self.take();
        self.told.iter().any(|line| line.starts_with(what))
    }
}

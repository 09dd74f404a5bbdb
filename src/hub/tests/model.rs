//! A database of versioned rows, nodes that read it at their own pace, and clients that move between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::timeout;

use super::socket::{Lines, Socket};
use crate::access::Rights;
use crate::domain::channel::{Channel, Pattern};
use crate::domain::event::{Batch, Event, Logged};
use crate::domain::past::{Backfill, Page, Start, Survey, divide};
use crate::domain::position::Position;
use crate::domain::rights::{Version, Whose};
use crate::domain::snapshot::{Snapshot, Xid};
use crate::hub::{After, BackfillRequest, History, Hub, HubOptions, Past, Request, Subscriber};
use crate::telemetry::metrics::Observer;

const PATTERNS: [&str; 2] = ["all", "row:*"];

pub(super) struct Model {
    dice: u64,
    seed: u64,
    next_xid: Xid,
    next_id: i64,
    open: Vec<(Xid, Vec<Row>)>,
    /// The newest version of each row, committed or not; who changes a row locks it.
    versions: BTreeMap<u64, i32>,
    log: Log,
    pages: Arc<AtomicUsize>,
    nodes: Vec<Node>,
    pub(super) clients: Vec<Client>,
}

/// What is committed.
type Log = Arc<Mutex<Vec<Row>>>;

#[derive(Clone, Copy, Debug)]
struct Row {
    logged: Logged,
    key: u64,
    version: i32,
}

struct Node {
    hub: Hub,
    position: Position,
    /// The rest of a run that was read in part.
    rest: Vec<Row>,
    /// How often rights have changed here.
    rights: Version,
}

pub(super) struct Client {
    pub(super) socket: Arc<Socket>,
    subscriber: Subscriber,
    node: usize,
    last: BTreeMap<&'static str, String>,
    seen: BTreeSet<(&'static str, u64, i32)>,
    newest: BTreeMap<(&'static str, u64), i32>,
    told: Vec<String>,
    seed: u64,
    /// Until it was judged again it is to get nothing that was published behind this.
    held: Option<Position>,
    /// Whether it has connected and not yet subscribed to anything.
    is_away: bool,
    log: Log,
}

impl Model {
    /// Two nodes with little memory, so that the log is asked often.
    pub(super) fn new(seed: u64) -> Self {
        Self::with(seed, 400, [2_000, 20_000], 1)
    }

    /// The same, with the sockets of each node divided among four shards.
    pub(super) fn sharded(seed: u64) -> Self {
        Self::with(seed, 400, [2_000, 20_000], 4)
    }

    /// Room in memory for a part of what is missed, so that who comes back in a crowd shares what is read of the log.
    pub(super) fn crowded(seed: u64) -> Self {
        Self::with(seed, 4_000, [6_000, 24_000], 1)
    }

    pub(super) fn remembering(seed: u64, recent_bytes: usize) -> Self {
        Self::with(seed, 4_000, [recent_bytes; 2], 1)
    }

    pub(super) fn remembering_all(seed: u64) -> Self {
        Self::with(seed, 100_000, [usize::MAX; 2], 1)
    }

    fn with(seed: u64, queue_bytes: usize, recent_bytes: [usize; 2], shards: usize) -> Self {
        let (log, pages) = (Log::default(), Arc::default());
        let start = Position::complete(Arc::new(Snapshot::below(1)));
        let node = |recent_bytes| Node {
            hub: Hub::start(
                HubOptions {
                    queue_bytes,
                    queue_age: Duration::from_secs(5),
                    patience: Duration::from_secs(30),
                    recent_bytes,
                    shards,
                },
                &(Arc::new(ModelLog { log: Arc::clone(&log), pages: Arc::clone(&pages) })
                    as Arc<dyn History>),
                Observer::default(),
            ),
            position: start.clone(),
            rest: Vec::new(),
            rights: 0,
        };
        let nodes = recent_bytes.map(node).into();
        Self {
            dice: seed,
            seed,
            next_xid: 1,
            next_id: 1,
            open: Vec::new(),
            versions: BTreeMap::new(),
            log,
            pages,
            nodes,
            clients: Vec::new(),
        }
    }

    pub(super) async fn join_clients(&mut self, count: usize) {
        for node in &self.nodes {
            let position = node.position.clone();
            let token = token(&position);
            node.hub.publish(Batch { events: Vec::new(), position, token }).await;
        }
        for number in 0..count {
            let mut client = self.connect(number % 2).await;
            client.resume(&BTreeMap::new(), 0).await;
            while client.last.len() < PATTERNS.len() {
                let changed = client.socket.changed();
                for line in client.socket.take_lines() {
                    let words: Vec<&str> = line.split(' ').collect();
                    let pattern = PATTERNS.iter().find(|pattern| **pattern == words[1]).unwrap();
                    client.last.insert(pattern, words[2].to_owned());
                }
                if client.last.len() < PATTERNS.len() {
                    changed.await;
                }
            }
            self.clients.push(client);
        }
    }

    async fn connect(&self, node: usize) -> Client {
        let socket = Arc::new(Socket::default());
        let sink = Arc::clone(&socket);
        let subscriber = self.nodes[node].hub.join(sink, &Lines).await.unwrap();
        let (seen, newest, told) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        let (last, seed) = (BTreeMap::new(), self.seed);
        Client {
            socket,
            subscriber,
            node,
            last,
            seen,
            newest,
            told,
            seed,
            held: None,
            is_away: false,
            log: Arc::clone(&self.log),
        }
    }

    /// Clients that have connected to the first node and subscribed to nothing.
    pub(super) async fn join_idle(&mut self, count: usize) {
        for _ in 0..count {
            let client = self.connect(0).await;
            self.clients.push(client);
        }
    }

    /// How often the log was asked.
    pub(super) fn pages_read(&self) -> usize {
        self.pages.load(Ordering::Relaxed)
    }

    /// One random thing.
    pub(super) async fn step(&mut self) {
        match self.roll(20) {
            0 | 1 => self.begin(),
            2..=4 => self.change(),
            5..=7 => self.end(),
            8 => self.read(0).await,
            9 | 10 => self.read(1).await,
            11 if self.roll(8) == 0 => self.break_line(),
            11 => self.squeeze(),
            12 => self.cut().await,
            13 => self.suspend().await,
            14 | 15 => self.judge().await,
            16 => self.leave().await,
            17 => self.rush().await,
            _ => tokio::task::yield_now().await,
        }
    }

    pub(super) async fn finish(&mut self) {
        while !self.open.is_empty() {
            self.end();
        }
        self.read_all().await;
        self.rush().await;
        self.judge().await;
        for client in 0..self.clients.len() {
            self.clients[client].socket.give_room(None);
            self.expect_all(client).await;
        }
    }

    fn begin(&mut self) {
        if self.open.len() < 4 {
            self.open.push((self.next_xid, Vec::new()));
            self.next_xid += 1;
        }
    }

    /// An open transaction changes a row that no other one has changed.
    fn change(&mut self) {
        let (at, key) = (self.roll(4), self.roll(6) as u64);
        let locks = |other: &(Xid, Vec<Row>)| other.1.iter().any(|row| row.key == key);
        if at < self.open.len()
            && !self.open.iter().enumerate().any(|(other, open)| other != at && locks(open))
        {
            let version = self.versions.get(&key).map_or(1, |version| version + 1);
            self.versions.insert(key, version);
            let logged = Logged { xid: self.open[at].0, id: self.next_id };
            self.next_id += 1;
            self.open[at].1.push(Row { logged, key, version });
        }
    }

    fn end(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let at = self.roll(self.open.len());
        let (_, rows) = self.open.swap_remove(at);
        if self.roll(5) == 0 {
            for row in rows.iter().rev() {
                self.versions.insert(row.key, row.version - 1);
            }
        } else {
            self.log.lock().unwrap().extend(rows);
        }
    }

    pub(super) fn write_alone(&mut self) {
        self.begin();
        while self.open[0].1.len() < 5 {
            self.change();
        }
        let (_, rows) = self.open.pop().unwrap();
        self.log.lock().unwrap().extend(rows);
    }

    pub(super) async fn publish_unlogged(&mut self) {
        let event = Event { logged: None, ..event(None, "- 0".into(), &["all"], "n.1".into()) };
        self.nodes[0].hub.publish_unlogged(vec![event]).await;
    }

    pub(super) async fn read_all(&mut self) {
        for node in 0..self.nodes.len() {
            // The rest of what was begun, then what is new.
            self.read_to_the_end(node).await;
            self.read_to_the_end(node).await;
        }
    }

    async fn read_to_the_end(&mut self, node: usize) {
        self.read(node).await;
        while !self.nodes[node].rest.is_empty() {
            self.read(node).await;
        }
    }

    /// A node reads a batch, as `postgres::event_log` would.
    async fn read(&mut self, node: usize) {
        let snapshot = self.snapshot();
        let size = 1 + self.roll(3);
        let node = &mut self.nodes[node];
        if node.position.is_complete() {
            let before = Arc::clone(&node.position.upto);
            let log = self.log.lock().unwrap();
            let last = log.iter().map(|row| row.logged.xid + 1).max().unwrap_or(1);
            let upto = Arc::new(snapshot.cut(last.max(before.xmax())));
            if upto == before {
                return;
            }
            node.rest = unseen(&log, &Position { before: Arc::clone(&before), upto, last: 0 });
            node.position = Position { before, upto: Arc::new(snapshot.cut(last)), last: 0 };
        }
        let run = node.position.clone();
        let rest = node.rest.split_off(size.min(node.rest.len()));
        let batch = std::mem::replace(&mut node.rest, rest);
        let is_last = node.rest.is_empty();
        let events = events(&run, &batch, is_last);
        node.position = match batch.last() {
            Some(row) if !is_last => Position { last: row.logged.id, ..run },
            _ => Position::complete(run.upto),
        };
        let position = node.position.clone();
        let token = token(&position);
        node.hub.publish(Batch { events, position, token }).await;
    }

    fn snapshot(&self) -> Snapshot {
        let mut open: Vec<Xid> = self.open.iter().map(|(xid, _)| *xid).collect();
        open.sort_unstable();
        Snapshot::new(open.first().map_or(self.next_xid, |xid| *xid), self.next_xid, open).unwrap()
    }

    /// Rights change on a node.
    async fn suspend(&mut self) {
        let at = self.roll(2);
        let node = &mut self.nodes[at];
        node.rights += 1;
        node.hub.change_rights(&Rights::default(), Whose::Everyone).await;
        for client in self.clients.iter_mut().filter(|client| client.node == at) {
            client.take();
            client.held.get_or_insert(node.position.clone());
        }
    }

    /// Everybody is judged again.
    async fn judge(&mut self) {
        for client in &mut self.clients {
            client.take();
            client.held = None;
            client.subscriber.go_on(self.nodes[client.node].rights).await;
        }
    }

    fn squeeze(&mut self) {
        let (client, room) = (self.roll(self.clients.len()), self.roll(200));
        self.clients[client].socket.give_room(room.checked_sub(21));
    }

    /// A client's line breaks, which its session has yet to notice.
    fn break_line(&mut self) {
        let client = self.roll(self.clients.len());
        self.clients[client].socket.break_off();
        self.clients[client].is_away = true;
    }

    /// A client goes away and comes back, to any node, behind what it has got.
    async fn cut(&mut self) {
        let (client, node) = (self.roll(self.clients.len()), self.roll(2));
        self.reconnect(client, node).await;
        self.come_back(client).await;
    }

    /// A client goes away for a while.
    async fn leave(&mut self) {
        let (client, node) = (self.roll(self.clients.len()), self.roll(2));
        self.reconnect(client, node).await;
        self.clients[client].is_away = true;
    }

    /// All who were away come back at once, and so does everybody else of one node.
    async fn rush(&mut self) {
        let node = self.roll(2);
        for client in 0..self.clients.len() {
            if self.clients[client].is_away || self.clients[client].node == node {
                self.reconnect(client, node).await;
                self.come_back(client).await;
            }
        }
    }

    async fn reconnect(&mut self, client: usize, node: usize) {
        self.clients[client].take();
        let back = self.connect(node).await;
        let client = &mut self.clients[client];
        client.node = node;
        client.socket = back.socket;
        client.subscriber = back.subscriber;
        client.held = None;
    }

    /// Behind what it has got.
    async fn come_back(&mut self, client: usize) {
        let rights = self.nodes[self.clients[client].node].rights;
        let outdated = rights > 0 && self.roll(3) == 0;
        let client = &mut self.clients[client];
        client.resume(&client.last, rights - Version::from(outdated)).await;
        client.held = outdated.then(|| Position::complete(Arc::new(Snapshot::below(1))));
        client.is_away = false;
    }

    pub(super) async fn expect_all(&mut self, client: usize) {
        let expected = self.log.lock().unwrap().len() * PATTERNS.len();
        let (client, seed) = (&mut self.clients[client], self.seed);
        loop {
            let socket = Arc::clone(&client.socket);
            let changed = socket.changed();
            client.take();
            if client.seen.len() >= expected {
                break;
            }
            let (node, seen) = (client.node, client.seen.len());
            timeout(Duration::from_secs(100), changed)
                .await
                .unwrap_or_else(|_| panic!("seed {seed}, node {node}: {seen} of {expected}"));
        }
        assert_eq!(client.seen.len(), expected, "seed {seed}: an event that was rolled back");
    }

    fn roll(&mut self, sides: usize) -> usize {
        // Knuth's MMIX generator; its high bits are the good ones.
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.dice >> 33).unwrap() % sides
    }
}

impl Client {
    /// Takes in what has come, and holds it against what it may be.
    fn take(&mut self) {
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
            assert!(self.seen.insert((pattern, key, version)), "seed {seed}: twice: {line}");
            let before = self.newest.insert((pattern, key), version).unwrap_or(0);
            assert!(version > before, "seed {seed}: {line} after version {before}");
            self.last.insert(pattern, id.to_owned());
        }
    }

    fn may_have(&self, key: u64, version: i32) -> bool {
        let Some(held) = &self.held else { return true };
        let log = self.log.lock().unwrap();
        let is_it = |row: &&Row| row.key == key && row.version == version;
        log.iter().rfind(is_it).is_some_and(|row| held.sees(row.logged.xid, row.logged.id))
    }

    /// Subscribes, behind these events where there are any.
    pub(super) async fn resume(&self, last: &BTreeMap<&'static str, String>, judged: Version) {
        for pattern in PATTERNS {
            let after = last
                .get(pattern)
                .map(|id| After { id: id.as_str().into(), position: Ok(position(id)) });
            let past = Past { after, ..Past::default() };
            let pattern = Pattern::parse(pattern).unwrap();
            self.subscriber.subscribe(pattern, None, past, judged).await;
        }
    }

    /// Where it would resume.
    pub(super) fn places(&self) -> BTreeMap<&'static str, String> {
        self.last.clone()
    }

    pub(super) fn is_told(&mut self, what: &str) -> bool {
        self.take();
        self.told.iter().any(|line| line.starts_with(what))
    }
}

/// The log, read in pages of three.
struct ModelLog {
    log: Log,
    pages: Arc<AtomicUsize>,
}

impl ModelLog {
    /// What sees all that has no room.
    fn with_room(&self, from: &Snapshot, upto: &Arc<Snapshot>, mut room: usize) -> Arc<Snapshot> {
        let whole = Position { before: Arc::new(from.clone()), upto: Arc::clone(upto), last: 0 };
        let mut rows = unseen(&self.log.lock().unwrap(), &whole);
        rows.sort_by_key(|row| std::cmp::Reverse((row.logged.xid, row.logged.id)));
        for row in rows {
            let weight = events(&whole, &[row], false)[0].weight();
            if weight > room {
                return Arc::new(from.raised(row.logged.xid + 1));
            }
            room -= weight;
        }
        Arc::new(from.clone())
    }
}

impl History for ModelLog {
    fn read(&self, request: Request) {
        let Request { question, reply } = request;
        let Start::Behind(from) = &question.start else { unreachable!("nobody asks for it") };
        self.pages.fetch_add(1, Ordering::Relaxed);
        let log = self.log.lock().unwrap();
        let mut page = Page { from: from.clone(), events: Vec::new(), position: from.clone() };
        let mut messages = 0;
        let mut position = from.clone();
        while let Some(run) = position.towards(&question.upto) {
            let rows = unseen(&log, &run);
            messages += rows.len() as u64;
            if page.events.is_empty() {
                let is_last = rows.len() <= 3;
                let rows = &rows[..rows.len().min(3)];
                page.events = events(&run, rows, is_last);
                page.position = match rows.last() {
                    Some(row) if !is_last => Position { last: row.logged.id, ..run.clone() },
                    _ => Position::complete(Arc::clone(&run.upto)),
                };
            }
            position = Position::complete(run.upto);
        }
        let survey = question.survey.map(|_| Survey { messages, only: None });
        tokio::spawn(reply.page(Ok((page, survey))));
    }

    /// Some are answered late, when memory has moved on.
    fn backfill(&self, request: BackfillRequest) {
        let reads = self.pages.fetch_add(1, Ordering::Relaxed);
        let BackfillRequest { from, upto, room, reply } = request;
        let from = self.with_room(&from, &upto, room);
        let whole = Position { before: Arc::clone(&from), upto: Arc::clone(&upto), last: 0 };
        let rows = unseen(&self.log.lock().unwrap(), &whole);
        let logged: Vec<Logged> = rows.iter().map(|row| row.logged).collect();
        let (mut before, mut rows) = (Arc::clone(&from), &rows[..]);
        let mut runs = Vec::new();
        for (count, end) in divide(&from, &upto, &logged) {
            let (first, rest) = rows.split_at(count);
            rows = rest;
            let run = Position { before, upto: Arc::clone(&end), last: 0 };
            let position = Position::complete(Arc::clone(&end));
            let token = token(&position);
            runs.push(Batch { events: events(&run, first, true), position, token });
            before = end;
        }
        tokio::spawn(async move {
            for _ in 0..reads % 3 * 20 {
                tokio::task::yield_now().await;
            }
            reply.backfill(Ok(Backfill { from, runs, floor: 0 })).await;
        });
    }

    fn id(&self, position: &Position) -> Option<Box<str>> {
        Some(token(position))
    }
}

fn unseen(log: &[Row], run: &Position) -> Vec<Row> {
    let is_new =
        |row: &&Row| run.upto.sees(row.logged.xid) && !run.sees(row.logged.xid, row.logged.id);
    let mut rows: Vec<_> = log.iter().filter(is_new).copied().collect();
    rows.sort_by_key(|row| row.logged.id);
    rows
}

fn events(run: &Position, rows: &[Row], is_last: bool) -> Vec<Arc<Event>> {
    let event = |(at, row): (usize, &Row)| {
        let place = if is_last && at + 1 == rows.len() {
            Position::complete(Arc::clone(&run.upto))
        } else {
            Position { last: row.logged.id, ..run.clone() }
        };
        let channels = ["all", &format!("row:{}", row.key)];
        let text = format!("{} {}", row.key, row.version);
        Arc::new(event(Some(row.logged), text, &channels, token(&place)))
    };
    rows.iter().enumerate().map(event).collect()
}

fn event(logged: Option<Logged>, row: String, channels: &[&str], token: Box<str>) -> Event {
    Event {
        token,
        logged,
        at: "".into(),
        table: None,
        op: "update".into(),
        channels: channels.iter().map(|name| Channel::parse(name).unwrap()).collect(),
        audience: None,
        key: None,
        row: Some(row.into()),
        old: None,
        changed: None,
        user: None,
        origin: None,
        truncated: false,
    }
}

fn token(position: &Position) -> Box<str> {
    let mut bytes = Vec::new();
    position.write(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

fn position(token: &str) -> Position {
    let byte = |at: usize| u8::from_str_radix(&token[at..at + 2], 16).unwrap();
    Position::read(&(0..token.len()).step_by(2).map(byte).collect::<Vec<_>>()).unwrap()
}

//! A database of versioned rows, nodes that read it at their own pace, and clients that move between them.

mod client;
mod log;
mod node;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::socket::{Lines, Socket};
use crate::access::Rights;
use crate::domain::event::{Event, Logged};
use crate::domain::position::{MAX_IN_PROGRESS, Position};
use crate::domain::rights::{Version, Whose};
use crate::domain::snapshot::{Snapshot, Xid};
use crate::hub::HubOptions;
use client::Client;
use log::{Log, ModelLog, Row, event};
use node::{Node, beginning};

const PATTERNS: [&str; 2] = ["all", "row:*"];

pub(super) struct Model {
    dice: u64,
    seed: u64,
    next_xid: Xid,
    next_id: i64,
    open: Vec<(Xid, Vec<Row>)>,
    /// In progress for long, without an event.
    idle: Vec<Xid>,
    /// The newest version of each row, committed or not; who changes a row locks it.
    versions: BTreeMap<u64, i32>,
    log: Log,
    pages: Arc<AtomicUsize>,
    nodes: Vec<Node>,
    pub(super) clients: Vec<Client>,
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

    /// The same, and more transactions in progress all the time than an id has room for.
    pub(super) fn coarse(seed: u64) -> Self {
        let mut model = Self::crowded(seed);
        for _ in 0..=MAX_IN_PROGRESS {
            model.begin_idle();
        }
        model
    }

    pub(super) fn remembering(seed: u64, recent_bytes: usize) -> Self {
        Self::with(seed, 4_000, [recent_bytes; 2], 1)
    }

    pub(super) fn remembering_all(seed: u64) -> Self {
        Self::with(seed, 100_000, [usize::MAX; 2], 1)
    }

    fn with(seed: u64, queue_bytes: usize, recent_bytes: [usize; 2], shards: usize) -> Self {
        let (log, pages) = (Log::default(), Arc::default());
        let node = |recent_bytes| {
            let options = HubOptions {
                queue_bytes,
                queue_age: Duration::from_secs(5),
                patience: Duration::from_secs(30),
                recent_bytes,
                shards,
            };
            Node::start(options, ModelLog::new(&log, &pages))
        };
        let nodes = recent_bytes.map(node).into();
        Self {
            dice: seed,
            seed,
            next_xid: 1,
            next_id: 1,
            open: Vec::new(),
            idle: Vec::new(),
            versions: BTreeMap::new(),
            log,
            pages,
            nodes,
            clients: Vec::new(),
        }
    }

    pub(super) async fn join_clients(&mut self, count: usize) {
        for node in &self.nodes {
            node.begin(vec![beginning(&node.position)]).await;
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
        let (last, seed, is_coarse) = (BTreeMap::new(), self.seed, !self.idle.is_empty());
        Client {
            socket,
            subscriber,
            node,
            last,
            seen,
            newest,
            told,
            seed,
            is_coarse,
            held: None,
            is_away: false,
            log: Arc::clone(&self.log),
        }
    }

    /// Returns once the first node has written all that it was told before.
    pub(super) async fn settle(&self) {
        // The second is asked behind the sweep that comes behind the first.
        for _ in 0..2 {
            self.nodes[0].hub.vitals().await.expect("the hub runs");
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
            0 | 1 => {
                self.begin();
                self.renew_idle();
            }
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
            18 if self.roll(4) == 0 => self.restart().await,
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
        // Behind whatever is sent once more.
        self.write_alone();
        self.read_all().await;
        for client in 0..self.clients.len() {
            self.clients[client].socket.give_room(None);
            self.expect_all(client).await;
            self.clients[client].expect_newest();
        }
    }

    fn begin(&mut self) {
        if self.open.len() < 4 {
            self.open.push((self.next_xid, Vec::new()));
            self.next_xid += 1;
        }
    }

    fn begin_idle(&mut self) {
        self.idle.push(self.next_xid);
        self.next_xid += 1;
    }

    fn renew_idle(&mut self) {
        if !self.idle.is_empty() {
            let ended = self.roll(self.idle.len());
            self.idle.swap_remove(ended);
            self.begin_idle();
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

    /// How many events that were.
    pub(super) fn write_alone(&mut self) -> usize {
        self.begin();
        while self.open[0].1.len() < 5 {
            self.change();
        }
        let (_, rows) = self.open.pop().unwrap();
        let count = rows.len();
        self.log.lock().unwrap().extend(rows);
        count
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

    async fn read(&mut self, node: usize) {
        let (now, size) = (self.snapshot(), 1 + self.roll(3));
        self.nodes[node].read(&now, size).await;
    }

    /// A node goes down with all it knows, and another takes its place.
    async fn restart(&mut self) {
        let (node, recent) = (self.roll(2), self.roll(12));
        for client in self.clients.iter_mut().filter(|client| client.node == node) {
            client.take();
            client.is_away = true;
        }
        let now = self.snapshot();
        self.nodes[node].restart(&now, recent).await;
    }

    async fn read_to_the_end(&mut self, node: usize) {
        self.read(node).await;
        while !self.nodes[node].rest.is_empty() {
            self.read(node).await;
        }
    }

    fn snapshot(&self) -> Snapshot {
        let open = self.open.iter().map(|(xid, _)| *xid);
        let mut open: Vec<Xid> = open.chain(self.idle.iter().copied()).collect();
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
        client.begin_anew();
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
        self.expect(client, expected).await;
    }

    /// So many events in all.
    pub(super) async fn expect(&mut self, client: usize, expected: usize) {
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

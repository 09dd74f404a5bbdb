//! A database, nodes, writers and clients; and the reckoning at the end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rowcast::postgres::migrations::migrate;
use rowcast::postgres::scratch::{ScratchCluster, ScratchOptions, StopMode};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::checker::{Account, Committed, Identity, Received, check, lacks};
use super::client::{Book, Client, Orders};
use super::dice::Dice;
use super::node::Node;
use super::wait::until;
use super::writers::{Complaints, SCHEMA, connect, long_writer, writer};

pub struct Scene {
    pub cluster: ScratchCluster,
    pub nodes: Vec<Node>,
    pub dice: Dice,
    pub orders: watch::Sender<Orders>,
    name: &'static str,
    seed: u64,
    books: Vec<Arc<Mutex<Book>>>,
    clients: JoinSet<()>,
    writers: JoinSet<()>,
    stop: watch::Sender<bool>,
    /// Where the writers write.
    url: watch::Sender<String>,
    complaints: Complaints,
    _folder: tempfile::TempDir,
}

/// What a scene is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: &'static str,
    pub nodes: usize,
    pub clients: usize,
    /// How long a connection is kept, at most.
    pub stay: Duration,
    /// How long a writer rests after a transaction, at most.
    pub rest: Duration,
    /// For the nodes' configuration.
    pub settings: &'static str,
    /// Whether the log loses events, so that the truth has to be kept elsewhere.
    pub is_pruned: bool,
}

impl Plan {
    pub const fn new(name: &'static str) -> Self {
        let stay = Duration::from_secs(3600);
        let rest = Duration::ZERO;
        Self { name, nodes: 1, clients: 6, stay, rest, settings: "", is_pruned: false }
    }
}

impl Scene {
    pub async fn start(plan: Plan) -> Self {
        let url = |cluster: &ScratchCluster| cluster.tcp_url("postgres");
        Self::with(plan, async |cluster| url(cluster)).await
    }

    /// The nodes take a way of their own to the database.
    pub async fn with(plan: Plan, way: impl AsyncFnOnce(&ScratchCluster) -> String) -> Self {
        let seed = Dice::seed();
        eprintln!("{}: SEED={seed}", plan.name);
        let mut dice = Dice::new(seed);
        let cluster = cluster().await;
        let mut admin = connect(&cluster.url("postgres")).await.expect("the server runs");
        migrate(&mut admin).await.expect("a fresh database can be migrated");
        admin.batch_execute(SCHEMA).await.expect("the tables can be watched");
        if plan.is_pruned {
            admin.batch_execute(COPY).await.expect("the log can be copied");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let way = way(&cluster).await;
        let mut nodes = Vec::new();
        for number in 0..plan.nodes {
            let name = format!("node{number}");
            nodes.push(Node::new(folder.path(), &name, &way, plan.settings));
        }
        for node in &mut nodes {
            node.start().await;
        }
        let addresses = nodes.iter().map(Node::address).collect();
        let orders = Orders { nodes: addresses, stay: plan.stay, away: Duration::from_millis(20) };
        let (stop, url) = (watch::channel(false).0, watch::channel(cluster.url("postgres")).0);
        let mut scene = Self {
            cluster,
            nodes,
            orders: watch::channel(orders).0,
            name: plan.name,
            seed,
            books: Vec::new(),
            clients: JoinSet::new(),
            writers: JoinSet::new(),
            stop,
            url,
            complaints: Complaints::default(),
            _folder: folder,
            dice: dice.fork(),
        };
        scene.admit_clients(plan.clients, &mut dice).await;
        scene.begin_writing(&mut dice, plan.rest);
        scene
    }

    /// Clients reach the nodes by these addresses from now on.
    pub fn lead_clients_to(&self, nodes: Vec<SocketAddr>) {
        self.orders.send_modify(|orders| orders.nodes = nodes);
    }

    pub async fn sql(&self, sql: &str) {
        let admin = connect(&self.cluster.url("postgres")).await.expect("the server runs");
        if let Err(error) = admin.batch_execute(sql).await {
            panic!("{error:?} in: {sql}");
        }
    }

    /// Time for load and chance to do their part; nothing is waited for.
    pub async fn go_on(&mut self, from: u64, to: u64) {
        tokio::time::sleep(self.dice.millis(from, to)).await;
    }

    /// The primary is gone, and the stand-by takes its place.
    pub async fn fail_over_to(&mut self, standby: ScratchCluster) {
        self.cluster.shut_down(StopMode::Immediate).await.expect("it runs");
        standby.promote().await.expect("it follows");
        self.url.send_replace(standby.url("postgres"));
        std::mem::replace(&mut self.cluster, standby).stop().await;
    }

    pub async fn kill_and_restart(&mut self, node: usize) {
        self.nodes[node].signal("KILL");
        self.nodes[node].start().await;
    }

    /// Stops the writers, waits for the clients, and reckons. Panics with every violation there is.
    pub async fn finish(mut self) -> Reckoning {
        self.stop.send_replace(true);
        while self.writers.join_next().await.is_some() {}
        let log = self.log().await;
        self.wait_for_clients(&log).await;
        self.clients.shutdown().await;
        let accounts = self.accounts();
        let mut found = check(&log, &accounts);
        found.extend(self.complaints.list().into_iter().map(|text| format!("L7 a writer: {text}")));
        let reckoning = self.reckoning(&log, &accounts);
        eprintln!("{}: {reckoning:?}", self.name);
        let Self { name, seed, .. } = self;
        if !found.is_empty() {
            self.nodes.iter().for_each(|node| eprintln!("--- log of a node\n{}", node.said()));
            let (count, first) = (found.len(), found[..found.len().min(20)].join("\n"));
            panic!("{name}, SEED={seed}: {count} violations\n{first}");
        }
        self.nodes.clear();
        self.cluster.stop().await;
        reckoning
    }

    /// What the soak prints every minute.
    pub async fn glance(&self) -> String {
        let weights = self
            .nodes
            .iter()
            .filter_map(Node::weight)
            .map(|(kib, open)| format!("{} MiB, {open} descriptors", kib / 1024));
        let reckoning = self.reckoning(&self.log().await, &self.accounts());
        format!("{reckoning:?}; nodes: {}", weights.collect::<Vec<_>>().join(", "))
    }

    /// Every client has its subscriptions answered before the first write.
    async fn admit_clients(&mut self, count: usize, dice: &mut Dice) {
        for number in 0..count {
            let user = format!("user{}", number % 4);
            let patterns = match number % 3 {
                0 => vec!["items", "secrets"],
                1 => vec!["item:*"],
                _ => vec!["secrets", "item:*"],
            };
            let client = Client::new(format!("client{number}"), &user, patterns, dice.fork());
            self.books.push(client.book());
            self.clients.spawn(client.run(self.orders.subscribe()));
        }
        let are_placed = || self.books.iter().all(|book| book.lock().unwrap().is_placed());
        until("a place for every client", async || are_placed().then_some(())).await;
    }

    fn begin_writing(&mut self, dice: &mut Dice, rest: Duration) {
        for number in 0..6 {
            let (url, stop) = (self.url.subscribe(), self.stop.subscribe());
            let complaints = self.complaints.clone();
            self.writers.spawn(writer(url, (number, rest), dice.fork(), stop, complaints));
        }
        self.writers.spawn(long_writer(self.url.subscribe(), dice.fork(), self.stop.subscribe()));
    }

    async fn wait_for_clients(&self, log: &[Committed]) {
        self.orders.send_modify(|orders| orders.stay = Duration::from_secs(3600));
        let began = Instant::now();
        while self.accounts().iter().any(|account| lacks(log, account) > 0) {
            if began.elapsed() > Duration::from_secs(60) {
                // What is missing now is lost, and the reckoning says so.
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn accounts(&self) -> Vec<Account> {
        let accounts = |book: &Arc<Mutex<Book>>| {
            book.lock().unwrap().accounts.values().cloned().collect::<Vec<_>>()
        };
        self.books.iter().flat_map(accounts).collect()
    }

    async fn log(&self) -> Vec<Committed> {
        let client = connect(&self.cluster.url("postgres")).await.expect("the server runs");
        let is_copied = "select to_regclass('copy') is not null";
        let is_copied: bool = client.query_one(is_copied, &[]).await.expect("an answer").get(0);
        let query = if is_copied { LOG.replace("rowcast.event", "copy") } else { LOG.to_owned() };
        let rows = client.query(&query, &[]).await.expect("the log can be read");
        let committed = |row: &tokio_postgres::Row| Committed {
            identity: Identity {
                table: row.get(0),
                op: row.get(1),
                key: row.get(2),
                at: row.get(3),
            },
            channels: row.get(4),
            users: row.get(5),
        };
        rows.iter().map(committed).collect()
    }

    fn reckoning(&self, log: &[Committed], accounts: &[Account]) -> Reckoning {
        let books: Vec<_> = self.books.iter().map(|book| book.lock().unwrap()).collect();
        let mut latencies: Vec<_> = books.iter().flat_map(|book| book.latencies.clone()).collect();
        latencies.sort_unstable();
        let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied();
        let received = || accounts.iter().flat_map(|account| &account.received);
        let reason = |received: &Received| match received {
            Received::Reset { reason, .. } => Some(reason.clone()),
            Received::Event { .. } => None,
        };
        let resets: Vec<String> = received().filter_map(reason).collect();
        Reckoning {
            committed: log.len(),
            received: received().count() - resets.len(),
            connections: books.iter().map(|book| book.connections).sum(),
            resumes: books.iter().map(|book| book.resumes.0).sum(),
            recovered: books.iter().map(|book| book.resumes.1).sum(),
            lagged: books.iter().map(|book| book.lagged).sum(),
            resets,
            p50: at(50).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
        }
    }
}

/// What a scene came to, when nothing was wrong.
#[derive(Debug)]
#[allow(dead_code, reason = "it is printed")]
pub struct Reckoning {
    pub committed: usize,
    pub received: usize,
    pub connections: u32,
    pub resumes: u32,
    pub recovered: u32,
    pub lagged: u32,
    pub resets: Vec<String>,
    p50: Duration,
    p99: Duration,
}

impl Book {
    fn is_placed(&self) -> bool {
        self.accounts.keys().all(|pattern| self.has_place(pattern))
    }
}

/// A copy of the server that has every commit before anybody sees it.
pub async fn synchronous_standby(primary: &ScratchCluster) -> ScratchCluster {
    primary.shut_down(StopMode::Fast).await.expect("it runs");
    // Or an outgoing connection of another process takes its port.
    let seat = std::net::TcpListener::bind(("127.0.0.1", primary.port())).expect("it is free now");
    let options = ScratchOptions { standby_of: Some(primary.as_primary()), ..options() };
    let standby = ScratchCluster::start(options).await.expect("the stand-by starts");
    drop(seat);
    primary.start_again().await.expect("the primary is back");
    let admin = connect(&primary.url("postgres")).await.expect("it runs");
    for statement in ["alter system set synchronous_standby_names = '*'", "select pg_reload_conf()"]
    {
        admin.batch_execute(statement).await.expect("the superuser may");
    }
    let is_safe = "select exists (select from pg_stat_replication where sync_state = 'sync')";
    while !admin.query_one(is_safe, &[]).await.expect("an answer").get::<_, bool>(0) {
        tokio::task::yield_now().await;
    }
    standby
}

async fn cluster() -> ScratchCluster {
    ScratchCluster::start(options()).await.expect("the server starts")
}

/// A server that keeps its promises in a crash.
fn options() -> ScratchOptions {
    let settings = [
        ("synchronous_commit", "on"),
        ("max_connections", "200"),
        ("track_commit_timestamp", "on"),
        ("deadlock_timeout", "200ms"),
    ];
    ScratchOptions {
        binaries: std::env::var_os("ROWCAST_TEST_PGBIN").map(PathBuf::from),
        tcp: true,
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..ScratchOptions::default()
    }
}

/// What was logged, kept beside the log.
const COPY: &str = "
    create table copy as select * from rowcast.event with no data;
    create function keep() returns trigger language plpgsql as
        $$ begin insert into public.copy select new.*; return null; end $$;
    create trigger keep after insert on rowcast.event for each row execute function keep();
    grant insert on copy to public";

const LOG: &str = "
    select \"table\", op, (key->>'key')::int8,
           to_char(at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), channels, users
      from rowcast.event
     where not parked
     order by id";

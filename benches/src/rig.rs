//! What most cases stand on: a server with watched tables, and the daemon on a core of its own.
//!
//! In: a run. Out: a database to write to and an address to connect to. Invariant: the daemon has the first core,
//! the database and the clients have the others.

use std::time::Duration;

use crate::daemon::{self, Daemon, Program};
use crate::load::Load;
use crate::server::{Db, Options, Server};
use crate::{Outcome, Run, machine};

pub struct Rig {
    // In the order in which they have to end.
    pub daemon: Daemon,
    pub program: Program,
    pub db: Db,
    pub server: Server,
}

/// One of the tables, each with a channel of its own.
#[derive(Clone, Copy)]
pub struct Table {
    pub insert: &'static str,
    pub channel: &'static str,
}

pub const ITEM: Table = Table { insert: "insert into item (body) values ($1)", channel: "all" };
pub const UNHEARD: Table =
    Table { insert: "insert into unheard (body) values ($1)", channel: "unheard" };
pub const FLEETING: Table =
    Table { insert: "insert into fleeting (body) values ($1)", channel: "fleeting" };
pub const FLOOD: Table = Table { insert: "insert into flood (body) values ($1)", channel: "flood" };

impl Rig {
    pub fn new(run: &Run) -> Outcome<Self> {
        let (_, load) = machine::cores();
        Self::on(run, &Options { cores: load, durable: false, slower: None, statements: false })
    }

    /// The same with statements counted.
    pub fn counting(run: &Run) -> Outcome<Self> {
        let (_, load) = machine::cores();
        let rig = Self::on(
            run,
            &Options { cores: load, durable: false, slower: None, statements: true },
        )?;
        rig.db.run("create extension pg_stat_statements")?;
        Ok(rig)
    }

    pub fn on(run: &Run, options: &Options) -> Outcome<Self> {
        let server = Server::start(&run.folder, options)?;
        Db::open(&server.url("postgres"))?.run("create database bench")?;
        let db = server.db()?;
        let program = Program {
            path: daemon::default_path(&run.root),
            folder: run.folder.clone(),
            database: server.url("bench"),
            cores: machine::cores().0,
            under: &[],
            public_key: None,
        };
        program.tool(&["migrate"])?;
        db.run(TABLES)?;
        let daemon = program.start()?;
        Ok(Self { daemon, program, db, server })
    }

    pub fn restart(&mut self) -> Outcome<()> {
        self.daemon.end();
        self.daemon = self.program.start()?;
        Ok(())
    }

    /// Clients of a few users, with a welcome and nothing else.
    pub fn clients(&self, count: usize) -> Outcome<Load> {
        let mut load = Load::new()?;
        load.connect(count, self.daemon.address, &self.tokens()?)?;
        Ok(load)
    }

    pub fn tokens(&self) -> Outcome<Vec<String>> {
        (0..8).map(|number| self.program.token(&format!("user{number}"))).collect()
    }

    /// Clients that are all subscribed to one channel.
    pub fn subscribers(&self, count: usize, channel: &str) -> Outcome<Load> {
        let mut load = self.clients(count)?;
        load.subscribe(|_| subscribe(channel))?;
        Ok(load)
    }

    pub fn cpu(&self) -> Outcome<Duration> {
        machine::cpu(self.daemon.pid())
    }

    /// Publishes events one at a time: the next once everybody has the last. Returns the daemon's CPU time.
    pub fn one_at_a_time(
        &self,
        load: &mut Load,
        table: Table,
        events: u64,
        heard_by: u64,
    ) -> Outcome<Duration> {
        let statement = self.db.wait(self.db.client.prepare(table.insert))?;
        let body = body(256);
        let (before, mut target) = (self.cpu()?, load.frames);
        for _ in 0..events {
            self.db.wait(self.db.client.execute(&statement, &[&body]))?;
            target += heard_by;
            load.spin_until_frames(target)?;
        }
        Ok(self.cpu()?.saturating_sub(before))
    }

    /// So many recent events that the daemon's memory of them holds nothing else, and grows no more.
    pub fn fill_memory(&self) -> Outcome<()> {
        let mut witness = self.subscribers(1, UNHEARD.channel)?;
        let before = witness.seen();
        let large =
            "insert into flood (body) select repeat('y', 100000) from generate_series(1, 100)";
        for _ in 0..10 {
            self.db.run(large)?;
        }
        // What is committed last arrives when all before it has been read.
        self.db.wait(self.db.client.execute(UNHEARD.insert, &[&body(256)]))?;
        witness.nothing_missing(&before, 1)
    }

    /// A frame as the daemon sends it, for the raw server to send.
    pub fn sample_frame(&self, load: &mut Load) -> Outcome<Vec<u8>> {
        load.keep_next(1);
        let target = load.frames + load.len() as u64;
        self.db.wait(self.db.client.execute(ITEM.insert, &[&body(256)]))?;
        load.until_frames(target)?;
        let text = load.kept(0).first().cloned().unwrap_or_default();
        load.keep_next(0);
        Ok(crate::frames::unmasked(text.as_bytes()))
    }
}

pub fn subscribe(channel: &str) -> String {
    format!(r#"{{"type":"subscribe","ref":1,"channel":"{channel}"}}"#)
}

/// Text that makes a row of so many bytes of JSON, nearly.
pub fn body(bytes: usize) -> String {
    "x".repeat(bytes - r#"{"id":12345,"body":""}"#.len())
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    values.get(low).zip(values.get(high)).map_or(f64::NAN, |(low, high)| f64::midpoint(*low, *high))
}

/// The value below which this share of them lies, in milliseconds.
pub fn percentile(latencies: &mut [Duration], share: f64) -> f64 {
    latencies.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length"
    )]
    let at = ((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1));
    latencies.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
}

const TABLES: &str = "\
create table item (id bigint generated always as identity primary key, body text not null);
create table unheard (like item including all);
create table flood (like item including all);
create table fleeting (like item including all);
create table topic_item (id bigint generated always as identity primary key, topic int not null, body text not null);
select rowcast.watch('item', channels => array['all']);
select rowcast.watch('unheard', channels => array['unheard']);
select rowcast.watch('flood', channels => array['flood']);
select rowcast.watch('fleeting', channels => array['fleeting'], log => false);
select rowcast.watch('topic_item', channels => array['topic:{topic}']);
";

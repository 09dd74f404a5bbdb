//! The experiment behind the sleeping lock: writers of every kind, and no fallback poll to hide a lost wake-up.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rowcast::domain::channel::{Channel, Pattern};
use rowcast::domain::close::CloseReason;
use rowcast::domain::event::Event;
use rowcast::domain::message::{BadRequest, Request, ServerMessage};
use rowcast::history::Histories;
use rowcast::hub::{Hub, HubOptions, Past, Sink};
use rowcast::ingest::pace::Wake;
use rowcast::ingest::{Ingest, RightsWatch};
use rowcast::lifecycle::{Health, Pulse};
use rowcast::postgres::connect::Target;
use rowcast::postgres::identity::EpochPolicy;
use rowcast::protocol::Wire;
use rowcast::telemetry::metrics::Observer;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::harness::Database;

/// A row with a version, so that the order of one row's changes shows.
const TABLE: &str = "
    create table item (key int primary key, version int not null);
    insert into item select n, 0 from generate_series(0, 9) n;
    select rowcast.watch('item', array['items']);";

const WRITERS: i32 = 6;
const TRANSACTIONS: i32 = 120;

#[tokio::test(flavor = "multi_thread")]
async fn sleeping_and_waking_loses_nothing() {
    follow_writers(Wake::Auto, NEVER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn always_notified_loses_nothing() {
    follow_writers(Wake::Notify, NEVER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_loses_nothing() {
    follow_writers(Wake::Poll, NEVER).await;
}

async fn follow_writers(wake: Wake, fallback: Duration) {
    let db = Database::migrated().await;
    db.batch_execute(TABLE).await;
    let mut reader = Reader::start(&db, wake, fallback).await;
    let long = tokio::spawn(long_writer(db.client().await));
    let writers: Vec<_> = {
        let mut writers = Vec::new();
        for number in 0..WRITERS {
            writers.push(tokio::spawn(writer(db.client().await, number)));
        }
        writers
    };
    for writer in writers {
        writer.await.expect("no writer fails");
    }
    long.await.expect("nor does the long one");

    let log = db.client().await;
    let rows =
        log.query("select id, (row->>'key')::int, (row->>'version')::int from rowcast.event", &[]);
    let committed: BTreeMap<i64, (i32, i32)> =
        rows.await.unwrap().iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
    let mut seen = BTreeMap::new();
    let mut versions: BTreeMap<i32, i32> = BTreeMap::new();
    while seen.len() < committed.len() {
        let (id, key, version) = reader.next().await;
        assert_eq!(seen.insert(id, (key, version)), None, "event {id} came twice");
        let last = versions.insert(key, version).unwrap_or(-1);
        assert!(version > last, "version {version} of row {key} came after {last}");
    }
    assert_eq!(seen, committed);
    assert!(reader.is_quiet(), "more came than was committed");
}

/// Pauses of no length, and of lengths around the time it takes to fall asleep.
async fn writer(client: tokio_postgres::Client, number: i32) {
    for step in 0..TRANSACTIONS {
        let dice = (number * 7919 + step * 104_729) % 97;
        let key = dice % 10;
        let update = format!("update item set version = version + 1 where key = {key};");
        let pause = format!("select pg_sleep({});", f64::from(dice % 5) / 1000.0);
        let sql = match dice % 10 {
            0 => format!("begin; {update} {pause} rollback;"),
            1 => format!("begin; savepoint s; {update} rollback to s; {update} {pause} commit;"),
            2 => format!("begin; {update} {pause} {update} commit;"),
            _ => format!("begin; {update} {pause} commit;"),
        };
        client.batch_execute(&sql).await.expect("an application's write never fails");
        if dice % 7 == 0 {
            // Long enough that the reader is at the edge of falling asleep.
            let gap = format!("select pg_sleep({})", f64::from(10 + dice % 20) / 1000.0);
            client.batch_execute(&gap).await.unwrap();
        }
    }
}

/// Open from before the first to after many others, and the only writer of its row.
async fn long_writer(client: tokio_postgres::Client) {
    client
        .batch_execute(
            "begin; insert into item values (100, 0); select pg_sleep(1);
             update item set version = 1 where key = 100; commit",
        )
        .await
        .expect("an application's write never fails");
}

/// A subscriber inside the process: frames are what [`Plain`] makes of events.
struct Reader {
    frames: mpsc::UnboundedReceiver<String>,
    waiting: VecDeque<(i64, i32, i32)>,
    _subscriber: rowcast::hub::Subscriber,
    _hub: Hub,
    ingest: tokio::task::JoinHandle<()>,
}

impl Reader {
    async fn start(db: &Database, wake: Wake, fallback: Duration) -> Self {
        let hub = Hub::start(
            HubOptions {
                queue_bytes: usize::MAX,
                queue_age: NEVER,
                patience: NEVER,
                recent_bytes: 0,
                shards: 1,
            },
            Observer::default(),
        );
        let (health, mut watched) = watch::channel(Health::Starting);
        let target = Target::parse(db.url()).unwrap();
        let pool = target.pool(1);
        let rights = RightsWatch::new(Arc::default(), Arc::default(), false);
        let ingest = Ingest {
            rights,
            database: target.clone(),
            listen: target,
            wake,
            fallback,
            epoch_policy: EpochPolicy::Strict,
            hub: hub.clone(),
            histories: Histories::new(pool, Observer::default()),
            observer: Observer::default(),
            health,
            identity: watch::channel(None).0,
            pulse: Pulse::default(),
        };
        let ingest = tokio::spawn(ingest.run(CancellationToken::new()));
        watched.wait_for(Health::is_ready).await.unwrap();
        let (sender, frames) = mpsc::unbounded_channel();
        let subscriber = hub.join(Arc::new(Lines(sender)), &Plain).await.unwrap();
        subscriber.subscribe(Pattern::parse("items").unwrap(), None, Past::default(), 0).await;
        let mut reader = Self {
            frames,
            waiting: VecDeque::default(),
            _subscriber: subscriber,
            _hub: hub,
            ingest,
        };
        assert_eq!(reader.line().await, "message\n");
        reader
    }

    async fn next(&mut self) -> (i64, i32, i32) {
        while self.waiting.is_empty() {
            let lines = self.line().await;
            self.waiting.extend(lines.lines().map(parse));
        }
        self.waiting.pop_front().expect("it was filled")
    }

    fn is_quiet(&mut self) -> bool {
        self.waiting.is_empty() && self.frames.try_recv().is_err()
    }

    async fn line(&mut self) -> String {
        let line = timeout(Duration::from_secs(30), self.frames.recv()).await;
        line.expect("every event arrives").expect("the hub lives")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.ingest.abort();
    }
}

fn parse(line: &str) -> (i64, i32, i32) {
    let mut numbers = line.split(' ').map(|number| number.parse::<i64>().unwrap());
    let mut next = || numbers.next().unwrap();
    (next(), next().try_into().unwrap(), next().try_into().unwrap())
}

struct Lines(mpsc::UnboundedSender<String>);

impl Sink for Lines {
    fn try_write(&self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
        let text: Vec<u8> = frames.iter().flat_map(|frame| frame.to_vec()).collect();
        let length = text.len();
        let _ = self.0.send(String::from_utf8(text).unwrap());
        Ok(length)
    }

    fn writable(&self) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn finish(&self) {}

    fn abort(&self) {}
}

/// One line an event: log id, key, version.
struct Plain;

impl Wire for Plain {
    fn slot(&self) -> usize {
        0
    }

    fn change(&self, event: &Event, _: &str, _: &Channel) -> Bytes {
        let row: serde_json::Value = serde_json::from_str(event.row.as_ref().unwrap()).unwrap();
        let id = event.logged.unwrap().id;
        format!("{id} {} {}\n", row["key"], row["version"]).into()
    }

    fn message(&self, _: &ServerMessage) -> Bytes {
        Bytes::from_static(b"message\n")
    }

    fn ping(&self) -> Bytes {
        Bytes::new()
    }

    fn pong(&self, _: &[u8]) -> Bytes {
        Bytes::new()
    }

    fn close(&self, _: CloseReason) -> Bytes {
        Bytes::new()
    }

    fn decode(&self, _: &str) -> Result<Request, BadRequest> {
        unreachable!("nothing is read from this subscriber")
    }
}

const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

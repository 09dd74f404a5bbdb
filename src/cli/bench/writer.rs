//! Writes the events of a run at its rate, whatever becomes of them.
//!
//! In: a plan, connections to the database. Out: how many were due, sent and committed, and how long commits took.
//! Invariant: the schedule waits for nobody: an event is counted from when it was due, also where the database or
//! this program was late with it.
//!
//! A thread of its own keeps the time, since the runtime's timers are a millisecond apart. Event `n` goes to
//! connection `n` modulo their number, which commits one after the other; what waits for one of them is bounded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinSet;
use tokio_postgres::{Client, Statement};
use tokio_util::sync::CancellationToken;

use super::event::{Mine, NAME};
use super::scene::Scene;
use super::spread::Latencies;
use crate::cli::Failure;

/// What has been written.
#[derive(Debug)]
pub struct Written {
    /// Until the schedule ended.
    pub due: u64,
    /// Given to the database.
    pub sent: u64,
    /// Due, but too much waited for the database already.
    pub held_back: u64,
    /// How late this program was at most, in microseconds.
    pub late: u64,
    /// Confirmed by the database, in each lane.
    pub committed: Vec<u64>,
    pub commits: Latencies,
    /// From the first event to the end of the schedule.
    pub time: Duration,
    pub failure: Option<Failure>,
}

/// Until the plan's time is over, the stop, or the first failure of the database.
pub async fn write(
    scene: &Arc<Scene>,
    clients: Vec<Arc<Client>>,
    stop: CancellationToken,
) -> Result<Written, Failure> {
    let mut lanes = JoinSet::new();
    let mut ways = Vec::new();
    for (number, client) in clients.into_iter().enumerate() {
        let statement = client.prepare(EMIT).await.map_err(refused)?;
        let (way, events) = mpsc::channel(BACKLOG);
        ways.push(way);
        let lane = Lane { number, client, statement, scene: Arc::clone(scene) };
        let stop = stop.clone();
        lanes.spawn(async move {
            let committed = lane.commit_all(events).await;
            // Without this lane the numbers of the others would have holes.
            if committed.failure.is_some() {
                stop.cancel();
            }
            committed
        });
    }
    let pacing = Arc::clone(scene);
    let mut written = tokio::task::spawn_blocking(move || pace(&pacing, &ways, &stop)).await?;
    for lane in lanes.join_all().await {
        written.committed[lane.number] = lane.count;
        written.commits.add(&lane.latencies);
        written.failure = written.failure.take().or(lane.failure);
    }
    Ok(written)
}

/// After all others have been committed.
pub async fn end(scene: &Scene, client: &Client) -> Result<(), Failure> {
    let statement = client.prepare(EMIT).await?;
    let data = scene.mark.data(Mine::End, 0);
    client.query_one(&statement, &[&scene.plan.channel, &NAME, &data]).await?;
    Ok(())
}

type Way = mpsc::Sender<(u64, Instant)>;

fn pace(scene: &Scene, ways: &[Way], stop: &CancellationToken) -> Written {
    let start = Instant::now();
    scene.start(start);
    let mut written = Written::nothing(ways.len());
    let end = start + scene.plan.duration;
    for number in 0..scene.plan.events() {
        let due = start + scene.plan.due(number);
        let now = sleep_until(due, stop);
        if stop.is_cancelled() || now > end + GRACE {
            break;
        }
        written.due += 1;
        written.late = written.late.max(micros(now.saturating_duration_since(due)));
        let lane = usize::try_from(written.sent).unwrap_or_default() % ways.len();
        match ways[lane].try_send((written.sent, due)) {
            Ok(()) => written.sent += 1,
            Err(TrySendError::Full(_)) => written.held_back += 1,
            Err(TrySendError::Closed(_)) => break,
        }
    }
    sleep_until(end, stop);
    written.time = start.elapsed();
    written
}

/// What time it is then.
fn sleep_until(due: Instant, stop: &CancellationToken) -> Instant {
    loop {
        let now = Instant::now();
        if now >= due || stop.is_cancelled() {
            return now;
        }
        std::thread::sleep((due - now).min(LOOK));
    }
}

struct Lane {
    number: usize,
    client: Arc<Client>,
    statement: Statement,
    scene: Arc<Scene>,
}

/// What a lane has done.
struct Committed {
    number: usize,
    count: u64,
    latencies: Latencies,
    failure: Option<Failure>,
}

impl Lane {
    /// Keeps the connection busy: what is sent waits for no answer but in its order.
    async fn commit_all(self, mut events: mpsc::Receiver<(u64, Instant)>) -> Committed {
        let (mut count, mut latencies) = (0, Latencies::new());
        let mut flying = FuturesOrdered::new();
        let mut more = true;
        let failure = loop {
            tokio::select! {
                event = events.recv(), if more && flying.len() < WINDOW => match event {
                    Some((number, due)) => flying.push_back(self.commit(number, due)),
                    None => more = false,
                },
                Some(done) = flying.next() => match done {
                    Ok(latency) => {
                        count += 1;
                        latencies.record(latency);
                    }
                    Err(error) => break Some(refused(error)),
                },
                else => break None,
            }
        };
        drop(flying);
        Committed { number: self.number, count, latencies, failure }
    }

    /// From when it was due, in microseconds.
    async fn commit(&self, number: u64, due: Instant) -> Result<u64, tokio_postgres::Error> {
        let what = Mine::Event { number, due: self.scene.micros(due) };
        let data = self.scene.mark.data(what, self.scene.plan.payload as usize);
        let channel = &self.scene.plan.channel;
        self.client.query_one(&self.statement, &[channel, &NAME, &data]).await?;
        Ok(micros(due.elapsed()))
    }
}

impl Written {
    pub fn nothing(lanes: usize) -> Self {
        Self {
            due: 0,
            sent: 0,
            held_back: 0,
            late: 0,
            committed: vec![0; lanes],
            commits: Latencies::new(),
            time: Duration::ZERO,
            failure: None,
        }
    }
}

fn refused(error: tokio_postgres::Error) -> Failure {
    let code = error.code().cloned();
    let failure = Failure::from(error).behind("the database refused an event: ");
    match code {
        Some(code) if code == tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE => failure
            .next(
                "let the role of database.url send events: select rowcast.grant_emit('its_name')",
            ),
        _ => failure,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

const EMIT: &str = "select rowcast.emit($1, $2, $3::text::json)";

/// Of each connection: what is on its way, and what waits behind that.
const WINDOW: usize = 64;
const BACKLOG: usize = 4096;

/// How much later than its end a schedule may end that fell behind.
const GRACE: Duration = Duration::from_millis(500);

/// How often a sleeper looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

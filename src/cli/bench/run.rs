//! The course of a run: gather, write, wait for what is on its way, leave.
//!
//! In: a plan. Out: figures. Invariant: the end is an event that is committed after all others, so that what has not
//! come before it is missing; only who does not get that far is waited for, and not for ever.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc::{self, Sender};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::figures::{Circumstances, Figures};
use super::reader::{Heard, Subscriber};
use super::scene::{Plan, Scene};
use super::spread::Latencies;
use super::writer::{self, Written};
use super::{crowd, reader};
use crate::cli::database::{connect, target};
use crate::cli::destination::Way;
use crate::cli::{Failure, Settings, tell};

pub struct Measured {
    pub figures: Figures,
    pub latencies: Latencies,
    failure: Option<Failure>,
}

pub async fn measure(
    plan: Plan,
    way: &Way,
    settings: &Settings,
    patience: Duration,
) -> Result<Measured, Failure> {
    let writers = writers(&plan, settings).await?;
    let scene = Arc::new(Scene::new(plan));
    let interrupts = Interrupts::watch();
    let mut readers = Readers::start(&scene);
    let gathered = tokio::select! {
        gathered = crowd::gather(way, &scene.plan, &readers.ways) => gathered,
        () = interrupts.first.cancelled() => Err(Failure::new("ended before all had connected")),
    };
    readers.ways.clear();
    let server = match gathered {
        Ok(server) => server,
        Err(failure) => {
            readers.finish(Duration::ZERO, &interrupts).await;
            return Err(failure);
        }
    };
    if scene.plan.listen_only {
        scene.start(Instant::now());
    }
    begin(&scene.plan);
    let cpu = cpu_time();
    let mut written = readers.while_writing(&scene, writers.clone(), &interrupts).await?;
    let interrupted = interrupts.first.is_cancelled();
    let mut failure = written.failure.take();
    if let Some(client) = writers.first() {
        failure = failure.or(writer::end(&scene, client).await.err());
    }
    let patience = if scene.plan.listen_only { Duration::ZERO } else { patience };
    let heard = readers.finish(patience, &interrupts).await;
    let cpu = cpu_time().saturating_sub(cpu);
    let about = Circumstances { server, url: way.shown().to_owned(), interrupted, cpu };
    let figures = Figures::new(&scene, about, &written, &heard);
    Ok(Measured { figures, latencies: heard.latencies, failure })
}

fn begin(plan: &Plan) {
    let time = humantime::format_duration(plan.duration);
    let what = if plan.listen_only {
        "listening".to_owned()
    } else {
        format!("writing {} events", plan.events())
    };
    tell(&format!("{} subscribers follow {}; {what} for {time}", plan.subscribers, plan.channel));
}

/// Sessions that say in `pg_stat_activity` what they are.
async fn writers(plan: &Plan, settings: &Settings) -> Result<Vec<Arc<Client>>, Failure> {
    let mut clients = Vec::new();
    if plan.listen_only {
        return Ok(clients);
    }
    let target = target(settings)?;
    for _ in 0..plan.lanes {
        let client = connect(&target).await?;
        client.batch_execute("set application_name = 'rowcast bench'").await?;
        clients.push(Arc::new(client));
    }
    Ok(clients)
}

struct Readers {
    /// Where subscribers are handed to; none once all are there.
    ways: Vec<Sender<Subscriber>>,
    stop: CancellationToken,
    reading: JoinHandle<Heard>,
    /// What was heard, once nobody is left to hear.
    heard: Option<Heard>,
}

impl Readers {
    fn start(scene: &Arc<Scene>) -> Self {
        let stop = CancellationToken::new();
        let (mut tasks, mut ways) = (JoinSet::new(), Vec::new());
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from).min(MOST_READERS) {
            let (way, arriving) = mpsc::channel(64);
            ways.push(way);
            tasks.spawn(reader::read(Arc::clone(scene), arriving, stop.clone()));
        }
        let reading = tokio::spawn(async move {
            let mut heard = Heard::new();
            tasks.join_all().await.into_iter().for_each(|part| heard.add(part));
            heard
        });
        Self { ways, stop, reading, heard: None }
    }

    /// Stops early when nobody is left to hear.
    async fn while_writing(
        &mut self,
        scene: &Arc<Scene>,
        clients: Vec<Arc<Client>>,
        interrupts: &Interrupts,
    ) -> Result<Written, Failure> {
        let stop = interrupts.first.child_token();
        let mut writing = Box::pin(write(scene, clients, stop.clone()));
        loop {
            tokio::select! {
                written = &mut writing => return written,
                heard = &mut self.reading, if self.heard.is_none() => {
                    self.heard = Some(heard?);
                    stop.cancel();
                }
            }
        }
    }

    /// Until all have what they are to have, but not for ever.
    async fn finish(&mut self, patience: Duration, interrupts: &Interrupts) -> Heard {
        if let Some(heard) = self.heard.take() {
            return heard;
        }
        let late = async {
            tokio::select! {
                () = sleep(patience) => {}
                () = interrupts.second.cancelled() => {}
            }
            self.stop.cancel();
            pending().await
        };
        tokio::select! {
            heard = &mut self.reading => heard.unwrap_or_else(|_| Heard::new()),
            never = late => never,
        }
    }
}

async fn write(
    scene: &Arc<Scene>,
    clients: Vec<Arc<Client>>,
    stop: CancellationToken,
) -> Result<Written, Failure> {
    if !scene.plan.listen_only {
        return writer::write(scene, clients, stop).await;
    }
    let start = Instant::now();
    stop.run_until_cancelled(sleep(scene.plan.duration)).await;
    Ok(Written { time: start.elapsed(), ..Written::nothing(1) })
}

/// Ctrl-C ends the writing, and a second one the wait for what is on its way.
struct Interrupts {
    first: CancellationToken,
    second: CancellationToken,
}

impl Interrupts {
    fn watch() -> Self {
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        let tokens = [first.clone(), second.clone()];
        tokio::spawn(async move {
            for token in tokens {
                if tokio::signal::ctrl_c().await.is_ok() {
                    token.cancel();
                }
            }
        });
        Self { first, second }
    }
}

impl Measured {
    /// What makes a run a failed one.
    pub fn verdict(self) -> Result<(), Failure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if self.figures.is_as_promised() {
            return Ok(());
        }
        let (all, lost) = (&self.figures.deliveries, self.figures.subscribers.lost);
        let missing = all.missing.unwrap_or_default();
        if missing == 0 && lost > 0 {
            return Err(Failure::new(format!("{lost} subscribers were lost")).next(self.next()));
        }
        if missing == 0 {
            return Err(Failure::new("events came twice, or out of their order")
                .next("that is a fault of rowcast: please report it with these figures"));
        }
        let expected = all.expected.unwrap_or_default();
        let failure = Failure::new(format!("{missing} of {expected} deliveries are missing"));
        Err(failure.next(self.next()))
    }

    fn next(&self) -> &'static str {
        let who = &self.figures.subscribers;
        if self.figures.deliveries.received == 0 && who.lost == 0 {
            return "does the daemon there follow the database of this configuration?";
        }
        match (who.lost, who.behind) {
            (0, 0) => "that is a fault of rowcast: please report it with these figures",
            (0, _) => {
                "the load is more than it takes: a lower --rate, fewer --subscribers, or more --patience"
            }
            _ => "the log of the daemon and of the proxy say why connections ended",
        }
    }
}

/// Of all threads of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// More cores than these are not needed to read.
const MOST_READERS: usize = 8;

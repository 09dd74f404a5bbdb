//! From the commit to the client, beside a client that does LISTEN itself.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use tokio_postgres::{AsyncMessage, NoTls};

use super::Case;
use crate::load::Load;
use crate::report::Figure;
use crate::rig::{FLEETING, ITEM, Rig, UNHEARD, body, percentile};
use crate::{Outcome, Run};

pub const CASE: Case = Case {
    name: "latency",
    goal: "P4",
    about: "what rowcast adds to the way from the commit to a raw LISTEN client",
    run,
};

fn run(run: &Run) -> Outcome<Vec<Figure>> {
    let rig = Rig::new(run)?;
    rig.db.run(NAIVE)?;
    let naive = listen(rig.server.url("bench"), "naive")?;
    let logged = Subscribers::start(rig.subscribers(1, ITEM.channel)?);
    let fleeting = Subscribers::start(rig.subscribers(1, FLEETING.channel)?);
    let mut figures = Vec::new();
    let insert = "insert into naive (body) values ($1)";
    for (state, gaps, rounds, others) in [
        ("60 to 80 ms apart", Gaps::about(60, 20), run.or(400, 60), false),
        ("1 to 4 ms apart", Gaps::about(1, 3), run.or(2000, 300), false),
        // More than a daemon sleeps beside, and never in step with its reads.
        ("beside 500 others a second", Gaps::about(5, 10), run.or(1000, 150), true),
    ] {
        let _others = others.then(|| Others::start(&rig)).transpose()?;
        let mut gaps = gaps;
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..rounds {
            let ways =
                [(insert, &naive), (ITEM.insert, &logged.done), (FLEETING.insert, &fleeting.done)];
            for ((insert, arrivals), times) in ways.into_iter().zip(&mut times) {
                sleep(gaps.next());
                times.push(time(&rig, insert, arrivals)?);
            }
        }
        let [mut raw, mut ours, mut unlogged] = times;
        let mut beyond =
            |times: &mut [Duration], share| percentile(times, share) - percentile(&mut raw, share);
        figures.extend([
            Figure::new(
                format!("added to LISTEN, logged, events {state}, p50"),
                beyond(&mut ours, 0.5),
                "ms",
            )
            .at_most(0.3),
            Figure::new(
                format!("added to LISTEN, logged, events {state}, p99"),
                beyond(&mut ours, 0.99),
                "ms",
            )
            .at_most(0.8),
            Figure::new(
                format!("added to LISTEN, notify-only, events {state}, p50"),
                beyond(&mut unlogged, 0.5),
                "ms",
            )
            .at_most(0.06),
            Figure::new(
                format!("added to LISTEN, notify-only, events {state}, p99"),
                beyond(&mut unlogged, 0.99),
                "ms",
            )
            .at_most(0.4),
            Figure::new(
                format!("LISTEN itself, events {state}, p50"),
                percentile(&mut raw, 0.5),
                "ms",
            ),
            Figure::new(
                format!("LISTEN itself, events {state}, p99"),
                percentile(&mut raw, 0.99),
                "ms",
            ),
        ]);
    }
    logged.end()?;
    fleeting.end()?;
    figures.extend(last_of_hundred(run, &rig)?);
    Ok(figures)
}

fn last_of_hundred(run: &Run, rig: &Rig) -> Outcome<Vec<Figure>> {
    let hundred = Subscribers::start(rig.subscribers(100, ITEM.channel)?);
    let (mut times, mut gaps) = (Vec::new(), Gaps::about(60, 20));
    for _ in 0..run.or(400, 60) {
        sleep(gaps.next());
        times.push(time(rig, ITEM.insert, &hundred.done)?);
    }
    hundred.end()?;
    Ok(vec![
        Figure::new(
            "commit to the last of 100 clients, events 60 to 80 ms apart, p50",
            percentile(&mut times, 0.5),
            "ms",
        ),
        Figure::new(
            "commit to the last of 100 clients, events 60 to 80 ms apart, p99",
            percentile(&mut times, 0.99),
            "ms",
        )
        .at_most(1.5),
    ])
}

/// From the moment in which COMMIT is sent.
fn time(rig: &Rig, insert: &str, arrivals: &Receiver<Instant>) -> Outcome<Duration> {
    rig.db.run("begin")?;
    rig.db.wait(rig.db.client.execute(insert, &[&body(256)]))?;
    let began = Instant::now();
    rig.db.run("commit")?;
    match arrivals.recv_timeout(Duration::from_secs(10)) {
        Ok(arrived) => Ok(arrived.saturating_duration_since(began)),
        Err(RecvTimeoutError::Timeout) => Err(format!("nothing came of: {insert}").into()),
        Err(RecvTimeoutError::Disconnected) => Err("a client has ended".into()),
    }
}

/// Somebody who writes to another watched table, one transaction after the other, until it is dropped.
struct Others {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Others {
    fn start(rig: &Rig) -> Outcome<Self> {
        let (db, stop) = (rig.server.db()?, Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let body = body(256);
            while !stopped.load(Ordering::Acquire) {
                let _ = db.wait(db.client.execute(UNHEARD.insert, &[&body]));
                sleep(Duration::from_micros(1700));
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Clients on a thread of their own, which tells when all of them have the next event.
struct Subscribers {
    done: Receiver<Instant>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), String>>,
}

impl Subscribers {
    fn start(load: Load) -> Self {
        let (tell, done) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            watch(load, &tell, &stopped).map_err(|error| error.to_string())
        });
        Self { done, stop, thread }
    }

    /// Nothing may have come that was not asked for.
    fn end(self) -> Outcome<()> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().map_err(|_| "the clients panicked")??;
        Ok(())
    }
}

fn watch(mut load: Load, tell: &Sender<Instant>, stop: &AtomicBool) -> Outcome<()> {
    let (before, all) = (load.seen(), load.len() as u64);
    let (first, mut events) = (load.frames, 0);
    while !stop.load(Ordering::Acquire) {
        load.pump(Duration::from_millis(50))?;
        while (load.frames - first) / all > events {
            events += 1;
            tell.send(Instant::now())?;
        }
    }
    load.nothing_missing(&before, events)
}

/// A client that does LISTEN, and tells when it is notified.
pub fn listen(url: String, name: &'static str) -> Outcome<Receiver<Instant>> {
    let (tell, notified) = channel();
    let (ready, is_ready) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime needs a few descriptors only");
        // It ends with the server.
        let _ = runtime.block_on(async {
            let (client, mut connection) = tokio_postgres::connect(&url, NoTls).await?;
            let hear = async {
                while let Some(message) = poll_fn(|context| connection.poll_message(context)).await
                {
                    if matches!(message?, AsyncMessage::Notification(_)) {
                        let _ = tell.send(Instant::now());
                    }
                }
                Outcome::Ok(())
            };
            let ask = async {
                client.batch_execute(&format!("listen {name}")).await?;
                let _ = ready.send(());
                pending::<Outcome<()>>().await
            };
            tokio::select! { done = hear => done, done = ask => done }
        });
    });
    is_ready.recv_timeout(Duration::from_secs(10)).map_err(|_| "LISTEN did not begin")?;
    Ok(notified)
}

/// Pauses between events, at random within bounds.
struct Gaps {
    least: u64,
    more: u64,
    state: u64,
}

impl Gaps {
    /// Milliseconds.
    const fn about(least: u64, more: u64) -> Self {
        Self { least: least * 1000, more: more * 1000, state: 0x2545_F491_4F6C_DD1D }
    }

    fn next(&mut self) -> Duration {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        Duration::from_micros(self.least + self.state % self.more)
    }
}

/// What one would write without rowcast.
pub const NAIVE: &str = "\
create table naive (id bigint generated always as identity primary key, body text not null);
create function tell_naively() returns trigger language plpgsql as
$$ begin perform pg_notify('naive', row_to_json(new)::text); return null; end; $$;
create trigger tell after insert on naive for each row execute function tell_naively();
";

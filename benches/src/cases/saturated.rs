//! A thousand subscribers, and always 32 commits that not all of them have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::Case;
use super::fanout::{SUBSCRIBERS, raw};
use crate::load::Load;
use crate::raw::Raw;
use crate::report::Figure;
use crate::rig::{ITEM, Rig, body, median};
use crate::server::connect;
use crate::{Outcome, Run, machine};

pub const CASE: Case = Case {
    name: "saturated",
    goal: "P2",
    about: "deliveries of a core with 32 commits outstanding, against send() of as many at once",
    run,
};

fn run(run: &Run) -> Outcome<Vec<Figure>> {
    let rig = Rig::new(run)?;
    let mut load = rig.subscribers(SUBSCRIBERS, ITEM.channel)?;
    let frame = rig.sample_frame(&mut load)?;
    let (mut raw, mut raw_load) = raw(run, &frame, SUBSCRIBERS)?;
    let events = run.or(6000, 2000);
    let before = load.seen();
    let (mut ratios, mut rates, mut together, mut wall) = (vec![], vec![], vec![], vec![]);
    let pairs = 4;
    for _ in 0..pairs {
        let round = saturate(&rig, &mut load, events)?;
        let at_once = round.at_once.round().max(1.0);
        let theirs = sends(&mut raw, &mut raw_load, events, at_once)?;
        ratios.push(round.cpu / theirs);
        rates.push(1.0 / round.cpu);
        together.push(at_once);
        wall.push(round.per_second);
    }
    load.nothing_missing(&before, pairs * events)?;
    Ok(vec![
        Figure::new(
            "CPU of a delivery, saturated, as a multiple of raw send()",
            median(ratios),
            "x",
        )
        .at_most(1.3),
        Figure::new("deliveries in a second of CPU", median(rates), "/s").at_least(1_500_000.0),
        Figure::new("frames in one write", median(together), ""),
        Figure::new(
            "deliveries in a second of the clock, database and clients on the other core",
            median(wall),
            "/s",
        ),
    ])
}

struct Round {
    /// Seconds a delivery.
    cpu: f64,
    at_once: f64,
    per_second: f64,
}

fn saturate(rig: &Rig, load: &mut Load, events: u64) -> Outcome<Round> {
    let pid = rig.daemon.pid();
    let (cpu, writes, began) = (machine::cpu(pid)?, rig.daemon.writes()?, Instant::now());
    let permits = Arc::new(Semaphore::new(OUTSTANDING));
    let publisher = publish(rig.server.url("bench"), ITEM.insert, events, Arc::clone(&permits));
    let (first, mut everywhere) = (load.frames, 0);
    let all = load.len() as u64;
    while everywhere < events {
        if publisher.is_finished() && permits.is_closed() {
            return Err("the publisher failed".into());
        }
        load.pump(Duration::from_millis(100))?;
        let now = (load.frames - first) / all;
        permits.add_permits(usize::try_from(now - everywhere)?);
        everywhere = now;
    }
    let elapsed = began.elapsed().as_secs_f64();
    publisher.join().map_err(|_| "the publisher panicked")?;
    let deliveries = (events * all) as f64;
    Ok(Round {
        cpu: (machine::cpu(pid)?.saturating_sub(cpu)).as_secs_f64() / deliveries,
        at_once: deliveries / (rig.daemon.writes()? - writes),
        per_second: deliveries / elapsed,
    })
}

/// One transaction an event, over a few connections, as many at a time as there are permits.
pub fn publish(
    url: String,
    insert: &'static str,
    events: u64,
    permits: Arc<Semaphore>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime needs a few descriptors only");
        let begun = Arc::new(AtomicU64::new(0));
        let local = tokio::task::LocalSet::new();
        for _ in 0..CONNECTIONS {
            local.spawn_local(connection(
                url.clone(),
                insert,
                events,
                Arc::clone(&begun),
                Arc::clone(&permits),
            ));
        }
        runtime.block_on(local);
    })
}

async fn connection(
    url: String,
    insert: &'static str,
    events: u64,
    begun: Arc<AtomicU64>,
    permits: Arc<Semaphore>,
) {
    let work = async {
        let client = connect(&url).await?;
        let (statement, body) = (client.prepare(insert).await?, body(256));
        let lane = async || {
            while begun.fetch_add(1, Ordering::Relaxed) < events {
                permits.acquire().await?.forget();
                client.execute(&statement, &[&body]).await?;
            }
            Outcome::Ok(())
        };
        // As many statements on their way as there are lanes.
        tokio::try_join!(lane(), lane(), lane(), lane())?;
        Outcome::Ok(())
    };
    if let Err(error) = work.await {
        eprintln!("   publisher: {error}");
        permits.close();
    }
}

fn sends(raw: &mut Raw, load: &mut Load, events: u64, at_once: f64) -> Outcome<f64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few frames")]
    let at_once = at_once as u32;
    let all = load.len() as u64;
    let rounds = events / u64::from(at_once);
    let before = machine::cpu(raw.pid())?;
    let (first, window) = (load.frames, (OUTSTANDING as u64 / u64::from(at_once)).max(1));
    for round in 0..rounds {
        raw.send(at_once)?;
        // So many orders outstanding as events are for the daemon.
        let behind = (round + 1).saturating_sub(window);
        load.until_frames(first + behind * u64::from(at_once) * all)?;
    }
    let deliveries = rounds * u64::from(at_once) * all;
    load.until_frames(first + deliveries)?;
    Ok(machine::cpu(raw.pid())?.saturating_sub(before).as_secs_f64() / deliveries as f64)
}

const OUTSTANDING: usize = 32;
const CONNECTIONS: usize = 8;

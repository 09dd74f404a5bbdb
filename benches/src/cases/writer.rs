//! What the application pays for being watched.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Case;
use super::latency::{NAIVE, listen};
use crate::load::Load;
use crate::report::Figure;
use crate::rig::{Rig, body, median};
use crate::server::{Options, run as execute};
use crate::{Outcome, Run, machine};

pub const CASE: Case = Case {
    name: "writer",
    goal: "P7",
    about: "commits of a watched table, of one with the least trigger that logs, with a NOTIFY trigger, with none",
    run,
};

fn run(run: &Run) -> Outcome<Vec<Figure>> {
    let mut figures = on(run, None, &WRITERS, [0.65, 0.6, 0.6], "")?;
    let slow = Some(Duration::from_millis(1));
    figures.extend(on(run, slow, &WRITERS, [0.9; 3], ", disk 1 ms slower")?);
    Ok(figures)
}

/// Durable commits, with the database and the daemon on all cores.
fn on(
    run: &Run,
    slower: Option<Duration>,
    writers: &[u32],
    goals: [f64; 3],
    disk: &str,
) -> Outcome<Vec<Figure>> {
    let options = Options { cores: ALL.into(), durable: true, slower, statements: false };
    let mut rig = Rig::on(run, &options)?;
    rig.program.cores = ALL.into();
    rig.restart()?;
    rig.db.run(NAIVE)?;
    rig.db.run(TABLES)?;
    rig.db.run(LEAST)?;
    let _listener = listen(rig.server.url("bench"), "naive")?;
    let woken = listen(rig.server.url("bench"), "rowcast")?;
    let reader = Reader::start(rig.subscribers(1, "watched")?);
    let mut figures = Vec::new();
    for (writers, goal) in writers.iter().zip(goals) {
        figures.extend(transactions(run, &rig, *writers, goal, disk)?);
    }
    let commits: i64 = rig.db.one("select count(*) from watched", &[])?.get(0);
    let share = woken.try_iter().count() as f64 * 1000.0 / commits as f64;
    figures.push(Figure::new(
        format!("watched commits of 1,000 that woke the daemon{disk}"),
        share,
        "",
    ));
    if slower.is_none() {
        figures.extend(statements(run, &rig)?);
    }
    let rows: i64 = rig.db.one("select count(*) from watched", &[])?.get(0);
    reader.end(u64::try_from(rows)?)?;
    Ok(figures)
}

fn transactions(run: &Run, rig: &Rig, writers: u32, goal: f64, disk: &str) -> Outcome<Vec<Figure>> {
    let mut rates = [const { Vec::new() }; 4];
    let (mut watched, mut least, mut naive) = (vec![], vec![], vec![]);
    for _ in 0..run.or(9, 2) {
        let mut round = [0.0; 4];
        for ((table, rate), all) in
            ["plain", "watched", "bare", "naive"].iter().zip(&mut round).zip(&mut rates)
        {
            *rate = pgbench(rig, table, writers)?;
            all.push(*rate);
        }
        watched.push(round[1] / round[0]);
        least.push(round[2] / round[0]);
        naive.push(round[3] / round[0]);
    }
    let [plain, ours, bound, theirs] = rates.map(median);
    let who = if writers == 1 { "1 writer".to_owned() } else { format!("{writers} writers") };
    Ok(vec![
        Figure::new(
            format!("commits of a watched table, {who}{disk}, against no trigger"),
            median(watched),
            "x",
        )
        .at_least(goal),
        Figure::new(
            format!("with the least trigger that logs, {who}{disk}, against no trigger"),
            median(least),
            "x",
        ),
        Figure::new(
            format!("with a NOTIFY trigger, {who}{disk}, against no trigger"),
            median(naive),
            "x",
        ),
        Figure::new(format!("commits, {who}{disk}: no trigger"), plain, "/s"),
        Figure::new(format!("commits, {who}{disk}: watched"), ours, "/s"),
        Figure::new(format!("commits, {who}{disk}: the least that logs"), bound, "/s"),
        Figure::new(format!("commits, {who}{disk}: NOTIFY trigger"), theirs, "/s"),
    ])
}

fn pgbench(rig: &Rig, table: &str, writers: u32) -> Outcome<f64> {
    let script = rig.server.folder.join("script");
    fs::write(&script, format!("insert into {table} (body) values ('{}');\n", body(256)))?;
    let mut pgbench = rig.server.command("pgbench", ALL);
    let (clients, threads, seconds) = (writers, writers.min(2), 2);
    let how = format!("-n -M prepared -c {clients} -j {threads} -T {seconds} -p 5432 -f script");
    pgbench.args(how.split(' '));
    let text = execute(&mut pgbench)?;
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
    Ok(rate.ok_or_else(|| format!("no rate in {text}"))?.parse()?)
}

/// What a row of a large statement costs, above one of a table that nobody watches.
fn statements(run: &Run, rig: &Rig) -> Outcome<Vec<Figure>> {
    let pid: i32 = rig.db.one("select pg_backend_pid()", &[])?.get(0);
    let cpu = || machine::cpu(u32::try_from(pid).unwrap_or_default());
    let [mut plain, mut ours, mut least, mut theirs] = [const { (vec![], vec![]) }; 4];
    for _ in 0..run.or(21, 7) {
        for (table, times) in [
            ("plain", &mut plain),
            ("watched", &mut ours),
            ("bare", &mut least),
            ("naive", &mut theirs),
        ] {
            let many = format!(
                "insert into {table} (body) select '{}' from generate_series(1, {ROWS})",
                body(256)
            );
            let (began, before) = (Instant::now(), cpu()?);
            rig.db.run(&many)?;
            for (time, all) in
                [(began.elapsed(), &mut times.0), (cpu()?.saturating_sub(before), &mut times.1)]
            {
                all.push(time.as_secs_f64() * 1e6 / f64::from(ROWS));
            }
        }
    }
    let all = [plain, ours, least, theirs].map(|(clock, cpu)| (median(clock), median(cpu)));
    let [plain, ours, least, theirs] = all.map(|(clock, _)| clock);
    let [plain_cpu, ours_cpu, least_cpu, _] = all.map(|(_, cpu)| cpu);
    Ok(vec![
        Figure::new(
            "a row of 10,000 in a statement, watched, above no trigger",
            ours - plain,
            "µs",
        )
        .at_most(3.5),
        Figure::new("of it, the backend's CPU", ours_cpu - plain_cpu, "µs"),
        Figure::new("the same with the least trigger that logs", least - plain, "µs"),
        Figure::new("of it, its backend's CPU", least_cpu - plain_cpu, "µs"),
        Figure::new("the same with a NOTIFY trigger", theirs - plain, "µs"),
        Figure::new("a row of 10,000 in a statement, no trigger", plain, "µs"),
    ])
}

/// A subscriber that takes what comes, on a thread of its own.
struct Reader {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<Load, String>>,
    before: Vec<u64>,
}

impl Reader {
    fn start(mut load: Load) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, before) = (Arc::clone(&stop), load.seen());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                load.pump(Duration::from_millis(50)).map_err(|error| error.to_string())?;
            }
            Ok(load)
        });
        Self { stop, thread, before }
    }

    fn end(self, events: u64) -> Outcome<()> {
        self.stop.store(true, Ordering::Release);
        let mut load = self.thread.join().map_err(|_| "the reader panicked")??;
        load.nothing_missing(&self.before, events)
    }
}

const WRITERS: [u32; 3] = [1, 8, 32];

const ROWS: u32 = 10_000;

/// As `taskset` takes them; cores that are not there do not matter.
const ALL: &str = "0-1023";

pub(super) const TABLES: &str = "\
create table plain (like item including all);
create table watched (like item including all);
select rowcast.watch('watched');
";

/// What any capture pays that logs as much: no limits, nothing rescued, nobody woken.
pub(super) const LEAST: &str = r#"
create table bare (like item including all);
create function log_bare() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into rowcast.event ("table", op, channels, key, "row")
    select 'public.bare', 'insert', '{bare}', json_build_object('id', n.id), row_to_json(n) from new_rows n;
    return null;
end;
$$;
create trigger log_bare after insert on bare referencing new table as new_rows for each statement execute function log_bare();
"#;

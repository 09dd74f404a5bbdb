//! `rowcast demo --check`: two clients, as any others would be, and what each of them received.
//!
//! In: a running demo. Out: the latencies, or a sentence that says what did not arrive. Invariant: absence is proved
//! by an event that both may see and that was written after all others, never by waiting.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use self::client::{Change, Client};
use super::desk::Desk;
use super::shop::{Op, Shop, USERS, Written};
use super::writer;
use crate::cli::{Failure, print};

mod client;

pub async fn run(shop: &Arc<Shop>, desk: &Desk, address: SocketAddr) -> Result<(), Failure> {
    let [ana, ben] = USERS;
    let mut clients = [
        Client::connect(ana, address, &desk.token(ana)?).await?,
        Client::connect(ben, address, &desk.token(ben)?).await?,
    ];
    let written = write(shop).await?;
    shop.announce("orders", BARRIER).await?;
    let mut report = String::new();
    let mut latencies = Latencies::default();
    for (client, written) in clients.iter_mut().zip(&written) {
        let received = client.until_event(BARRIER).await?;
        let (orders, stock): (Vec<_>, Vec<_>) =
            received.iter().partition(|change| change.channel == "orders");
        compare(client.user, written, &orders)?;
        // Each insert took something from the stock, whoever's it was.
        if stock.len() != ROUNDS * USERS.len() {
            return Err(missing(client.user, "the changes of the stock, which is for both"));
        }
        latencies.add(written, &orders);
        let _ = writeln!(
            report,
            "{}: {ROUNDS} inserts, {ROUNDS} updates and {ROUNDS} deletes arrived in order, and none of the other's",
            client.user
        );
    }
    let _writer = AbortOnDropHandle::new(tokio::spawn(writer::run(Arc::clone(shop))));
    for client in &mut clients {
        client.until_event("update").await?;
    }
    report.push_str("both: every change of the stock, and the rows that the demo keeps writing\n");
    report.push_str(&latencies.to_string());
    print(&report)
}

/// Per user, in the order of [`USERS`]; the users take turns, so that one's changes stand between the other's.
async fn write(shop: &Shop) -> Result<[Vec<Written>; 2], Failure> {
    let mut all = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let mut ids = [0; 2];
        for op in [Op::Insert, Op::Update, Op::Delete] {
            for (n, user) in USERS.into_iter().enumerate() {
                let written = match op {
                    Op::Insert => shop.write(op, user).await?,
                    Op::Update | Op::Delete => shop.write_to(op, ids[n]).await?,
                };
                ids[n] = written.id;
                all[n].push(written);
            }
        }
    }
    Ok(all)
}

fn compare(user: &str, written: &[Written], received: &[&Change]) -> Result<(), Failure> {
    let expected: Vec<_> = written.iter().map(|one| (one.op.name(), Some(one.id))).collect();
    let arrived: Vec<_> = received.iter().map(|one| (one.op.as_str(), one.id)).collect();
    if arrived == expected {
        return Ok(());
    }
    let own = |id: &Option<i32>| written.iter().any(|one| Some(one.id) == *id);
    if let Some((op, id)) = arrived.iter().find(|(_, id)| !own(id)) {
        return Err(Failure::new(format!(
            "{user} received the {op} of order {}, which is not {user}'s",
            id.unwrap_or_default()
        )));
    }
    Err(missing(user, "their own changes, each once and in order"))
}

fn missing(user: &str, what: &str) -> Failure {
    Failure::new(format!("{user} did not receive {what}")).next(
        "that is a fault of rowcast: please report it with the output of `rowcast demo --check`",
    )
}

#[derive(Default)]
struct Latencies {
    from_trigger: Vec<Duration>,
    from_statement: Vec<Duration>,
}

impl Latencies {
    fn add(&mut self, written: &[Written], received: &[&Change]) {
        for (written, change) in written.iter().zip(received) {
            self.from_statement.push(change.arrived.saturating_duration_since(written.began));
            // A database on another machine has another clock.
            self.from_trigger.extend(change.age);
        }
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "latency, {} changes                  p50        max",
            self.from_statement.len()
        )?;
        for (name, all) in [
            ("from the trigger to the client", &self.from_trigger),
            ("from the statement to the client", &self.from_statement),
        ] {
            let mut all = all.clone();
            all.sort_unstable();
            if let (Some(median), Some(longest)) = (all.get(all.len() / 2), all.last()) {
                writeln!(
                    f,
                    "  {name:<34} {:>7.2} ms {:>7.2} ms",
                    millis(*median),
                    millis(*longest)
                )?;
            }
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Enough for a median, and done in a moment.
const ROUNDS: usize = 20;

const BARRIER: &str = "checked";

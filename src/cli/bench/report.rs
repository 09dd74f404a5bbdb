//! The figures of a run for a person.
//!
//! In: figures, latencies. Out: lines of at most 80 characters, without colour. Invariant: what is this machine's or
//! the database's doing is told apart from what is the daemon's.

use std::fmt::Write as _;

use super::figures::{Events, Figures};
use super::spread::{Latencies, Spread};

pub fn report(figures: &Figures, latencies: &Latencies) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{} at {}", figures.server, figures.url);
    counts(figures, &mut text);
    table(figures, &mut text);
    if figures.latency_ms.delivery.is_some() {
        let _ = write!(text, "\neach delivery\n{}", latencies.picture());
    }
    text.push('\n');
    verdict(figures, &mut text);
    remarks(figures, &mut text);
    text
}

fn counts(figures: &Figures, text: &mut String) {
    let subscribers = count(figures.subscribers.connected);
    let _ = writeln!(text, "{subscribers} subscribers of {}", figures.channel);
    if let Some(events) = &figures.events {
        let _ = writeln!(
            text,
            "{} events of {} bytes in {:.1} s: {}/s",
            count(events.committed),
            count(events.payload_bytes.into()),
            figures.seconds,
            rate(events.per_second),
        );
    }
    let all = &figures.deliveries;
    let _ = writeln!(text, "{} deliveries: {}/s", count(all.received), rate(all.per_second));
}

fn table(figures: &Figures, text: &mut String) {
    let since = if figures.listen_only {
        "from the capture, by the database's clock"
    } else {
        "from when the event was due"
    };
    let _ = writeln!(text, "\nmilliseconds {since}");
    let _ = writeln!(text, "{:17}{}", "", HEADS.map(|head| format!("{head:>10}")).concat());
    let latency = &figures.latency_ms;
    let rows = [
        ("commit", &latency.commit),
        ("each delivery", &latency.delivery),
        ("last subscriber", &latency.last),
    ];
    for (name, spread) in rows {
        if let Some(spread) = spread {
            let _ = writeln!(text, "  {name:15}{}", cells(spread));
        }
    }
}

fn cells(spread: &Spread) -> String {
    let Spread { min, p50, p90, p99, p999, max } = spread;
    [min, p50, p90, p99, p999, max].map(|value| format!("{value:>10.2}")).concat()
}

fn verdict(figures: &Figures, text: &mut String) {
    let all = &figures.deliveries;
    if let (Some(missing), Some(repeated), Some(order)) =
        (all.missing, all.repeated, all.out_of_order)
    {
        let (missing, repeated, order) = (count(missing), count(repeated), count(order));
        let _ = writeln!(text, "missing {missing} · repeated {repeated} · out of order {order}");
    }
    let lost = &figures.subscribers.lost_by_code;
    for (code, subscribers) in lost {
        let _ = writeln!(text, "{} subscribers were lost: {code}", count(*subscribers));
    }
    let behind = figures.subscribers.behind;
    if behind > 0 {
        let _ = writeln!(text, "{} subscribers were still behind at the end", count(behind));
    }
    for (what, number) in [
        ("times a subscriber was too slow and was caught up", all.lagged),
        ("times a subscriber was told that events may be missing", all.resets),
        ("events of others came as well", all.foreign),
    ] {
        if number > 0 {
            let _ = writeln!(text, "{} {what}", count(number));
        }
    }
}

fn remarks(figures: &Figures, text: &mut String) {
    if figures.interrupted {
        text.push_str("ended early; the figures are those so far\n");
    }
    if let Some(events) = &figures.events {
        kept_rate(figures, events, text);
        // The event that ends the run is one, too.
        let rows = count(events.committed + 1);
        let _ = writeln!(text, "{rows} rows stay in the log until log.keep has passed");
    }
    let cores = figures.generator.cpu_seconds / figures.seconds.max(0.001);
    let _ = writeln!(text, "this program took {cores:.2} of a core");
}

/// Whose doing it is where less was sent than was asked for.
fn kept_rate(figures: &Figures, events: &Events, text: &mut String) {
    let (sent, asked) = (count(events.sent), count(events.asked));
    if events.held_back > 0 {
        let _ = writeln!(
            text,
            "the database could not keep the rate: it took {sent} of {asked} events"
        );
    } else if events.sent < events.asked && !figures.interrupted {
        let _ = writeln!(
            text,
            "this machine could not keep the rate: {sent} of {asked} events were sent"
        );
    }
    let late = figures.generator.late_ms;
    if late >= WORTH_TELLING {
        let _ = writeln!(
            text,
            "this program was up to {late:.0} ms late, which is part of the latencies"
        );
    }
}

fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn rate(number: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate that is shown"
    )]
    let whole = number.round() as u64;
    if whole < 10 { format!("{number:.1}") } else { count(whole) }
}

const HEADS: [&str; 6] = ["min", "p50", "p90", "p99", "p99.9", "max"];

/// Milliseconds that are no matter of the scheduler alone.
const WORTH_TELLING: f64 = 10.0;

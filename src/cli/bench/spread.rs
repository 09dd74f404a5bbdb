//! Latencies: what they are recorded in, and what is told of them.
//!
//! In: microseconds. Out: the least, the greatest, percentiles, and a picture. Invariant: memory and exactness (one
//! part in a thousand) are the same however many there are.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

/// In milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub min: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    #[serde(rename = "p99_9")]
    pub p999: f64,
    pub max: f64,
}

impl Latencies {
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds that never change"))
    }

    pub fn record(&mut self, micros: u64) {
        self.0.saturating_record(micros.max(1));
    }

    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// `None` where there are none.
    pub fn spread(&self) -> Option<Spread> {
        let at = |quantile| millis(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| Spread {
            min: millis(self.0.min()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: millis(self.0.max()),
        })
    }

    /// Bars as long as their share, from the shortest latency to the longest.
    pub fn picture(&self) -> String {
        let counts = self.buckets();
        let most = counts.iter().copied().max().unwrap_or_default();
        let first = counts.iter().position(|count| *count > 0).unwrap_or_default();
        let end = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        let mut picture = String::new();
        for (index, count) in counts.into_iter().enumerate().take(end).skip(first) {
            let (range, bar) = (label(index), bar(count, most));
            let share = percent(count, self.0.len());
            let _ = writeln!(picture, "  {range:>16}  {bar:<WIDTH$} {share:>7}");
        }
        picture
    }

    fn buckets(&self) -> [u64; EDGES.len()] {
        let mut counts = [0; EDGES.len()];
        for one in self.0.iter_recorded() {
            let edge = EDGES.partition_point(|edge| *edge <= one.value_iterated_to());
            counts[edge.min(EDGES.len() - 1)] += one.count_since_last_iteration();
        }
        counts
    }
}

/// The latencies below the edge with this index.
fn label(index: usize) -> String {
    match (index.checked_sub(1).map(|before| EDGES[before]), EDGES[index]) {
        (_, last) if index + 1 == EDGES.len() => {
            format!("over {} ms", short(EDGES[index - 1].min(last)))
        }
        (None, first) => format!("under {} ms", short(first)),
        (Some(from), to) => format!("{} – {} ms", short(from), short(to)),
    }
}

fn short(micros: u64) -> String {
    format!("{}", millis(micros))
}

/// What is there at all has a mark.
fn bar(count: u64, most: u64) -> String {
    let eighths = (u128::from(count) * WIDTH as u128 * 8).div_ceil(u128::from(most));
    let eighths = usize::try_from(eighths).unwrap_or(WIDTH * 8);
    let mut bar = "█".repeat(eighths / 8);
    bar.extend(PARTS.get(eighths % 8).copied().flatten());
    bar
}

fn percent(count: u64, all: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "one digit is shown")]
    let share = count as f64 * 100.0 / all as f64;
    match count {
        0 => "0 %".to_owned(),
        _ if share < 0.1 => "< 0.1 %".to_owned(),
        _ => format!("{share:.1} %"),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "an hour has fewer microseconds than a double has digits"
)]
pub fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

/// An hour: no run waits for longer.
const LONGEST: u64 = 3_600_000_000;

const WIDTH: usize = 40;

/// In microseconds, each about twice the one before.
const EDGES: [u64; 23] = [
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    u64::MAX,
];

const PARTS: [Option<char>; 8] =
    [None, Some('▏'), Some('▎'), Some('▍'), Some('▌'), Some('▋'), Some('▊'), Some('▉')];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::new();
        for one in micros {
            latencies.record(one);
        }
        latencies
    }

    #[test]
    fn percentiles_are_exact_to_a_thousandth() {
        let spread = of(1..=100_000).spread().unwrap();
        let expected = [0.001, 50.0, 90.0, 99.0, 99.9, 100.0];
        let found = [spread.min, spread.p50, spread.p90, spread.p99, spread.p999, spread.max];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= expected / 1000.0, "{found} for {expected}");
        }
        assert_eq!(of([]).spread(), None);
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let mut sum = of([300, 70_000]);
        sum.add(&of([5]));
        assert_eq!(sum.spread(), of([5, 300, 70_000]).spread());
        // Longer than anything is the longest, and none is lost.
        assert_eq!(of([u64::MAX]).spread(), of([LONGEST]).spread());
    }

    #[test]
    fn the_picture_has_a_line_a_bucket_without_gaps() {
        let mut all = vec![600; 3_000];
        all.extend([700; 999]);
        all.extend([4_000; 2_000]);
        all.push(30_000);
        let picture = of(all).picture();
        let lines: Vec<_> = picture.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "0.5 – 1 ms  ████████████████████████████████████████  66.7 %",
                "1 – 2 ms                                               0 %",
                "2 – 5 ms  ████████████████████▏                     33.3 %",
                "5 – 10 ms                                               0 %",
                "10 – 20 ms                                               0 %",
                "20 – 50 ms  ▏                                        < 0.1 %",
            ]
        );
        assert_eq!(of([]).picture(), "");
        assert!(of([7]).picture().trim_start().starts_with("under 0.05 ms  █"));
        assert!(of([u64::MAX]).picture().trim_start().starts_with("over 500000 ms  █"));
    }

    #[test]
    fn every_latency_is_in_exactly_one_line() {
        let edges = EDGES.iter().filter(|edge| **edge < LONGEST);
        for one in edges.flat_map(|edge| [edge - 1, *edge, edge + 1]) {
            let picture = of([one]).picture();
            assert_eq!(picture.lines().count(), 1, "{one}: {picture}");
            assert!(picture.contains("100.0 %"), "{one}: {picture}");
        }
    }
}

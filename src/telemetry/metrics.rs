//! What the daemon counts, for Prometheus.
//!
//! In: [`Notice`]s, and what the hub says of itself when it is asked. Out: the text format of Prometheus. Invariant:
//! the values of every label are a fixed, small set; counting takes no lock that a delivery waits for.

use std::sync::Arc;

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::domain::message::ResetReason;
use crate::telemetry::vitals::Vitals;

use super::notice::{Mode, Notice, Source, Transport};
use super::refusals::{Refusals, Refused};

/// Hears everything worth noticing. Clones share it.
#[derive(Clone)]
pub struct Observer(Arc<Metrics>);

struct Metrics {
    registry: Registry,
    refusals: Refusals,
    connections: IntGaugeVec,
    opened: IntCounterVec,
    read: [IntCounter; 2],
    read_age: Histogram,
    delivered: IntCounter,
    writes: IntCounter,
    delivery_age: Histogram,
    resumed: IntCounterVec,
    lagged: IntCounter,
    given_up: IntCounter,
    listening: IntGauge,
    lost: IntCounter,
    mode: IntGaugeVec,
    rights_changed: IntCounter,
    overruns: IntCounter,
    payloads_ignored: IntCounter,
    history_failures: IntCounter,
    log_bytes: IntGauge,
    log_floor_age: Gauge,
    log_parts_removed: IntCounter,
    queue_usage: Gauge,
    function_up: IntGauge,
    vitals: [IntGauge; 5],
}

impl Default for Observer {
    fn default() -> Self {
        Self(Arc::new(Metrics::new()))
    }
}

impl Observer {
    pub fn note(&self, notice: &Notice<'_>) {
        notice.log();
        self.0.count(notice);
    }

    /// How often clients were refused this.
    pub fn refused(&self, what: Refused) -> u64 {
        self.0.refusals.of(what)
    }

    /// Everything, in the text format of Prometheus.
    pub fn render(&self, vitals: Vitals) -> String {
        let Vitals { clients, subscriptions, queued_bytes, blocked, catching_up, .. } = vitals;
        let now = [clients, subscriptions, queued_bytes, blocked, catching_up];
        for (gauge, value) in self.0.vitals.iter().zip(now) {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        TextEncoder::new().encode_to_string(&self.0.registry.gather()).unwrap_or_default()
    }
}

impl Metrics {
    fn new() -> Self {
        let make = Maker(Registry::new());
        let refused = make.counters("refused", "What clients were refused, by reason.", "reason");
        let read = make.counters("events_read", "Events that came from the database.", "source");
        let info = make.gauges("build_info", "Always 1; the version is a label.", "version");
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let connections = make.gauges("connections", "Open connections of clients.", "transport");
        connections.with_label_values(&[Transport::WebSocket.name()]).set(0);
        let mode =
            make.gauges("reader_mode", "How the log is read: 1 for the mode in force.", "mode");
        for each in Mode::ALL {
            mode.with_label_values(&[each.name()]).set(0);
        }
        let resumed = make.counters(
            "resumes",
            "Subscriptions that asked for something of the past.",
            "outcome",
        );
        for outcome in std::iter::once(RECOVERED).chain(ResetReason::ALL.map(ResetReason::as_str)) {
            resumed.with_label_values(&[outcome]);
        }
        let function_up = make.gauge(
            "authorize_function_up",
            "0 if the last question to authorize.function went unanswered.",
        );
        function_up.set(1);
        Self {
            refusals: Refusals::of_counters(&refused),
            connections,
            opened: make.counters("connections_opened", "Connections of clients so far.", "transport"),
            read: [Source::Log, Source::Notification].map(|s| read.with_label_values(&[s.name()])),
            read_age: make.ages("event_read_age_seconds", "From the capture of an event to its arrival in the daemon, for the newest of each batch."),
            delivered: make.counter("deliveries", "Events written or queued for a subscriber."),
            writes: make.counter("writes", "Writes to sockets that carried events; each took what had arrived by then."),
            delivery_age: make.ages("event_delivery_age_seconds", "From the capture of an event to its write to the sockets, for the newest of each batch."),
            resumed,
            lagged: make.counter("lagged", "Times a socket was too slow and was caught up."),
            given_up: make.counter("given_up", "Sockets closed because they took nothing for too long."),
            listening: make.gauge("listening", "1 while the daemon listens to the database and follows the log."),
            lost: make.counter("database_lost", "Times the database was lost, or could not be reached again."),
            mode,
            rights_changed: make.counter("rights_changed", "Changes of rights that had somebody judged again."),
            overruns: make.counter("notification_overruns", "Times notify-only events came faster than they could be taken."),
            payloads_ignored: make.counter("notifications_ignored", "Notifications that were not signed, or meant nothing."),
            history_failures: make.counter("history_failures", "Times the log could not be read for a client that came back."),
            log_bytes: make.gauge("log_bytes", "Size of the event log, as the last round of retention of this node found it."),
            log_floor_age: make.seconds("log_floor_age_seconds", "How long ago the oldest event that is still in the log was captured."),
            log_parts_removed: make.counter("log_parts_removed", "Parts of the log that this node has emptied."),
            queue_usage: make.seconds("notification_queue_usage_ratio", "How full PostgreSQL's notification queue is, from 0 to 1."),
            function_up,
            vitals: [
                make.gauge("subscribers", "Connections that the hub knows."),
                make.gauge("subscriptions", "Subscriptions in force."),
                make.gauge("queued_bytes", "Bytes that wait for sockets."),
                make.gauge("blocked_connections", "Connections whose sockets take no more for now."),
                make.gauge("catching_up", "Catch-ups under way."),
            ],
            registry: make.0,
        }
    }

    fn count(&self, notice: &Notice<'_>) {
        match notice {
            Notice::ConnectionOpened(transport) => {
                self.connections.with_label_values(&[transport.name()]).inc();
                self.opened.with_label_values(&[transport.name()]).inc();
            }
            Notice::ConnectionEnded(transport) => {
                self.connections.with_label_values(&[transport.name()]).dec();
            }
            Notice::Refused(what) | Notice::AddressRefused { what, .. } => {
                self.refusals.count(*what);
            }
            Notice::CredentialRefused(_) | Notice::CredentialUnknown(_) => {
                self.refusals.count(Refused::Credential);
            }
            Notice::Read { source, events, age } => {
                self.read[*source as usize].inc_by(*events as u64);
                if let Some(age) = age {
                    self.read_age.observe(age.as_secs_f64());
                }
            }
            Notice::Delivered { frames, writes, age } => {
                self.delivered.inc_by(*frames as u64);
                self.writes.inc_by(*writes as u64);
                if let Some(age) = age {
                    self.delivery_age.observe(age.as_secs_f64());
                }
            }
            Notice::Resumed(outcome) => self.resumed.with_label_values(&[outcome]).inc(),
            Notice::Lagged => self.lagged.inc(),
            Notice::GivenUp => self.given_up.inc(),
            Notice::Following { .. } => self.listening.set(1),
            Notice::Lost(_) => {
                self.listening.set(0);
                self.lost.inc();
            }
            Notice::Mode(mode) => {
                for each in Mode::ALL {
                    self.mode.with_label_values(&[each.name()]).set(i64::from(each == *mode));
                }
            }
            Notice::RightsChanged => self.rights_changed.inc(),
            Notice::Overrun => self.overruns.inc(),
            Notice::PayloadIgnored(_) => self.payloads_ignored.inc(),
            Notice::HistoryUnread(_) => self.history_failures.inc(),
            Notice::LogTrimmed { parts, .. } => {
                self.log_parts_removed.inc_by(u64::try_from(*parts).unwrap_or_default());
            }
            Notice::LogMeasured { bytes, floor_age, queue_usage } => {
                if let Some(bytes) = bytes {
                    self.log_bytes.set(*bytes);
                }
                self.log_floor_age.set(floor_age.as_secs_f64());
                self.queue_usage.set(*queue_usage);
            }
            Notice::FunctionSilent(_) => self.function_up.set(0),
            Notice::FunctionAnswers => self.function_up.set(1),
            Notice::Overtaken | Notice::LogTrouble(_) => {}
        }
    }
}

/// Makes metrics and puts them on the list. Names are literals of this file, so they are valid and differ.
struct Maker(Registry);

impl Maker {
    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(Opts::new(format!("rowcast_{name}_total"), help)))
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> IntCounterVec {
        let options = Opts::new(format!("rowcast_{name}_total"), help);
        self.register(IntCounterVec::new(options, &[label]))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(Opts::new(format!("rowcast_{name}"), help)))
    }

    fn gauges(&self, name: &str, help: &str, label: &str) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(format!("rowcast_{name}"), help), &[label]))
    }

    fn seconds(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::with_opts(Opts::new(format!("rowcast_{name}"), help)))
    }

    fn ages(&self, name: &str, help: &str) -> Histogram {
        let options = HistogramOpts::new(format!("rowcast_{name}"), help).buckets(AGES.to_vec());
        self.register(Histogram::with_opts(options))
    }

    fn register<M>(&self, metric: prometheus::Result<M>) -> M
    where
        M: prometheus::core::Collector + Clone + 'static,
    {
        let metric = metric.expect("the name and the labels of a metric are valid");
        self.0.register(Box::new(metric.clone())).expect("no two metrics have one name");
        metric
    }
}

/// The outcome of a resume that found everything; the others are the reasons of a reset.
pub const RECOVERED: &str = "recovered";

/// Seconds.
const AGES: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_noticed_is_in_the_text() {
        let observer = Observer::default();
        let opened = Notice::ConnectionOpened(Transport::WebSocket);
        for notice in [
            opened,
            Notice::Refused(Refused::Attempts),
            Notice::CredentialRefused(&"expired"),
            Notice::Read { source: Source::Log, events: 3, age: Some(Duration::from_millis(3)) },
            Notice::Resumed("recovered"),
            Notice::Mode(Mode::Asleep),
            Notice::Following { again: false },
        ] {
            observer.note(&notice);
        }
        let text = observer.render(Vitals { subscriptions: 7, ..Vitals::default() });
        for line in [
            "rowcast_connections{transport=\"websocket\"} 1",
            "rowcast_refused_total{reason=\"attempts\"} 1",
            "rowcast_refused_total{reason=\"credential\"} 1",
            "rowcast_refused_total{reason=\"origin\"} 0",
            "rowcast_events_read_total{source=\"log\"} 3",
            "rowcast_event_read_age_seconds_bucket{le=\"0.005\"} 1",
            "rowcast_resumes_total{outcome=\"recovered\"} 1",
            "rowcast_reader_mode{mode=\"asleep\"} 1",
            "rowcast_reader_mode{mode=\"awake\"} 0",
            "rowcast_subscriptions 7",
            "rowcast_listening 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(!text.contains("expired"));
    }
}

//! Where log lines go and how they look.
//!
//! In: `[telemetry]` of the configuration. Out: a subscriber for the whole process, writing to standard
//! error. Invariant: in JSON and in the journal one event is one
//! line, whatever a value holds; what is secret never gets here,
//! since [`Secret`](crate::config::Secret) has no text.

mod journald;
pub mod metrics;
pub mod notice;
pub mod refusals;
pub mod vitals;

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tracing::Subscriber;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{LogFormat, TelemetryConfig};

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("telemetry.log_filter is no filter; write it like \"info,rowcast::hub=debug\"")]
    Filter(#[from] ParseError),
    #[error("logging was set up twice in one process")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
    #[error("logging was never set up")]
    Never(#[from] reload::Error),
}

/// Changes what is logged while the process runs.
pub struct Dial(reload::Handle<EnvFilter, Registry>);

impl Dial {
    pub fn turn(&self, config: &TelemetryConfig) -> Result<(), TelemetryError> {
        Ok(self.0.reload(filter(&config.log_filter)?)?)
    }
}

/// Call once, at the start of a command that runs for long.
pub fn init(config: &TelemetryConfig) -> Result<Dial, TelemetryError> {
    let surroundings = Surroundings::of_process();
    let format = resolve(config.log_format, &surroundings);
    let (filter, handle) = reload::Layer::new(filter(&config.log_filter)?);
    let lines = lines(format, surroundings.colour(), std::io::stderr);
    Registry::default().with(filter).with(lines).try_init()?;
    Ok(Dial(handle))
}

/// The filter that a text means, but for what other crates would tell of statements' values.
pub fn filter(text: &str) -> Result<EnvFilter, ParseError> {
    QUIET.iter().try_fold(EnvFilter::builder().parse(text)?, |filter, directive| {
        Ok(filter.add_directive(directive.parse()?))
    })
}

/// tokio-postgres prints the parameters of each statement at `debug`, claims of users among them.
const QUIET: [&str; 2] = ["tokio_postgres=info", "tokio_postgres::query=info"];

fn lines<S, W>(format: LogFormat, colour: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer);
    match format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Journald => layer.event_format(journald::Format).boxed(),
        LogFormat::Pretty | LogFormat::Auto => layer.with_ansi(colour).boxed(),
    }
}

/// A person at a terminal, the journal, or else a program that collects lines.
fn resolve(format: LogFormat, surroundings: &Surroundings) -> LogFormat {
    match format {
        LogFormat::Auto if surroundings.terminal => LogFormat::Pretty,
        LogFormat::Auto if surroundings.journal => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Json,
        chosen => chosen,
    }
}

/// What standard error is connected to.
struct Surroundings {
    terminal: bool,
    journal: bool,
    no_color: bool,
}

impl Surroundings {
    fn of_process() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            journal: std::env::var("JOURNAL_STREAM").is_ok_and(|stream| is_stderr(&stream)),
            // https://no-color.org: any value but an empty one.
            no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
        }
    }

    fn colour(&self) -> bool {
        self.terminal && !self.no_color
    }
}

/// `JOURNAL_STREAM` is inherited by children whose standard error was redirected, so systemd.exec(5)
/// has its device and inode compared.
fn is_stderr(stream: &str) -> bool {
    let Ok(stderr) = std::io::stderr().as_fd().try_clone_to_owned() else { return false };
    let Ok(status) = std::fs::File::from(stderr).metadata() else { return false };
    stream == format!("{}:{}", status.dev(), status.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = super::lines(format, false, move || writer.clone());
        let subscriber = Registry::default().with(EnvFilter::new("info")).with(layer);
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn auto_suits_whoever_reads() {
        let auto = |terminal, journal| {
            resolve(LogFormat::Auto, &Surroundings { terminal, journal, no_color: false })
        };
        assert_eq!(auto(true, false), LogFormat::Pretty);
        assert_eq!(auto(false, true), LogFormat::Journald);
        assert_eq!(auto(false, false), LogFormat::Json);
        let terminal = Surroundings { terminal: true, journal: false, no_color: true };
        assert_eq!(resolve(LogFormat::Json, &terminal), LogFormat::Json);
        assert!(!terminal.colour());
    }

    #[test]
    fn a_line_for_the_journal_has_its_priority_and_stays_one_line() {
        let text = logged(LogFormat::Journald, || {
            tracing::warn!(channel = "a\n<0>b\u{1b}[31m", "be\nware");
            tracing::error!("bad");
            tracing::debug!("left out");
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text:?}");
        assert!(lines[0].starts_with("<4>") && lines[0].contains("channel="), "{text:?}");
        assert!(lines[1].starts_with("<3>") && lines[1].ends_with("bad"), "{text:?}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn json_lines_are_json() {
        let text = logged(LogFormat::Json, || tracing::info!(channel = "a\nb", count = 3, "here"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["message"], &line["channel"]), (&"here".into(), &"a\nb".into()));
        assert_eq!((&line["level"], &line["count"]), (&"INFO".into(), &3.into()));
        assert_eq!(text.lines().count(), 1);
    }
}

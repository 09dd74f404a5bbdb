//! `[telemetry]`: what is logged, and in which form.

use super::Visitor;
use super::bounded::Choice;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryConfig {
    pub log_format: LogFormat,
    pub log_filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Auto,
    Pretty,
    Json,
    Journald,
}

impl TelemetryConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.section("telemetry", "What is logged, to standard error.");
        visitor.field("log_format", LOG_FORMAT, &mut Choice(&mut self.log_format, FORMATS));
        visitor.field("log_filter", LOG_FILTER, &mut self.log_filter);
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log_format: LogFormat::Auto, log_filter: "info".to_owned() }
    }
}

const FORMATS: &[(&str, LogFormat)] = &[
    ("auto", LogFormat::Auto),
    ("pretty", LogFormat::Pretty),
    ("json", LogFormat::Json),
    ("journald", LogFormat::Journald),
];

const LOG_FORMAT: &str =
    "pretty, json or journald; auto: pretty on a terminal, journald under systemd, else json.";
const LOG_FILTER: &str =
    "error, warn, info, debug or trace, also by room: \"info,rowcast::hub=debug\".";

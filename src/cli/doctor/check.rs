//! A question about the set-up, its answer, and the report they make.
//!
//! In: checks by group. Out: JSON, or text for a person. Invariant: what is not all right says how to mend it.

use std::fmt::Write as _;

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// It works, but not as well or as long as it should.
    Warning,
    /// Something does not work, or somebody gets what is not theirs.
    Failure,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    #[serde(rename = "check")]
    pub name: String,
    pub state: State,
    pub answer: String,
    /// A sentence, or the exact statement or command.
    pub mend: Option<String>,
}

impl Check {
    pub fn ok(name: impl Into<String>, answer: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Ok, answer: answer.into(), mend: None }
    }

    pub fn warning(
        name: impl Into<String>,
        answer: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { state: State::Warning, mend: Some(mend.into()), ..Self::ok(name, answer) }
    }

    pub fn failure(
        name: impl Into<String>,
        answer: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { state: State::Failure, ..Self::warning(name, answer, mend) }
    }
}

#[derive(Debug, Default)]
pub struct Report(Vec<(&'static str, Vec<Check>)>);

impl Report {
    pub fn group(&mut self, name: &'static str, checks: Vec<Check>) {
        self.0.push((name, checks));
    }

    pub fn failures(&self) -> usize {
        self.checks().filter(|check| check.state == State::Failure).count()
    }

    pub fn as_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&self.checks().collect::<Vec<_>>())
    }

    pub fn as_text(&self, colour: bool) -> String {
        let width = self.checks().map(|check| check.name.chars().count()).max().unwrap_or(0);
        let width = width.min(WIDEST);
        let mut text = String::new();
        for (name, checks) in self.0.iter().filter(|(_, checks)| !checks.is_empty()) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", painted(name, BOLD, colour));
            for check in checks {
                text.push_str(&line(check, width, colour));
            }
        }
        text
    }

    fn checks(&self) -> impl Iterator<Item = &Check> {
        self.0.iter().flat_map(|(_, checks)| checks)
    }
}

fn line(check: &Check, width: usize, colour: bool) -> String {
    let (sign, paint) = match check.state {
        State::Ok => ("✓", GREEN),
        State::Warning => ("!", YELLOW),
        State::Failure => ("✗", RED),
    };
    let sign = painted(sign, paint, colour);
    let mut text = format!("  {sign} {:width$}  {}\n", check.name, check.answer);
    if let Some(mend) = &check.mend {
        let mend = mend.replace('\n', "\n      ");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    → {mend}");
    }
    text
}

fn painted(text: &str, paint: &str, colour: bool) -> String {
    if colour { format!("\x1b[{paint}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Names of tables may be long; the answers of others shall stay in sight.
const WIDEST: usize = 24;

const BOLD: &str = "1";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.group("machine", vec![Check::ok("port", "free")]);
        report.group("nothing", Vec::new());
        report.group("role", vec![Check::failure("grants", "no usage", "grant it;")]);
        report
    }

    #[test]
    fn a_person_gets_groups_signs_and_mends() {
        let text = report().as_text(false);
        assert_eq!(
            text,
            "machine\n  ✓ port    free\nrole\n  ✗ grants  no usage\n    → grant it;\n"
        );
        assert!(report().as_text(true).contains("\x1b[31m✗\x1b[0m grants"));
    }

    #[test]
    fn a_program_gets_one_object_a_check() {
        let json: serde_json::Value = serde_json::from_str(&report().as_json().unwrap()).unwrap();
        assert_eq!(json[0]["mend"], serde_json::Value::Null);
        assert_eq!(json[1]["state"], "failure");
        assert_eq!((json.as_array().unwrap().len(), report().failures()), (2, 1));
    }
}

//! The steps of a decision, and the sentence they end with.
//!
//! In: what each step found. Out: JSON, or text for a person. Invariant: one no is a no.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    Yes,
    No,
    /// It decides nothing.
    Note,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    #[serde(rename = "step")]
    pub name: String,
    pub verdict: Finding,
    pub why: String,
}

#[derive(Debug, Default)]
pub struct Steps(Vec<Step>);

#[derive(Debug, Serialize)]
pub struct Answer {
    pub user: Option<String>,
    pub gets: bool,
    pub sentence: String,
    pub steps: Vec<Step>,
}

impl Steps {
    pub fn yes(&mut self, name: &str, why: &str) {
        self.add(name, Finding::Yes, why);
    }

    pub fn no(&mut self, name: &str, why: &str) {
        self.add(name, Finding::No, why);
    }

    pub fn note(&mut self, name: &str, why: &str) {
        self.add(name, Finding::Note, why);
    }

    fn add(&mut self, name: &str, verdict: Finding, why: &str) {
        self.0.push(Step { name: name.to_owned(), verdict, why: why.to_owned() });
    }

    /// The first no says why not; every yes says why.
    pub fn conclude(self, user: Option<&str>, what: &str) -> Answer {
        let refusal = self.0.iter().find(|step| step.verdict == Finding::No);
        let who =
            user.map_or_else(|| "Whoever holds this token".to_owned(), |id| format!("User {id}"));
        let reasons = |step: &Step| format!("{} {}", step.name, step.why);
        let sentence = match refusal {
            Some(step) => format!("{who} does not get {what}: {}.", reasons(step)),
            None => {
                let yes = self.0.iter().filter(|step| step.verdict == Finding::Yes);
                format!("{who} gets {what}: {}.", yes.map(reasons).collect::<Vec<_>>().join("; "))
            }
        };
        let gets = refusal.is_none();
        Answer { user: user.map(str::to_owned), gets, sentence, steps: self.0 }
    }
}

impl Answer {
    pub fn as_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    pub fn as_text(&self, colour: bool) -> String {
        let width = self.steps.iter().map(|step| step.name.chars().count()).max().unwrap_or(0);
        let lines = self.steps.iter().map(|step| {
            let (sign, paint) = match step.verdict {
                Finding::Yes => ("✓", "32"),
                Finding::No => ("✗", "31"),
                Finding::Note => ("·", "2"),
            };
            let sign = if colour { format!("\x1b[{paint}m{sign}\x1b[0m") } else { sign.to_owned() };
            format!("{sign} {:width$}  {}\n", step.name, step.why)
        });
        format!("{}{}", lines.collect::<String>(), self.sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_no_decides_and_the_sentence_names_it() {
        let mut steps = Steps::default();
        steps.note("channel", "a channel");
        steps.yes("policy 1", "allows it");
        let fine = Steps(steps.0.clone()).conclude(Some("7"), "orders:42");
        assert_eq!(fine.sentence, "User 7 gets orders:42: policy 1 allows it.");
        steps.no("event", "is for user 8 only");
        let refused = steps.conclude(Some("7"), "orders:42");
        assert_eq!(refused.sentence, "User 7 does not get orders:42: event is for user 8 only.");
        let text = refused.as_text(false);
        assert!(
            text.starts_with("· channel   a channel\n✓ policy 1  allows it\n✗ event"),
            "{text}"
        );
    }
}

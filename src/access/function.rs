//! The database's function that decides on channels, and what it said lately.
//!
//! In: claims, channels, an action. Out: verdicts. Invariant: a yes is kept no longer than configured, never past a
//! change of rights, and only so many are kept at all; a no is not kept, so that a right that is given counts at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::Rights;
use crate::domain::channel::Pattern;
use crate::domain::policy::{Action, Verdict};
use crate::domain::principal::Principal;
use crate::domain::rights::Version;
use crate::postgres::authorize::{AskError, Authorize};
use crate::telemetry::metrics::Observer;
use crate::telemetry::notice::Notice;

pub struct Function {
    database: Authorize,
    keep: Duration,
    allowed: Cache<Question, Answer>,
    /// Whether the last question went unanswered, so that a trouble is logged once.
    in_trouble: AtomicBool,
    observer: Observer,
}

/// Claims, action and channel, as a digest.
type Question = [u8; 32];

/// When somebody was allowed something.
#[derive(Clone)]
struct Answer {
    asked: Instant,
    version: Version,
}

impl Function {
    pub fn new(database: Authorize, keep: Duration, observer: Observer) -> Self {
        observer.note(&Notice::FunctionAnswers);
        let allowed = Cache::new(ANSWERS);
        Self { database, keep, allowed, in_trouble: AtomicBool::new(false), observer }
    }

    /// Asks once at the start, so that what is wrong with the function is in the log before a client comes.
    pub async fn check(&self) {
        let checked = self.database.resolve().await.map(|_name| ());
        self.tell(&checked);
    }

    pub(super) async fn ask(
        &self,
        principal: &Principal,
        channels: &[&Pattern],
        action: Action,
        version: Version,
        rights: &Rights,
    ) -> Vec<Verdict> {
        let claims = claims(principal);
        let channels: Vec<String> = channels.iter().map(ToString::to_string).collect();
        let questions: Vec<Question> =
            channels.iter().map(|channel| question(&claims, action, channel)).collect();
        let user = principal.user.as_deref();
        let is_known = |question: &Question| self.is_allowed(question, user, rights);
        let open: Vec<usize> =
            (0..channels.len()).filter(|at| !is_known(&questions[*at])).collect();
        let mut verdicts = vec![Verdict::Allowed; channels.len()];
        let asked: Vec<&str> = open.iter().map(|at| channels[*at].as_str()).collect();
        if asked.is_empty() {
            return verdicts;
        }
        let now = Instant::now();
        let answers = self.database.ask(&claims, &asked, action.name()).await;
        self.tell(&answers);
        let mut answers = answers.unwrap_or_default().into_iter();
        for at in open {
            verdicts[at] = match answers.next() {
                Some(true) => {
                    self.allowed.insert(questions[at], Answer { asked: now, version });
                    Verdict::Allowed
                }
                Some(false) => Verdict::Forbidden,
                None => Verdict::Undecided,
            };
        }
        verdicts
    }

    /// Whether that is known.
    fn is_allowed(&self, question: &Question, user: Option<&str>, rights: &Rights) -> bool {
        self.allowed.get(question).is_some_and(|answer| {
            rights.is_heard()
                && answer.asked.elapsed() < self.keep
                && !rights.changed_since(user, answer.version)
        })
    }

    fn tell<T>(&self, answers: &Result<T, AskError>) {
        let was_in_trouble = self.in_trouble.swap(answers.is_err(), Ordering::AcqRel);
        match answers {
            Err(error) if !was_in_trouble => {
                self.observer.note(&Notice::FunctionSilent(error));
            }
            Ok(_) if was_in_trouble => self.observer.note(&Notice::FunctionAnswers),
            _ => {}
        }
    }
}

/// As the token has them; nothing of somebody anonymous.
fn claims(principal: &Principal) -> String {
    serde_json::to_string(&principal.claims).unwrap_or_else(|_| "{}".to_owned())
}

fn question(claims: &str, action: Action, channel: &str) -> Question {
    // Neither JSON nor a channel has a zero byte, so no two questions are the same text.
    let text = format!("{claims}\0{}\0{channel}", action.name());
    let mut question = Question::default();
    question.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    question
}

/// About 100 bytes each.
const ANSWERS: usize = 100_000;

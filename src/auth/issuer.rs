//! The issuer's keys that are in force, and how they are kept fresh.
//!
//! In: time that passes, and tokens whose key is unknown. Out: keys. Invariant: one question is under way at a time;
//! what cannot be fetched or understood changes nothing.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use tokio::sync::watch;
use tokio::time::timeout;

use super::KeyFault;
use super::fetch::{FetchFault, Fetcher};
use super::jwk::{self, BadSet, KeySet};
use super::key::Key;
use super::pace::Pace;
use crate::config::JwksUrl;

pub(super) struct Issuer {
    fetcher: Fetcher,
    algorithms: Vec<Algorithm>,
    pace: Pace,
    state: watch::Sender<State>,
}

struct State {
    keys: Arc<[Key]>,
    /// Whether the issuer is being asked, or about to be.
    asking: bool,
    asked_at: Instant,
    /// How often it has been asked to the end, with whatever outcome.
    rounds: u64,
}

/// What the last rounds brought, so that only what changes is told.
#[derive(Default)]
struct Memory {
    failing: bool,
    answer: Option<Bytes>,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("it did not answer within {} s", .0.deadline.as_secs_f64())]
    Late(Pace),
    #[error(transparent)]
    Fetch(#[from] FetchFault),
    #[error(transparent)]
    Set(#[from] BadSet),
}

impl Issuer {
    pub fn new(url: &JwksUrl, algorithms: &[Algorithm], pace: Pace) -> Result<Self, KeyFault> {
        let fetcher = Fetcher::new(url)?;
        let is_public = |name: &Algorithm| name.family() != AlgorithmFamily::Hmac;
        let algorithms = algorithms.iter().copied().filter(is_public).collect();
        // Whoever comes before the first answer waits for it.
        let state = State { keys: [].into(), asking: true, asked_at: Instant::now(), rounds: 0 };
        Ok(Self { fetcher, algorithms, pace, state: watch::Sender::new(state) })
    }

    pub fn keys(&self) -> Arc<[Key]> {
        Arc::clone(&self.state.borrow().keys)
    }

    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// Has the issuer asked if that is due. True once it was asked since the call, or along with it.
    pub async fn ask(&self) -> bool {
        let mut state = self.state.subscribe();
        let Some(round) = self.join_round(Instant::now()) else { return false };
        let answered = state.wait_for(|state| state.rounds > round);
        timeout(self.pace.patience, answered).await.is_ok_and(|answered| answered.is_ok())
    }

    /// The round that is under way, or that is begun here if it may be.
    fn join_round(&self, now: Instant) -> Option<u64> {
        let mut round = None;
        self.state.send_if_modified(|state| {
            let begin = !state.asking && self.pace.may_ask(state.asked_at, now);
            if begin {
                (state.asking, state.asked_at) = (true, now);
            }
            round = state.asking.then_some(state.rounds);
            begin
        });
        round
    }

    pub async fn keep_fresh(&self) {
        let (mut memory, mut state) = (Memory::default(), self.state.subscribe());
        loop {
            self.state.send_modify(|state| (state.asking, state.asked_at) = (true, Instant::now()));
            let answer = self.answer(&memory).await;
            let good = answer.is_ok();
            let keys = memory.learn(answer);
            self.state.send_modify(|state| {
                state.keys = keys.unwrap_or_else(|| Arc::clone(&state.keys));
                (state.asking, state.rounds) = (false, state.rounds + 1);
            });
            let pause = self.pace.pause(good, chance());
            // Only a token that asks ends the pause early.
            let _ = timeout(pause, state.wait_for(|state| state.asking)).await;
        }
    }

    /// `None` where the answer is the last one again.
    async fn answer(&self, memory: &Memory) -> Result<Option<(Bytes, KeySet)>, Failure> {
        let answer = timeout(self.pace.deadline, self.fetcher.fetch()).await;
        let answer = answer.map_err(|_| Failure::Late(self.pace))??;
        if memory.answer.as_ref() == Some(&answer) {
            return Ok(None);
        }
        let set = jwk::read(&answer, &self.algorithms)?;
        Ok(Some((answer, set)))
    }
}

impl Memory {
    /// The keys that are in force from now on, where they change.
    fn learn(&mut self, answer: Result<Option<(Bytes, KeySet)>, Failure>) -> Option<Arc<[Key]>> {
        let failed_before = std::mem::replace(&mut self.failing, answer.is_err());
        match answer {
            Err(failure) => {
                if !failed_before {
                    tracing::warn!(reason = %failure, "the issuer's keys cannot be fetched; those it gave before stay in force");
                }
                None
            }
            Ok(None) => {
                if failed_before {
                    tracing::info!("the issuer's keys can be fetched again");
                }
                None
            }
            Ok(Some((answer, set))) => {
                report(&set);
                self.answer = Some(answer);
                Some(set.keys.into())
            }
        }
    }
}

fn report(set: &KeySet) {
    let ignored = set.ignored.join("; ");
    tracing::info!(keys = set.keys.len(), ignored, "the issuer's keys are in force");
    if set.beyond > 0 {
        tracing::warn!(
            ignored = set.beyond,
            "the issuer has too many keys; the last ones are not used"
        );
    }
    if set.keys.is_empty() {
        tracing::warn!("the issuer has no key that can be used, so none of its tokens is accepted");
    }
}

/// The middle where there is no randomness: a jitter is no reason to fail.
fn chance() -> u8 {
    let mut byte = [128];
    let _ = aws_lc_rs::rand::fill(&mut byte);
    byte[0]
}

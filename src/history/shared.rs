//! Questions that are asked of the log at the moment, and by whom.
//!
//! In: questions and who asks them. Out: whether a question has to be asked; all who wait for its answer. Invariant: the
//! same question is asked once at a time, and whoever asked it meanwhile is answered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hub::{Question, Reply};

/// Clones share it.
#[derive(Clone, Default)]
pub(super) struct Asked(Arc<Mutex<HashMap<Question, Vec<Reply>>>>);

impl Asked {
    /// Whether nobody else has asked this and waits for the answer.
    pub(super) fn add(&self, question: &Question, reply: Reply) -> bool {
        let mut asked = self.lock();
        if let Some(others) = asked.get_mut(question) {
            others.push(reply);
            return false;
        }
        asked.insert(question.clone(), vec![reply]);
        true
    }

    /// Who waits for the answer; whoever asks from now on asks anew.
    pub(super) fn take(&self, question: &Question) -> Vec<Reply> {
        self.lock().remove(question).unwrap_or_default()
    }

    /// A map is whole between any two of these steps.
    fn lock(&self) -> MutexGuard<'_, HashMap<Question, Vec<Reply>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

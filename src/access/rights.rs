//! When rights have changed, for everybody on this node who has to know.
//!
//! In: changes, heard from the database. Out: versions. Invariant: an answer that is older than a change is never used
//! after it, and while changes can't be heard no answer is kept.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use tokio::sync::{Mutex, MutexGuard, watch};

use crate::domain::rights::{Changes, Version, Whose};

pub struct Rights {
    changes: RwLock<Changes>,
    /// Told only once the hub holds back what those concerned may have lost.
    announced: watch::Sender<Version>,
    is_heard: AtomicBool,
    turn: Mutex<()>,
}

/// A change that is in force here and not yet announced.
pub struct Change<'a> {
    rights: &'a Rights,
    version: Version,
    _turn: MutexGuard<'a, ()>,
}

impl Change<'_> {
    /// Has every session concerned judged again.
    pub fn announce(self) {
        self.rights.announced.send_replace(self.version);
    }
}

impl Default for Rights {
    fn default() -> Self {
        let (announced, _) = watch::channel(0);
        Self {
            changes: RwLock::default(),
            announced,
            is_heard: AtomicBool::new(false),
            turn: Mutex::default(),
        }
    }
}

impl Rights {
    /// From now on answers of before count for nothing. One change at a time.
    pub async fn change(&self, whose: Whose) -> Change<'_> {
        let turn = self.turn.lock().await;
        let version = self.changes.write().unwrap_or_else(PoisonError::into_inner).note(whose);
        Change { rights: self, version, _turn: turn }
    }

    /// Resolves each time rights have changed.
    pub fn follow(&self) -> watch::Receiver<Version> {
        self.announced.subscribe()
    }

    pub fn version(&self) -> Version {
        self.changes.read().unwrap_or_else(PoisonError::into_inner).version()
    }

    pub fn changed_since(&self, user: Option<&str>, version: Version) -> bool {
        self.changes.read().unwrap_or_else(PoisonError::into_inner).concern(user, version)
    }

    /// Whether the database's word that something has changed arrives here.
    pub fn set_heard(&self, is_heard: bool) {
        self.is_heard.store(is_heard, Ordering::Release);
    }

    pub fn is_heard(&self) -> bool {
        self.is_heard.load(Ordering::Acquire)
    }
}

//! Rights that change while clients are connected.
//!
//! In: what the database says of them. Out: changes for the hub and the sessions. Invariant: what is read of the log
//! after a change is delivered only to those who were judged since.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::access::Rights;
use crate::admission::Revocations;
use crate::domain::rights::Whose;
use crate::hub::Hub;
use crate::postgres::listener::{ListenError, Listener, RightsChanged};
use crate::postgres::revocations::Horizon;

pub struct RightsWatch {
    rights: Arc<Rights>,
    revocations: Arc<Revocations>,
    /// How far revocations were read.
    horizon: Mutex<Horizon>,
    /// Whether the application's function is asked, whose answers change.
    is_asked: bool,
}

impl RightsWatch {
    pub fn new(rights: Arc<Rights>, revocations: Arc<Revocations>, is_asked: bool) -> Self {
        Self { rights, revocations, horizon: Mutex::default(), is_asked }
    }

    pub(super) const fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// From now on nothing is heard.
    pub(super) fn deaf(&self) {
        self.rights.set_heard(false);
    }

    /// From now on everything is heard; what was not meanwhile is made up for.
    pub(super) async fn begin(&self, hub: &Hub, listener: &Listener) -> Result<(), ListenError> {
        // Another database numbers its transactions anew.
        *self.horizon() = Horizon::default();
        self.rights.set_heard(true);
        let judged = self.is_asked.then_some(Whose::Everyone).into_iter().collect();
        self.change(hub, listener, RightsChanged { judged, revoked: true }).await
    }

    pub(super) async fn change(
        &self,
        hub: &Hub,
        listener: &Listener,
        changed: RightsChanged,
    ) -> Result<(), ListenError> {
        if changed.revoked {
            let since = self.horizon().clone();
            let (found, horizon) = listener.revocations(&since).await?;
            *self.horizon() = horizon;
            for whose in self.revocations.add(found) {
                hub.change_rights(&self.rights, whose).await;
            }
        }
        if self.is_asked {
            for whose in changed.judged {
                hub.change_rights(&self.rights, whose).await;
            }
        }
        Ok(())
    }

    fn horizon(&self) -> MutexGuard<'_, Horizon> {
        self.horizon.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

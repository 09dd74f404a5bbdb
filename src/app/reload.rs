//! A changed configuration, applied to a daemon that runs.
//!
//! In: a [`Config`] without faults. Out: policies, keys, origins and limits as it has them. Invariant: it is applied as
//! a whole or not at all, and no connection ends but by what it says.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::{Daemon, StartError, options, origins};
use crate::auth::Authenticator;
use crate::config::Config;
use crate::domain::rights::Whose;
use crate::session::{Services, Share};
use crate::transport::gate::Gate;
use crate::transport::origin::Origins;

/// What may change while the daemon runs.
pub(super) struct Reloaded {
    pub services: Arc<Services>,
    pub origins: Arc<ArcSwap<Origins>>,
    pub gate: Arc<Gate>,
    /// Keeps the issuer's keys fresh.
    pub issuer: Mutex<JoinHandle<()>>,
}

impl Daemon {
    /// Every subscription is judged again by the new policies; sessions keep the limits they began with.
    pub async fn reload(&self, config: &Config) -> Result<(), StartError> {
        let Reloaded { services, origins: current, gate, issuer } = &self.reloaded;
        let (authenticator, origins) = (Authenticator::new(&config.auth)?, origins(config)?);
        let mut issuer = issuer.lock().await;
        services.admission.set_authenticator(authenticator, config.auth.ticket_life);
        issuer.abort();
        *issuer = tokio::spawn(services.admission.keep_fresh());
        current.store(Arc::new(origins));
        gate.set_rules(options::rules(config));
        gate.set_connections(options::connections(config));
        self.hub.set_queue_bytes(options::hub_options(config).queue_bytes).await;
        services.seats.set_most(config.limits.connections_per_user);
        services.options.store(Arc::new(options::session_options(config)));
        services.share.store(Arc::new(Share::new(options::messages_per_minute(config))));
        services.access.set_policies(config.policies.clone());
        self.hub.change_rights(&services.rights, Whose::Everyone).await;
        Ok(())
    }
}

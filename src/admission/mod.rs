//! Who somebody is: a credential becomes a [`Principal`], or counts for nothing.
//!
//! In: a JWT or a ticket, and the place where it was found. Out: whom it speaks for, or a [`Refusal`] whose reason is
//! for the log only. Invariant: what was revoked is refused from the moment this node knows of it.

mod revocations;
mod tickets;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use crate::auth::{Authenticator, Place, TokenRefusal};
use crate::domain::principal::Principal;
use crate::postgres::pool::Unanswered;
use crate::telemetry::notice::Notice;

pub use revocations::Revocations;
pub use tickets::{Ticket, Tickets};

pub struct Admission {
    authenticator: ArcSwap<Authenticator>,
    tickets: Tickets,
    revocations: Arc<Revocations>,
}

/// Why a credential was refused. For the log: the client is told nothing but that.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    #[error("no ticket of this service, or one that was used or is too old")]
    Ticket,
    #[error("revoked")]
    Revoked,
    #[error("tickets can't be looked up: {0}")]
    Unavailable(#[from] Unanswered),
}

impl Refusal {
    pub fn notice(&self) -> Notice<'_> {
        match self {
            Self::Unavailable(error) => Notice::CredentialUnknown(error),
            Self::Token(_) | Self::Ticket | Self::Revoked => Notice::CredentialRefused(self),
        }
    }
}

impl Admission {
    pub fn new(
        authenticator: Authenticator,
        tickets: Tickets,
        revocations: Arc<Revocations>,
    ) -> Self {
        Self { authenticator: ArcSwap::from_pointee(authenticator), tickets, revocations }
    }

    /// From the next credential on; tickets live so long from now on.
    pub fn set_authenticator(&self, authenticator: Authenticator, ticket_life: Duration) {
        self.authenticator.store(Arc::new(authenticator));
        self.tickets.set_life(ticket_life);
    }

    /// Keeps the keys in force fresh for as long as it is polled.
    pub fn keep_fresh(&self) -> impl Future<Output = ()> + Send + use<> {
        self.authenticator.load().keep_fresh()
    }

    pub async fn identify(&self, credential: &str, place: Place) -> Result<Principal, Refusal> {
        let now = SystemTime::now();
        let principal = match Ticket::parse(credential) {
            Some(ticket) => {
                let claims = self.tickets.redeem(&ticket).await?.ok_or(Refusal::Ticket)?;
                self.authenticator.load().admit(claims, now)?
            }
            None => {
                let authenticator = self.authenticator.load_full();
                authenticator.authenticate(credential, place, now).await?
            }
        };
        self.check_revoked(principal)
    }

    /// The same for a token alone: a ticket is not exchanged for another one.
    pub async fn identify_token(&self, token: &str, place: Place) -> Result<Principal, Refusal> {
        let now = SystemTime::now();
        let authenticator = self.authenticator.load_full();
        self.check_revoked(authenticator.authenticate(token, place, now).await?)
    }

    /// Who connects without any credential, where the configuration allows that.
    pub fn anonymous(&self) -> Option<Principal> {
        self.authenticator.load().anonymous()
    }

    /// A ticket for whoever holds this principal's token, and how long it is good.
    pub async fn issue_ticket(&self, principal: &Principal) -> Result<(String, Duration), Refusal> {
        Ok(self.tickets.issue(principal).await?)
    }

    pub fn is_revoked(&self, principal: &Principal) -> bool {
        self.revocations.cover(principal)
    }

    fn check_revoked(&self, principal: Principal) -> Result<Principal, Refusal> {
        if self.is_revoked(&principal) { Err(Refusal::Revoked) } else { Ok(principal) }
    }
}

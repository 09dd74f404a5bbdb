//! Tickets: credentials for a URL, good once, for seconds, at any node.
//!
//! In: the claims of a good token. Out: a ticket that stands for them. Invariant: what was not issued here is told
//! apart without asking the database, and what was is good for one use.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::Refusal;
use crate::domain::principal::Principal;
use crate::postgres::identity::Identity;
use crate::postgres::pool::Unanswered;
use crate::postgres::tickets::TicketTable;

pub struct Tickets {
    table: TicketTable,
    /// Has the key that every node of the database shares.
    identity: watch::Receiver<Option<Arc<Identity>>>,
    life: ArcSwap<Duration>,
}

/// What has the form of a ticket: a random part, and the seal that some node put on it.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    random: [u8; RANDOM_BYTES],
    seal: [u8; SEAL_BYTES],
}

impl Tickets {
    pub fn new(
        table: TicketTable,
        identity: watch::Receiver<Option<Arc<Identity>>>,
        life: Duration,
    ) -> Self {
        Self { table, identity, life: ArcSwap::from_pointee(life) }
    }

    pub(super) fn set_life(&self, life: Duration) {
        self.life.store(Arc::new(life));
    }

    pub(super) async fn issue(
        &self,
        principal: &Principal,
    ) -> Result<(String, Duration), Unanswered> {
        let identity = self.identity.borrow().clone().ok_or(Unanswered::Silent)?;
        let mut random = [0; RANDOM_BYTES];
        aws_lc_rs::rand::fill(&mut random)
            .expect("the system's source of randomness never fails here");
        let ticket = Ticket { random, seal: seal(&identity, &random) };
        let claims = Value::Object(principal.claims.clone()).to_string();
        let life = **self.life.load();
        self.table.issue(&ticket.hash(), &claims, life).await?;
        Ok((ticket.text(), life))
    }

    /// The claims that it stands for; `None` where it does not, any more.
    pub(super) async fn redeem(
        &self,
        ticket: &Ticket,
    ) -> Result<Option<Map<String, Value>>, Refusal> {
        let identity = self.identity.borrow().clone().ok_or(Unanswered::Silent)?;
        let sealed = seal(&identity, &ticket.random);
        if aws_lc_rs::constant_time::verify_slices_are_equal(&sealed, &ticket.seal).is_err() {
            return Ok(None);
        }
        let claims = self.table.redeem(&ticket.hash()).await?;
        Ok(claims.and_then(|claims| serde_json::from_str(&claims).ok()))
    }
}

impl Ticket {
    /// `None` for what can't be one: a JWT has dots.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != TEXT_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (random, seal) = bytes.split_first_chunk()?;
        Some(Self { random: *random, seal: seal.try_into().ok()? })
    }

    fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode([self.random.as_slice(), self.seal.as_slice()].concat())
    }

    /// What the database knows it by.
    fn hash(&self) -> Vec<u8> {
        digest(&SHA256, &self.random).as_ref().to_vec()
    }
}

fn seal(identity: &Identity, random: &[u8]) -> [u8; SEAL_BYTES] {
    let mut seal = [0; SEAL_BYTES];
    seal.copy_from_slice(&identity.seal(random).as_ref()[..SEAL_BYTES]);
    seal
}

/// 128 bits: nobody guesses one in its lifetime.
const RANDOM_BYTES: usize = 16;

/// Enough to keep the database out of the reach of those who only try.
const SEAL_BYTES: usize = 8;

/// 24 bytes in base64.
const TEXT_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_survives_as_text_and_nothing_else_is_one() {
        let ticket = Ticket { random: [7; RANDOM_BYTES], seal: [9; SEAL_BYTES] };
        assert_eq!(Ticket::parse(&ticket.text()), Some(ticket));
        for other in
            ["", "a.b.c", &"é".repeat(16), &"=".repeat(32), &"a".repeat(31), &"a".repeat(33)]
        {
            assert_eq!(Ticket::parse(other), None, "{other}");
        }
    }
}

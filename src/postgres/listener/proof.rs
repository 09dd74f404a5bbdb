//! Proves that notifications arrive.
//!
//! In: another connection to the same database. Out: yes, or the error that names what is in the way. Invariant: no
//! notification that arrives meanwhile is lost.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::Client;

use super::{ListenError, Listener, SILENCE, Signal};
use crate::postgres::connect::Target;

impl Listener {
    /// Sends a word on the channel from the other connection and waits until it is heard. A pooler that hands the
    /// LISTEN to one server session and the next statement to another answers everything and delivers nothing.
    pub async fn prove(&mut self, from: &Client, target: &Target) -> Result<(), ListenError> {
        self.keep_limits(target).await?;
        let word = word();
        // Simple protocol: this connection may go through a pooler, which is fine.
        from.batch_execute(&format!("select pg_notify('rowcast', '{word}')")).await?;
        let due = Instant::now() + PROOF;
        let mut woken = false;
        let mut early = VecDeque::new();
        let heard = loop {
            match timeout_at(due, self.next()).await {
                Ok(Signal::Notified(payload)) if payload == word => break Ok(()),
                Ok(Signal::Notified(payload)) => early.push_back(payload),
                Ok(Signal::Woken | Signal::Released | Signal::Overrun) => woken = true,
                // Rights are looked at as a whole once the connection counts.
                Ok(Signal::RightsChanged) => drop(self.take_rights()),
                Ok(Signal::Lost) => break Err(ListenError::Silent),
                Err(_due) => break Err(self.unheard(target).await),
            }
        };
        self.early = early;
        if woken {
            self.shared.woken.store(true, std::sync::atomic::Ordering::Release);
        }
        heard
    }

    /// Only a line that answers can be blamed for what it keeps back.
    async fn unheard(&self, target: &Target) -> ListenError {
        match timeout(SILENCE, self.client.simple_query("")).await {
            Ok(Ok(_)) => ListenError::Deaf(target.to_string()),
            _ => ListenError::Silent,
        }
    }

    /// Sets the limit that ends the session of a frozen daemon where a pooler has dropped it on the way.
    async fn keep_limits(&self, target: &Target) -> Result<(), ListenError> {
        if !target.sets("tcp_user_timeout") {
            self.client.batch_execute(KEEP_LIMITS).await?;
        }
        Ok(())
    }
}

/// No other node takes it for an event, which begins with `1` and is signed.
fn word() -> String {
    let mut bytes = [0u8; 12];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's source of randomness never fails here");
    bytes.iter().fold("?".to_owned(), |word, byte| format!("{word}{byte:02x}"))
}

/// Means nothing on a Unix socket, where it stays 0.
const KEEP_LIMITS: &str = "\
select set_config('tcp_user_timeout', '5000', false)
 where current_setting('tcp_user_timeout') = '0'
   and inet_client_addr() is not null";

const PROOF: Duration = Duration::from_secs(2);

//! A session's handle to its place in the hub.
//!
//! In: what the session wants written or changed. Out: commands, in the order given. Invariant: dropping the
//! handle takes the subscriber out of the hub.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::shard::{Command, Key, Past};
use crate::domain::channel::Pattern;
use crate::domain::close::CloseReason;
use crate::domain::message::Reference;
use crate::domain::rights::Version;

pub struct Subscriber {
    commands: mpsc::Sender<Command>,
    key: Key,
}

impl Subscriber {
    pub(super) const fn new(commands: mpsc::Sender<Command>, key: Key) -> Self {
        Self { commands, key }
    }

    /// Names the user whose events with an audience this subscriber gets. Comes before the first subscription.
    pub async fn identify(&self, user: Option<Arc<str>>) {
        self.command(Command::Identify { key: self.key, user }).await;
    }

    pub async fn send(&self, frame: Bytes) {
        self.command(Command::Send { key: self.key, frame }).await;
    }

    /// Registers the subscription and answers `ok` in one step, so that nothing committed from then on is missed;
    /// what is asked for of the past comes first.
    ///
    /// `judged` is the version of rights at which it was allowed.
    pub async fn subscribe(
        &self,
        pattern: Pattern,
        reference: Option<Reference>,
        past: Past,
        judged: Version,
    ) {
        self.command(Command::Subscribe { key: self.key, pattern, reference, past, judged }).await;
    }

    /// Everything this subscriber is still subscribed to was judged again, at this version of rights.
    pub async fn go_on(&self, judged: Version) {
        self.command(Command::GoOn { key: self.key, judged }).await;
    }

    pub async fn unsubscribe(&self, pattern: Pattern) {
        self.command(Command::Unsubscribe { key: self.key, pattern }).await;
    }

    /// Writes what is queued, then the close frame.
    pub async fn close(&self, reason: CloseReason) {
        self.command(Command::Close { key: self.key, reason }).await;
    }

    async fn command(&self, command: Command) {
        // The hub outlives its sessions; without it there is nobody left to tell.
        let _ = self.commands.send(command).await;
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let leave = Command::Leave { key: self.key };
        if let Err(mpsc::error::TrySendError::Full(leave)) = self.commands.try_send(leave) {
            let commands = self.commands.clone();
            tokio::spawn(async move { commands.send(leave).await });
        }
    }
}

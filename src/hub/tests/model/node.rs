//! A node: a hub, and how it reads what is committed.

use std::sync::Arc;

use super::log::{ModelLog, Row, events, token};
use crate::domain::event::Batch;
use crate::domain::position::Position;
use crate::domain::rights::Version;
use crate::domain::snapshot::Snapshot;
use crate::hub::{History, Hub, HubOptions};
use crate::telemetry::metrics::Observer;

pub(super) struct Node {
    pub(super) hub: Hub,
    pub(super) position: Position,
    /// The rest of a run that was read in part.
    pub(super) rest: Vec<Row>,
    /// How often rights have changed here.
    pub(super) rights: Version,
    options: HubOptions,
    log: Arc<ModelLog>,
}

impl Node {
    pub(super) fn start(options: HubOptions, log: ModelLog) -> Self {
        let log = Arc::new(log);
        let position = Position::complete(Arc::new(Snapshot::below(1)));
        let hub = Hub::start(options, Observer::default());
        Self { hub, position, rest: Vec::new(), rights: 0, options, log }
    }

    pub(super) async fn begin(&self, past: Vec<Batch>) {
        let history = Arc::clone(&self.log) as Arc<dyn History>;
        self.hub.begin(past, history, None).await;
    }

    /// Another begins with the newest of the log, as `ingest` would.
    pub(super) async fn restart(&mut self, now: &Snapshot, recent: usize) {
        self.hub = Hub::start(self.options, Observer::default());
        (self.rest, self.rights) = (Vec::new(), 0);
        let base = now.cut(self.log.recent(recent));
        self.position = Position::complete(Arc::new(base));
        let mut past = vec![beginning(&self.position)];
        while let Some(batch) = self.next_batch(now, 5) {
            past.push(batch);
        }
        self.begin(past).await;
    }

    pub(super) async fn read(&mut self, now: &Snapshot, size: usize) {
        if let Some(batch) = self.next_batch(now, size) {
            self.hub.publish(batch).await;
        }
    }

    /// A batch, as `postgres::event_log` would read it.
    fn next_batch(&mut self, now: &Snapshot, size: usize) -> Option<Batch> {
        if self.position.is_complete() {
            let before = Arc::clone(&self.position.upto);
            let upto = Arc::new(now.cut(self.log.end().max(before.xmax())));
            if upto == before {
                return None;
            }
            self.rest = self.log.between(&before, &upto);
            self.position = Position { before, upto, last: 0 };
        }
        let run = self.position.clone();
        let rest = self.rest.split_off(size.min(self.rest.len()));
        let batch = std::mem::replace(&mut self.rest, rest);
        let is_last = self.rest.is_empty();
        self.position = match batch.last() {
            Some(row) if !is_last => Position { last: row.logged.id, ..run.clone() },
            _ => Position::complete(Arc::clone(&run.upto)),
        };
        let (events, position) = (events(&run, &batch, is_last), self.position.clone());
        let token = token(&position);
        Some(Batch { events, position, token })
    }
}

/// Where a reader begins: nothing, in front of everything.
pub(super) fn beginning(position: &Position) -> Batch {
    let position = position.clone();
    let token = token(&position);
    Batch { events: Vec::new(), position, token }
}

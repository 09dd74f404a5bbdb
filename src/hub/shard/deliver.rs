//! From a batch to the outboxes of its subscribers.
//!
//! In: batches in commit order. Out: frames queued, the recent past. Invariant: work is proportional to the
//! subscribers that an event reaches, and nothing is encoded or allocated for each of them.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use super::super::fanout::Frames;
use super::Shard;
use super::member::Feed;
use crate::domain::event::{Batch, Event};
use crate::domain::position::Position;

impl Shard {
    pub(super) fn publish(&mut self, batch: &Batch) {
        let run = self.run_of(batch);
        for event in &batch.events {
            self.deliver(event, Some(&run));
        }
        self.note_time(batch.events.len());
        self.remember(batch);
        self.published.captured = batch.events.last().and_then(|event| captured(event));
    }

    pub(super) fn remember(&mut self, batch: &Batch) {
        self.recent.push(batch);
        self.position = Some((batch.position.clone(), batch.token.clone()));
        let waited = std::mem::take(&mut self.ahead);
        self.turns.extend(waited);
    }

    pub(super) fn publish_unlogged(&mut self, events: &[Event]) {
        for event in events {
            self.deliver(event, None);
            if self.catching_up > 0 {
                self.note_unlogged(event);
            }
        }
        self.note_time(events.len());
    }

    fn note_time(&mut self, events: usize) {
        if events > 0 {
            self.last_event = Some(Instant::now());
        }
    }

    /// The run that a batch is a part of; the batch itself names only its end.
    fn run_of(&self, batch: &Batch) -> Position {
        let before = match &self.position {
            Some((last, _)) if last.is_complete() => &last.upto,
            Some((last, _)) => &last.before,
            None => &batch.position.before,
        };
        Position { before: Arc::clone(before), ..batch.position.clone() }
    }

    fn deliver(&mut self, event: &Event, run: Option<&Position>) {
        let mut overflowed = Vec::new();
        for channel in &event.channels {
            let number = self.next_number();
            let mut frames = Frames::new(event, channel, run);
            let Self { routes, subscribers, dirty, burst, published, .. } = self;
            routes.visit(channel, event.audience.as_deref(), |slot| {
                let subscriber = &mut subscribers[slot];
                if subscriber.delivery == number || subscriber.state.is_closing() {
                    return;
                }
                subscriber.delivery = number;
                published.frames += 1;
                let frame = frames.frame(subscriber.wire, burst);
                if !subscriber.push_live(frame, burst) {
                    overflowed.push(slot);
                }
                subscriber.mark(slot, dirty);
            });
        }
        for slot in overflowed {
            self.lag(slot);
        }
    }

    /// Those who are being caught up don't get it, and no log will bring it to them.
    fn note_unlogged(&mut self, event: &Event) {
        let subscribers = self.subscribers.iter_mut().map(|(_, subscriber)| subscriber);
        for subscriber in subscribers.filter(|subscriber| !subscriber.catch_ups.is_empty()) {
            if !event.is_for(subscriber.user.as_deref()) {
                continue;
            }
            for held in &mut subscriber.subscriptions {
                if let Feed::CatchingUp { missed_unlogged, .. } = &mut held.feed {
                    *missed_unlogged |= event.channels.iter().any(|c| held.pattern.covers(c));
                }
            }
        }
    }
}

fn captured(event: &Event) -> Option<SystemTime> {
    humantime::parse_rfc3339(&event.at).ok()
}

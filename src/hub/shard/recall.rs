//! Catching up from memory.
//!
//! In: a place that the recent past reaches back to. Out: pages of what followed. Invariant: each event comes once and
//! with an id that is good from that place on, also where the place is another node's.

use bytes::Bytes;
use tokio::time::Instant;

use super::super::ring::Stretch;
use super::{Key, Shard};
use crate::domain::past::{Only, Survey, Wanted};
use crate::domain::position::Position;
use crate::protocol::Wire;

impl Shard {
    pub(super) fn recall(&mut self, key: Key, ticket: u64, position: Position) -> usize {
        let subscriber = &self.subscribers[key.slot];
        let (wanted, wire) = (subscriber.wanted(ticket), subscriber.wire);
        let mut work = 0;
        let Some(catch_up) = self.active(key, ticket) else { return 0 };
        let compact = catch_up.compact;
        if let Some(owed) = catch_up.owed.take() {
            let surveyed = self.survey(&wanted, &position, compact, &mut work);
            let at = match &owed.after {
                _ if surveyed.messages == 0 => self.here(),
                Some(after) => Some(after.clone()),
                None => self.id(&position),
            };
            self.answer(key.slot, owed, at, surveyed.messages);
            if let Some(catch_up) = self.active(key, ticket) {
                catch_up.only = surveyed.only;
            }
        }
        let Some(only) = self.active(key, ticket).map(|catch_up| catch_up.only.take()) else {
            return work;
        };
        let part = self.part(&wanted, wire, position, only.as_ref());
        work += part.work;
        if part.is_filled {
            self.crowd.used = Instant::now();
        }
        self.send_page(key, ticket, part.frames, part.position, only);
        if part.is_all {
            self.go_live(key.slot, ticket);
        }
        work
    }

    fn survey(
        &self,
        wanted: &Wanted,
        position: &Position,
        compact: bool,
        work: &mut usize,
    ) -> Survey {
        let mut upto = position.clone();
        let mut found = Vec::new();
        while let Some(stretch) = self.recent.stretch(&upto) {
            *work += stretch.events.len();
            found
                .extend(stretch.events.into_iter().filter(|e| wanted.channels(e).next().is_some()));
            upto = stretch.end;
        }
        Survey::of(found, wanted, compact, &upto)
    }

    /// What memory holds behind a position, up to a page of it.
    fn part(
        &mut self,
        wanted: &Wanted,
        wire: &dyn Wire,
        mut position: Position,
        only: Option<&Only>,
    ) -> Part {
        let (mut frames, mut bytes, mut work, mut is_filled) = (Vec::new(), 0, 0, false);
        let is_crowd = self.catching_up > 1;
        while let Some(stretch) = self.recent.stretch(&position) {
            is_filled |= stretch.is_filled;
            for (at, event) in stretch.events.iter().enumerate() {
                work += 1;
                if only.is_some_and(|only| only.drops(event)) {
                    continue;
                }
                let before = frames.len();
                let history = self.history.as_ref();
                let id = |at| history.map(|history| history.id(&place(&stretch, at)));
                for channel in wanted.channels(event) {
                    frames.push(match (!stretch.is_own).then(|| id(at)).flatten() {
                        Some(foreign) => wire.change(event, &foreign, channel),
                        None if is_crowd => self.encoded.frame(event, channel, wire),
                        None => wire.change(event, &event.token, channel),
                    });
                }
                bytes += frames[before..].iter().map(Bytes::len).sum::<usize>();
                work += WORK_PER_FRAME * (frames.len() - before);
                if bytes >= PAGE_BYTES.min(self.options.queue_bytes / 2) {
                    let position = place(&stretch, at);
                    return Part { frames, position, is_all: false, is_filled, work };
                }
            }
            position = stretch.end;
        }
        Part { frames, position, is_all: true, is_filled, work }
    }
}

/// A page from memory.
struct Part {
    frames: Vec<Bytes>,
    position: Position,
    is_all: bool,
    is_filled: bool,
    work: usize,
}

/// The place behind an event of a stretch.
fn place(stretch: &Stretch<'_>, at: usize) -> Position {
    if at + 1 == stretch.events.len() {
        return stretch.end.clone();
    }
    let id = stretch.events[at].logged.map_or(0, |logged| logged.id);
    Position { last: id, ..stretch.run.clone() }
}

/// Encoding one costs about as much as looking at so many.
const WORK_PER_FRAME: usize = 20;

/// What a socket that is caught up may have waiting: each that is stuck costs this much memory.
const PAGE_BYTES: usize = 32 * 1024;

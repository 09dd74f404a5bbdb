//! What is committed, and how it is read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::domain::channel::Channel;
use crate::domain::event::{Batch, Event, Logged};
use crate::domain::message::ResetReason;
use crate::domain::past::{Backfill, Page, Start, Survey, divide};
use crate::domain::position::Position;
use crate::domain::snapshot::{Snapshot, Xid};
use crate::hub::{BackfillRequest, History, Request};

/// What is committed.
pub(super) type Log = Arc<Mutex<Vec<Row>>>;

#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) logged: Logged,
    pub(super) key: u64,
    pub(super) version: i32,
}

/// The log, read in pages of three.
pub(super) struct ModelLog {
    log: Log,
    pages: Arc<AtomicUsize>,
}

impl ModelLog {
    pub(super) fn new(log: &Log, pages: &Arc<AtomicUsize>) -> Self {
        Self { log: Arc::clone(log), pages: Arc::clone(pages) }
    }

    /// What became visible from one snapshot to the other.
    pub(super) fn between(&self, before: &Arc<Snapshot>, upto: &Arc<Snapshot>) -> Vec<Row> {
        let run = Position { before: Arc::clone(before), upto: Arc::clone(upto), last: 0 };
        unseen(&self.log.lock().unwrap(), &run)
    }

    /// Behind the newest transaction of all.
    pub(super) fn end(&self) -> Xid {
        let log = self.log.lock().unwrap();
        log.iter().map(|row| row.logged.xid + 1).max().unwrap_or(1)
    }

    /// Behind the newest transaction with an event that is not one of the last so many.
    pub(super) fn recent(&self, count: usize) -> Xid {
        let log = self.log.lock().unwrap();
        let mut xids: Vec<_> = log.iter().map(|row| row.logged.xid).collect();
        xids.sort_unstable();
        xids.iter().rev().nth(count).map_or(1, |xid| xid + 1)
    }

    /// What sees all that has no room.
    fn with_room(
        &self,
        from: &Snapshot,
        upto: &Arc<Snapshot>,
        mut room: usize,
    ) -> (Arc<Snapshot>, bool) {
        let before = Arc::new(from.meet(upto));
        let whole = Position { before, upto: Arc::clone(upto), last: 0 };
        let mut rows = self.between(&whole.before, upto);
        rows.sort_by_key(|row| std::cmp::Reverse((row.logged.xid, row.logged.id)));
        for row in rows {
            let weight = events(&whole, &[row], false)[0].weight();
            if weight > room {
                return (Arc::new(from.raised(row.logged.xid + 1).meet(upto)), true);
            }
            room -= weight;
        }
        (whole.before, false)
    }
}

impl History for ModelLog {
    fn read(&self, request: Request) {
        let Request { question, reply } = request;
        let Start::Behind(from) = &question.start else { unreachable!("nobody asks for it") };
        self.pages.fetch_add(1, Ordering::Relaxed);
        let log = self.log.lock().unwrap();
        let mut page = Page { from: from.clone(), events: Vec::new(), position: from.clone() };
        let mut messages = 0;
        let mut position = from.clone();
        while let Some(run) = position.towards(&question.upto) {
            let rows = unseen(&log, &run);
            messages += rows.len() as u64;
            if page.events.is_empty() {
                let is_last = rows.len() <= 3;
                let rows = &rows[..rows.len().min(3)];
                page.events = events(&run, rows, is_last);
                page.position = match rows.last() {
                    Some(row) if !is_last => Position { last: row.logged.id, ..run.clone() },
                    _ => Position::complete(Arc::clone(&run.upto)),
                };
            }
            position = Position::complete(run.upto);
        }
        let survey = question.survey.map(|_| Survey { messages, only: None });
        tokio::spawn(reply.page(Ok((page, survey))));
    }

    /// Some are answered late, when memory has moved on.
    fn backfill(&self, request: BackfillRequest) {
        let reads = self.pages.fetch_add(1, Ordering::Relaxed);
        let BackfillRequest { from, upto, room, reply } = request;
        let (from, is_from_chosen) = self.with_room(&from, &upto, room);
        let rows = self.between(&from, &upto);
        let logged: Vec<Logged> = rows.iter().map(|row| row.logged).collect();
        let (mut before, mut rows) = (Arc::clone(&from), &rows[..]);
        let mut runs = Vec::new();
        for (count, end) in divide(&from, &upto, &logged) {
            let (first, rest) = rows.split_at(count);
            rows = rest;
            let run = Position { before, upto: Arc::clone(&end), last: 0 };
            let position = Position::complete(Arc::clone(&end));
            let token = token(&position);
            runs.push(Batch { events: events(&run, first, true), position, token });
            before = end;
        }
        tokio::spawn(async move {
            for _ in 0..reads % 3 * 20 {
                tokio::task::yield_now().await;
            }
            reply.backfill(Ok(Backfill { from, is_from_chosen, runs, floor: 0 })).await;
        });
    }

    fn position(&self, id: &str) -> Result<Position, ResetReason> {
        Ok(position(id))
    }

    fn id(&self, position: &Position) -> Box<str> {
        token(position)
    }
}

pub(super) fn unseen(log: &[Row], run: &Position) -> Vec<Row> {
    let is_new =
        |row: &&Row| run.upto.sees(row.logged.xid) && !run.sees(row.logged.xid, row.logged.id);
    let mut rows: Vec<_> = log.iter().filter(is_new).copied().collect();
    rows.sort_by_key(|row| row.logged.id);
    rows
}

pub(super) fn events(run: &Position, rows: &[Row], is_last: bool) -> Vec<Arc<Event>> {
    let event = |(at, row): (usize, &Row)| {
        let place = if is_last && at + 1 == rows.len() {
            Position::complete(Arc::clone(&run.upto))
        } else {
            Position { last: row.logged.id, ..run.clone() }
        };
        let channels = ["all", &format!("row:{}", row.key)];
        let text = format!("{} {}", row.key, row.version);
        Arc::new(event(Some(row.logged), text, &channels, token(&place)))
    };
    rows.iter().enumerate().map(event).collect()
}

pub(super) fn event(
    logged: Option<Logged>,
    row: String,
    channels: &[&str],
    token: Box<str>,
) -> Event {
    Event {
        token,
        logged,
        at: "".into(),
        table: None,
        op: "update".into(),
        channels: channels.iter().map(|name| Channel::parse(name).unwrap()).collect(),
        audience: None,
        key: None,
        row: Some(row.into()),
        old: None,
        changed: None,
        user: None,
        origin: None,
        truncated: false,
    }
}

pub(super) fn token(position: &Position) -> Box<str> {
    let mut bytes = Vec::new();
    position.write(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

pub(super) fn position(token: &str) -> Position {
    let byte = |at: usize| u8::from_str_radix(&token[at..at + 2], 16).unwrap();
    Position::read(&(0..token.len()).step_by(2).map(byte).collect::<Vec<_>>()).unwrap()
}

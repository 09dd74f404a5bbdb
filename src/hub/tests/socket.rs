//! A socket that takes as much as it is told to, and a wire of plain lines.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::domain::channel::Channel;
use crate::domain::close::CloseReason;
use crate::domain::event::Event;
use crate::domain::message::{BadRequest, Request, ServerMessage};
use crate::hub::Sink;
use crate::protocol::Wire;

#[derive(Default)]
pub(super) struct Socket {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Bytes that it takes before it blocks; `None` is any number.
    room: Option<usize>,
    taken: Vec<u8>,
    is_over: bool,
    is_broken: bool,
}

impl Socket {
    pub(super) fn give_room(&self, room: Option<usize>) {
        self.state.lock().unwrap().room = room;
        self.changed.notify_waiters();
    }

    /// The line is cut: whoever writes is told so, and does not get rid of a byte more.
    pub(super) fn break_off(&self) {
        self.state.lock().unwrap().is_broken = true;
        self.changed.notify_waiters();
    }

    /// The whole lines that came since, with what is left of the last one kept for later.
    pub(super) fn take_lines(&self) -> Vec<String> {
        let mut state = self.state.lock().unwrap();
        let end = state.taken.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = state.taken.split_off(end);
        let lines = String::from_utf8(std::mem::replace(&mut state.taken, rest)).unwrap();
        lines.lines().map(str::to_owned).collect()
    }

    pub(super) fn is_over(&self) -> bool {
        self.state.lock().unwrap().is_over
    }

    /// Resolves when something has changed since; made before looking.
    pub(super) fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.changed.notified()
    }
}

impl Sink for Socket {
    fn try_write(&self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap();
        if state.is_broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let all: Vec<u8> = frames.iter().flat_map(|frame| frame.to_vec()).collect();
        let count = state.room.unwrap_or(usize::MAX).min(all.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.room = state.room.map(|room| room - count);
        state.taken.extend_from_slice(&all[..count]);
        self.changed.notify_waiters();
        Ok(count)
    }

    fn writable(&self) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>> {
        Box::pin(async {
            loop {
                let changed = self.changed.notified();
                let may_write = {
                    let state = self.state.lock().unwrap();
                    state.is_broken || state.room != Some(0)
                };
                if may_write {
                    return Ok(());
                }
                changed.await;
            }
        })
    }

    fn finish(&self) {}

    fn abort(&self) {
        self.state.lock().unwrap().is_over = true;
        self.changed.notify_waiters();
    }
}

/// `event CHANNEL KEY VERSION TOKEN`, `ok PATTERN POSITION`, `lagged PATTERN …`, `reset PATTERN REASON`.
pub(super) struct Lines;

impl Wire for Lines {
    fn slot(&self) -> usize {
        0
    }

    fn change(&self, event: &Event, id: &str, channel: &Channel) -> Bytes {
        let row = event.row.as_deref().unwrap_or("- 0");
        format!("event {channel} {row} {id}\n").into()
    }

    fn message(&self, message: &ServerMessage) -> Bytes {
        let line = match message {
            ServerMessage::Subscribed { pattern, position, recovered: true, .. } => {
                format!("ok {pattern} {}\n", position.as_deref().unwrap_or("-"))
            }
            ServerMessage::Lagged { pattern, position } => {
                format!("lagged {pattern} {}\n", position.as_deref().unwrap_or("-"))
            }
            ServerMessage::Reset { pattern, reason } => {
                format!("reset {pattern} {}\n", reason.as_str())
            }
            other => panic!("{other:?} is no message of this test"),
        };
        line.into()
    }

    fn ping(&self) -> Bytes {
        Bytes::new()
    }

    fn pong(&self, _: &[u8]) -> Bytes {
        Bytes::new()
    }

    fn close(&self, _: CloseReason) -> Bytes {
        Bytes::from_static(b"close\n")
    }

    fn decode(&self, _: &str) -> Result<Request, BadRequest> {
        unreachable!("nothing is read from these sockets")
    }
}

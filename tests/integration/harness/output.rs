//! What a program says line by line, for a test that waits for one of them.
//!
//! In: the reading end of a pipe. Out: lines, and the end. Invariant: it is read to its end, so the program never waits
//! for somebody to listen.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

pub struct Output(Receiver<String>);

impl Output {
    pub fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        thread::spawn(move || {
            let said = BufReader::new(pipe).lines().map_while(Result::ok);
            // Whoever waited for a line may have gone.
            said.for_each(|line| drop(sender.send(line)));
        });
        Self(lines)
    }

    /// The next line with this in it.
    pub fn line(&self, part: &str) -> String {
        let (due, mut before) = (Instant::now() + DEADLINE, Vec::new());
        loop {
            let line = self.0.recv_timeout(due.saturating_duration_since(Instant::now()));
            match line {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => before.push(line),
                Err(why) => panic!("no \"{part}\" ({why}) in {before:#?}"),
            }
        }
    }

    /// Once everybody who could have said more is gone; whether that was in time.
    pub fn ends(&self) -> bool {
        let due = Instant::now() + DEADLINE;
        while Instant::now() < due {
            let left = due.saturating_duration_since(Instant::now());
            if let Err(RecvTimeoutError::Disconnected) = self.0.recv_timeout(left) {
                return true;
            }
        }
        false
    }
}

/// Far beyond what a loaded machine needs.
const DEADLINE: Duration = Duration::from_secs(60);

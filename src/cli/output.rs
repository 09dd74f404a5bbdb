//! How a command speaks: data to standard output, talk to standard error.
//!
//! In: text and errors. Out: lines, and the exit code of a failure. Invariant: a reader that has gone
//! (`| head`) is no error.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

/// Why a command ended, and what to do next.
#[derive(Debug)]
pub struct Failure {
    message: String,
    next: Option<String>,
    code: u8,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), next: None, code: 1 }
    }

    /// What no single argument shows to be wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, ..Self::new(message) }
    }

    /// The same, with this before its message.
    #[must_use]
    pub fn behind(self, words: &str) -> Self {
        Self { message: format!("{words}{}", self.message), ..self }
    }

    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn report(&self) -> ExitCode {
        let mut stderr = io::stderr().lock();
        // Nobody is left to be told when this fails.
        let _ = writeln!(stderr, "rowcast: {}", self.message);
        if let Some(next) = &self.next {
            let _ = writeln!(stderr, "→ {next}");
        }
        ExitCode::from(self.code)
    }
}

/// An error and its causes, outermost first.
impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Some errors repeat their cause in their own text.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self::new(message)
    }
}

/// One line, or several, of data.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{}", text.trim_end_matches('\n')).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// One line to whoever watches.
pub fn tell(text: &str) {
    // A command does its work whether or not somebody reads its talk.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

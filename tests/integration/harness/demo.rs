//! `rowcast demo`, running beside the test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::Database;

pub struct Demo {
    child: Child,
    /// Such as `http://127.0.0.1:4040/`.
    pub page: String,
    /// The database it plays in, as psql takes it.
    pub url: String,
}

impl Demo {
    /// On a database of the test's server.
    pub fn on(database: &Database, arguments: &[&str]) -> Self {
        Self::start(Some(database.url()), arguments)
    }

    /// On a server of its own.
    pub fn alone(arguments: &[&str]) -> Self {
        Self::start(None, arguments)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal such as `INT` and waits for the end.
    pub fn end(mut self, signal: &str) -> ExitStatus {
        let process = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &process]).status();
        assert!(sent.is_ok_and(|status| status.success()));
        self.child.wait().expect("a child can be waited for")
    }

    fn start(url: Option<&str>, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
        command.args(["demo", "--no-open"]).args(arguments).stdout(Stdio::piped());
        match url {
            Some(url) => command.env("DATABASE_URL", url),
            None => command.env_remove("DATABASE_URL"),
        };
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child = command.spawn().expect("the program was built");
        let stdout = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let page = word(&mut lines, "http://", char::is_whitespace);
        let url = word(&mut lines, "postgres://", |c| c == '\'');
        // Read on, so that the program never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, page, url }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Ended gently first: it drops what it made. `end` may have been here before.
        if matches!(self.child.try_wait(), Ok(None)) {
            let process = self.child.id().to_string();
            let _ = Command::new("kill").args(["-s", "TERM", &process]).status();
            let _ = self.child.wait();
        }
    }
}

/// The first word of the output that starts so.
fn word(
    lines: &mut impl Iterator<Item = String>,
    start: &str,
    is_end: impl Fn(char) -> bool,
) -> String {
    let found = lines.find_map(|line| {
        let rest = &line[line.find(start)?..];
        Some(rest.split(&is_end).next().unwrap_or(rest).to_owned())
    });
    found.unwrap_or_else(|| panic!("the demo ended before it printed {start}…"))
}

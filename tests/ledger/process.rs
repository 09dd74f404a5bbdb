//! The program in a process of its own, with its log in a file.
//!
//! In: commands. Out: signals to it, what it weighs, what it said. Invariant: it is gone once this is dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub struct Process {
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    pub const fn new(log: PathBuf) -> Self {
        Self { log, child: None }
    }

    pub fn spawn(&mut self, command: &mut Command) {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        let spawned = command.stderr(Stdio::from(log)).spawn();
        self.child = Some(spawned.expect("the program was built"));
    }

    /// Nothing happens where it does not run.
    pub fn send(&self, signal: &str) {
        let Some(child) = &self.child else { return };
        let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "it is gone: {}", self.said());
    }

    /// `KILL` and `TERM` wait for the end.
    pub fn signal(&mut self, signal: &str) {
        self.send(signal);
        if matches!(signal, "KILL" | "TERM") {
            let _ = self.child.take().map(|mut child| child.wait());
        }
    }

    /// Somebody else waits for its end.
    #[allow(dead_code, reason = "not every test needs it")]
    pub const fn take(&mut self) -> Option<Child> {
        self.child.take()
    }

    /// Resident memory in KiB, and open descriptors.
    pub fn weight(&self) -> Option<(u64, usize)> {
        let id = self.child.as_ref()?.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        let memory = line.split_whitespace().nth(1)?.parse().ok()?;
        Some((memory, std::fs::read_dir(format!("/proc/{id}/fd")).ok()?.count()))
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `./test` looks through everything that daemons wrote.
    fn hand_in_log(&self) {
        let Some(said) = std::env::var_os("ROWCAST_TEST_SAID") else { return };
        let all = File::options().create(true).append(true).open(Path::new(&said).join("log"));
        if let (Ok(mut all), Ok(mut log)) = (all, File::open(&self.log)) {
            let _ = std::io::copy(&mut log, &mut all);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.hand_in_log();
    }
}

//! Programs that are not ours and that a test runs.

#![allow(dead_code, reason = "not every test needs every part")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::harness::{Output, until_blocking};

/// Where a program is: where `./test` puts what it fetches, or in the path. A test that needs it fails without.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![fetched().join("bin")];
    folders.extend(std::env::split_paths(&path));
    folders.push("/usr/sbin".into());
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: ./test fetches it, or install it yourself"))
}

/// What `scripts/prepare.sh` fetches goes here.
pub fn fetched() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools")
}

/// A port below those that the system gives to outgoing connections, of which there are some in the meantime.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let spread = u16::try_from(std::process::id() % 9_000).expect("below 9000");
        let address = SocketAddr::from(([127, 0, 0, 1], 20_000 + (spread + step) % 12_000));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A program in the background; ended with this.
pub struct Running {
    child: Child,
}

impl Running {
    /// Returns once it listens there.
    pub fn start(command: &mut Command, address: SocketAddr) -> Self {
        let child = command.stdin(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let mut running = Self { child };
        until_blocking(format_args!("{command:?} listens at {address}"), || {
            if let Some(status) = running.child.try_wait().expect("a child can be asked") {
                panic!("{command:?} ended at once: {status}");
            }
            TcpStream::connect(address).ok()
        });
        running
    }

    /// Returns once it says this.
    pub fn start_until(command: &mut Command, line: &str) -> Self {
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let said = Output::of(child.stderr.take().expect("it is piped"));
        let running = Self { child };
        said.line(line);
        running
    }

    /// Gently, so that its own children end with it.
    pub fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let process = self.child.id().to_string();
            let _ = Command::new("kill").args(["-s", "TERM", &process]).status();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

//! Another server as a process on the daemon's core.
//!
//! In: a command. Out: a server that accepts. Invariant: it ends with its value, and with us if we are killed.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{Outcome, machine};

pub struct Process {
    child: Child,
}

impl Process {
    pub fn start(command: &Command, ports: &[u16]) -> Outcome<Self> {
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", &machine::cores().0, "setpriv", "--pdeathsig", "TERM"]);
        pinned.arg(command.get_program()).args(command.get_args());
        let environment = command.get_envs();
        pinned.envs(environment.filter_map(|(name, value)| Some((name, value?))));
        pinned.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Self { child: pinned.spawn()? };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !ports.iter().all(|port| accepts(*port)) {
            if process.child.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(format!("it does not start: {command:?}").into());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    /// Asked first, because nginx has a child of its own to end.
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn accepts(port: u16) -> bool {
    TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_ok()
}

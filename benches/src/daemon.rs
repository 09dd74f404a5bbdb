//! The daemon under measurement, started as its users start it.
//!
//! In: a database. Out: a process on one core, and tokens for its clients. Invariant: only its limits are set wide,
//! because all clients come from one address; everything else is as it ships.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::server::run;

pub struct Daemon {
    pub address: SocketAddr,
    child: Child,
    log: PathBuf,
}

/// How a daemon is started and tokens are signed.
#[derive(Clone)]
pub struct Program {
    pub path: PathBuf,
    pub folder: PathBuf,
    pub database: String,
    /// As `taskset` takes them.
    pub cores: String,
    /// A program that runs it, and what that is told.
    pub under: &'static [&'static str],
    /// PEM file; the tokens are then signed with RS256.
    pub public_key: Option<PathBuf>,
}

impl Program {
    pub fn start(&self) -> Outcome<Daemon> {
        // Free a moment ago; nobody else takes ports here in between.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = self.folder.join("daemon.log");
        let mut command = self.command(self.under);
        command.args(["serve", "--listen", &address.to_string()]);
        command.stdout(Stdio::null()).stderr(fs::File::create(&log)?);
        let mut daemon = Daemon { address, child: command.spawn()?, log };
        fs::write(self.folder.join("daemon.pid"), daemon.pid().to_string())?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while !is_ready(address) {
            let ended = daemon.child.try_wait()?.is_some();
            if ended || Instant::now() > deadline {
                return Err(format!("the daemon does not start:\n{}", daemon.log()).into());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    /// Runs another command of the same program.
    pub fn tool(&self, arguments: &[&str]) -> Outcome<String> {
        Ok(run(self.command(&[]).args(arguments))?.trim().to_owned())
    }

    pub fn token(&self, user: &str) -> Outcome<String> {
        self.tool(&["token", "--user", user, "--ttl", "8h"])
    }

    fn command(&self, under: &[&str]) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", &self.cores]).args(under).arg(&self.path).current_dir(&self.folder);
        command.arg("--config").arg(self.configuration()).stdin(Stdio::null());
        command.env("ROWCAST__DATABASE__URL", &self.database);
        for limit in WIDE {
            command.env(format!("ROWCAST__LIMITS__{limit}"), "1000000");
        }
        if self.public_key.is_none() {
            command.env("ROWCAST_JWT_SECRET", SECRET);
        }
        command
    }

    fn configuration(&self) -> PathBuf {
        let path = self.folder.join("rowcast.toml");
        let mut text = POLICY.to_owned();
        if let Some(key) = &self.public_key {
            let key = key.display();
            let keys = format!("[auth]\npublic_key_file = \"{key}\"\nalgorithms = [\"RS256\"]\n");
            text.push_str(&keys);
        }
        fs::write(&path, text).expect("the bench's own folder is writable");
        path
    }
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How often it has written events to a socket, as it counts itself.
    pub fn writes(&self) -> Outcome<f64> {
        let metrics = ask(self.address, "/metrics")?;
        let line = metrics.lines().find_map(|line| line.strip_prefix("rowcast_writes_total "));
        Ok(line.ok_or("the daemon does not count its writes")?.trim().parse()?)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

fn is_ready(address: SocketAddr) -> bool {
    ask(address, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Where the daemon is, unless it is named: beside us, as `../bench` builds it.
pub fn default_path(root: &Path) -> PathBuf {
    let named = std::env::var_os("ROWCAST_BENCH_DAEMON").map(PathBuf::from);
    named.unwrap_or_else(|| root.join("target/release/rowcast"))
}

const WIDE: &[&str] = &[
    "CONNECTIONS",
    "CONNECTIONS_PER_ADDRESS",
    "CONNECTIONS_PER_USER",
    "CONNECT_ATTEMPTS_PER_MINUTE",
    "MESSAGES_PER_MINUTE",
];

const SECRET: &str = "a secret of the bench, long enough for HS256";

const POLICY: &str = "\
[[policy]]
channel = \"*\"
allow = [\"subscribe\"]
";

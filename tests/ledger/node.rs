//! The program as it is shipped, in a process that can be killed.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::process::Process;
use crate::wait::until;

pub struct Node {
    config: PathBuf,
    address: SocketAddr,
    process: Process,
}

impl Node {
    /// On a port that stays its own through all restarts.
    pub fn new(folder: &Path, name: &str, url: &str, settings: &str) -> Self {
        let address = free_address();
        let config = folder.join(format!("{name}.toml"));
        let text = format!(
            "database.url = \"{url}\"\nserver.listen = \"{address}\"\n\
             policy = [{{ channel = \"*\", allow = [\"subscribe\"] }}]\n\
             limits.connect_attempts_per_minute = 100000\nlimits.messages_per_minute = 100000\n\
             limits.connections_per_user = 100000\n{settings}\n"
        );
        std::fs::write(&config, text).expect("the folder can be written to");
        Self { config, address, process: Process::new(folder.join(format!("{name}.log"))) }
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it, and waits until it accepts.
    pub async fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
        command.args(["serve", "--config"]).arg(&self.config);
        command.env_remove("DATABASE_URL").env("ROWCAST_JWT_SECRET", super::client::SECRET);
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        self.process.spawn(&mut command);
        let accepts = async || tokio::net::TcpStream::connect(self.address).await.ok();
        until(Log(&self.process), accepts).await;
    }

    /// Waits until it follows the database, however busy the machine is.
    pub async fn until_ready(&self) {
        until(Log(&self.process), async || self.is_ready().await.then_some(())).await;
    }

    async fn is_ready(&self) -> bool {
        let ask = async {
            let mut stream = tokio::net::TcpStream::connect(self.address).await?;
            stream
                .write_all(b"GET /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                .await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.map(|_| answer)
        };
        let answer: std::io::Result<String> = ask.await;
        answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    }

    /// `KILL` and `TERM` wait for the end.
    pub fn signal(&mut self, signal: &str) {
        self.process.signal(signal);
    }

    /// Resident memory in KiB, and open descriptors.
    pub fn weight(&self) -> Option<(u64, usize)> {
        self.process.weight()
    }

    pub fn said(&self) -> String {
        self.process.said()
    }
}

/// What a node has said, for whoever waits for it in vain.
struct Log<'a>(&'a Process);

impl fmt::Display for Log<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a node, which says {}", self.0.said())
    }
}

fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound")
}

//! The daemon as a process of its own, always at the same address, that can be killed and started again.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rowcast::auth::Minter;
use tempfile::NamedTempFile;

use crate::harness::{Database, Supervisor, World};
use crate::tools::free_address;

pub struct Node {
    pub address: SocketAddr,
    url: String,
    config: NamedTempFile,
    settings: String,
    supervisor: Supervisor,
    child: Option<Child>,
}

impl Node {
    pub async fn start(database: &Database, settings: &str) -> Self {
        let (address, config) = (free_address(), NamedTempFile::new().unwrap());
        config.as_file().write_all(settings.as_bytes()).unwrap();
        let (url, settings) = (database.url().to_owned(), settings.to_owned());
        let supervisor = Supervisor::new();
        let mut node = Self { address, url, config, settings, supervisor, child: None };
        node.come_back().await;
        node
    }

    /// Signs tokens that this daemon believes.
    pub fn minter(&self) -> Minter {
        Minter::new(&World::config(&self.url, &self.settings).auth).unwrap()
    }

    pub fn websocket(&self) -> String {
        format!("ws://{}/v1/ws", self.address)
    }

    /// `kill -9`, in the middle of whatever it does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("a child can be waited for");
        }
    }

    /// Once it is ready.
    pub async fn come_back(&mut self) {
        let child = Command::new(env!("CARGO_BIN_EXE_rowcast"))
            .args(["serve", "--listen", &self.address.to_string(), "--config"])
            .arg(self.config.path())
            .env("DATABASE_URL", &self.url)
            .env("ROWCAST_JWT_SECRET", SECRET)
            .env("NOTIFY_SOCKET", self.supervisor.socket())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program was built");
        self.child = Some(child);
        assert!(self.supervisor.hears_ready().await, "ready in time");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The key of the harness's tokens.
const SECRET: &str = "a secret of the tests, 32 bytes or more";

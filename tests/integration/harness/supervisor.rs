//! Where a daemon in a process of its own says that it is ready, as it would to a service manager.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

pub struct Supervisor {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Supervisor {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        Self { socket, folder }
    }

    /// What `NOTIFY_SOCKET` is to name.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// Until it says so; whether that was in time.
    pub async fn hears_ready(&self) -> bool {
        let mut report = [0; 4096];
        let ready = async {
            while let Ok(length) = self.socket.recv(&mut report).await {
                if report[..length].starts_with(b"READY=1\n") {
                    return;
                }
            }
        };
        timeout(DEADLINE, ready).await.is_ok()
    }
}

/// Far beyond what a loaded machine needs.
const DEADLINE: Duration = Duration::from_secs(60);

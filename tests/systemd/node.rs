//! The program as a service manager starts it: with sockets, credentials, a watchdog, and a socket to report to.
//!
//! It does what systemd does, as far as the program can tell: sockets stay open over restarts and are handed over
//! from descriptor 3 on, credentials are files of a folder, and what the program reports is kept with its time.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use tokio::net::UnixDatagram;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::process::Process;

pub struct Node {
    folder: PathBuf,
    name: String,
    public: TcpListener,
    private: TcpListener,
    watchdog: Duration,
    heard: watch::Sender<Vec<Said>>,
    listening: AbortHandle,
    process: Process,
}

/// One report.
#[derive(Clone, Debug)]
pub struct Said {
    pub at: Instant,
    pub text: String,
}

impl Said {
    pub fn is(&self, line: &str) -> bool {
        self.text.lines().any(|said| said == line)
    }
}

impl Node {
    /// Its secrets are credentials, and `server.listen` names a port that it must not take.
    pub fn new(folder: &Path, name: &str, url: &str, settings: &str) -> Self {
        let folder = folder.join(name);
        let credentials = folder.join("credentials");
        std::fs::create_dir_all(&credentials).expect("a folder");
        let write = |path: PathBuf, text: &str| std::fs::write(path, text).expect("a file");
        write(credentials.join("database-url"), url);
        write(credentials.join("jwt-secret"), super::client::SECRET);
        for name in ["database-url", "jwt-secret"] {
            let mode = std::fs::Permissions::from_mode(0o400);
            std::fs::set_permissions(credentials.join(name), mode).expect("it is ours");
        }
        let text = format!(
            "server.listen = \"127.0.0.1:1\"\ndatabase.url_file = \"database-url\"\n\
             auth.secret_file = \"jwt-secret\"\n\
             policy = [{{ channel = \"*\", allow = [\"subscribe\"] }}]\n\
             limits.messages_per_minute = 100000\n\
             limits.connections_per_user = 100000\n{settings}\n"
        );
        write(folder.join("config.toml"), &text);
        let notify = UnixDatagram::bind(folder.join("notify")).expect("a socket");
        let heard = watch::Sender::new(Vec::new());
        let listening = tokio::spawn(listen(notify, heard.clone())).abort_handle();
        let (public, private) = (socket(), socket());
        let (name, watchdog) = (name.to_owned(), Duration::from_secs(10));
        let process = Process::new(folder.join("log"));
        Self { folder, name, public, private, watchdog, heard, listening, process }
    }

    pub fn with_watchdog(mut self, watchdog: Duration) -> Self {
        self.watchdog = watchdog;
        self
    }

    pub fn address(&self) -> SocketAddr {
        self.public.local_addr().expect("it is bound")
    }

    pub fn private_address(&self) -> SocketAddr {
        self.private.local_addr().expect("it is bound")
    }

    pub fn config(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    /// Starts it, and waits until it is ready.
    pub async fn start(&mut self) {
        let before = self.heard.borrow().len();
        self.spawn();
        self.hear(before, |said| said.is("READY=1")).await;
    }

    pub fn spawn(&mut self) {
        let fd = |socket: &TcpListener| OwnedFd::from(socket.try_clone().expect("a descriptor"));
        let mut command = Command::new("/bin/sh");
        // Only the process itself knows the number that it will have.
        command.args(["-c", HAND_OVER, "sh", env!("CARGO_BIN_EXE_rowcast"), "serve", "--config"]);
        command.arg(self.config()).process_group(0);
        command.env_clear().env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "rowcast.socket:private");
        command.env("NOTIFY_SOCKET", self.folder.join("notify"));
        command.env("CREDENTIALS_DIRECTORY", self.folder.join("credentials"));
        command.env("WATCHDOG_USEC", self.watchdog.as_micros().to_string());
        command.stdin(fd(&self.public)).stdout(fd(&self.private));
        self.process.spawn(&mut command);
    }

    /// How many reports there are by now.
    pub fn reports(&self) -> usize {
        self.heard.borrow().len()
    }

    pub fn reports_since(&self, from: usize) -> Vec<Said> {
        self.heard.borrow()[from..].to_vec()
    }

    /// The first such report behind so many others; and how many there are then, this one included.
    pub async fn hear(&self, from: usize, wanted: impl Fn(&Said) -> bool) -> (Said, usize) {
        let heard = self.hear_within(from, wanted, Duration::from_secs(60)).await;
        heard.unwrap_or_else(|| {
            let reports = self.reports_since(from);
            panic!("{} does not say it: {reports:#?}\n{}", self.name, self.said())
        })
    }

    /// The same, where it may fail to come.
    pub async fn hear_within(
        &self,
        from: usize,
        wanted: impl Fn(&Said) -> bool,
        deadline: Duration,
    ) -> Option<(Said, usize)> {
        let find = |said: &Vec<Said>| said.iter().skip(from).position(&wanted).map(|at| at + from);
        let mut heard = self.heard.subscribe();
        let said = timeout(deadline, heard.wait_for(|said| find(said).is_some())).await.ok()?;
        let said = said.expect("the sender is here");
        let at = find(&said)?;
        Some((said[at].clone(), at + 1))
    }

    pub fn send(&self, signal: &str) {
        self.process.send(signal);
    }

    /// `KILL` and `TERM` wait for the end.
    pub fn signal(&mut self, signal: &str) {
        self.process.signal(signal);
    }

    /// How it ends by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("it was started");
        let ending = tokio::task::spawn_blocking(move || process.wait());
        ending.await.expect("no panic").expect("it is our child")
    }

    /// Resident memory in KiB, and open descriptors.
    pub fn weight(&self) -> Option<(u64, usize)> {
        self.process.weight()
    }

    pub fn said(&self) -> String {
        self.process.said()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(socket: UnixDatagram, heard: watch::Sender<Vec<Said>>) {
    let mut bytes = [0; 4096];
    while let Ok(length) = socket.recv(&mut bytes).await {
        let text = String::from_utf8(bytes[..length].to_vec()).expect("reports are text");
        heard.send_modify(|said| said.push(Said { at: Instant::now(), text }));
    }
}

fn socket() -> TcpListener {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).and_then(|()| socket.listen(4096)).expect("a port is free");
    socket.into()
}

const HAND_OVER: &str =
    "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ WATCHDOG_PID=$$ exec \"$@\"";

//! A private, throw-away PostgreSQL server, for the demo and for the tests.
//!
//! In: the server binaries of this machine and a few settings. Out: URLs of a running server. Invariant: the server
//! and its files are gone once this process is, however it ends: a shell outside our process group waits for the
//! end of a pipe that only we hold open, and cleans up then.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;

use tempfile::TempDir;

use super::server_binaries::{BinariesError, ServerBinaries};

/// What differs from a plain server. The default listens on a Unix socket only and trusts who may open it.
#[derive(Clone, Debug, Default)]
pub struct ScratchOptions {
    /// Where `initdb`, `pg_ctl` and `postgres` are; searched for when absent.
    pub binaries: Option<PathBuf>,
    /// Listen on a free port of 127.0.0.1 as well. Whoever can log in to this machine can then connect.
    pub tcp: bool,
    /// Lines for `postgresql.conf`.
    pub settings: Vec<(String, String)>,
    /// Instead of an empty server: a copy of this one, which was shut down, that follows it.
    pub standby_of: Option<Primary>,
    /// Files for the data folder, such as certificates or a whole `pg_hba.conf`.
    pub files: Vec<(String, String)>,
}

pub struct ScratchCluster {
    folder: PathBuf,
    seat: Seat,
    binaries: ServerBinaries,
    account: Account,
    watchdog: Child,
}

/// A server to copy and to follow.
#[derive(Clone, Debug)]
pub struct Primary {
    data: PathBuf,
    /// Where it will be again, as libpq takes it.
    address: String,
}

/// How a server goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Sessions are ended, and everything is written.
    Fast,
    /// As in a crash: what was not written yet is gone.
    Immediate,
}

impl ScratchCluster {
    /// Makes and starts the server; about a second, on a thread of its own.
    pub async fn start(options: ScratchOptions) -> Result<Self, ScratchError> {
        tokio::task::spawn_blocking(move || Self::start_blocking(&options))
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// The URL of a database through the Unix socket, as the superuser `postgres`. psql takes it too.
    pub fn url(&self, database: &str) -> String {
        let (folder, port) = (self.folder.display(), self.port());
        format!("postgres:///{database}?host={folder}&port={port}&user=postgres")
    }

    /// The same over TCP; only with [`ScratchOptions::tcp`].
    pub fn tcp_url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port())
    }

    /// The folder of the Unix socket, of the log and of the data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub const fn port(&self) -> u16 {
        self.seat.0
    }

    /// The major version of the server.
    pub const fn version(&self) -> u32 {
        self.binaries.version
    }

    /// This server as [`ScratchOptions::standby_of`] takes it; only with [`ScratchOptions::tcp`].
    pub fn as_primary(&self) -> Primary {
        let address = format!("host=127.0.0.1 port={} user=postgres", self.port());
        Primary { data: self.site().data(), address }
    }

    /// Makes a standby the primary.
    pub async fn promote(&self) -> Result<(), ScratchError> {
        self.control(&["promote", "--wait", "--timeout=60"]).await
    }

    /// Takes the server down in this way, for good.
    pub async fn shut_down(&self, mode: StopMode) -> Result<(), ScratchError> {
        self.control(&["stop", "--wait", "--timeout=60", mode.as_argument()]).await
    }

    /// Starts a server that was shut down, on the same port.
    pub async fn start_again(&self) -> Result<(), ScratchError> {
        let port = format!("--options=-p {}", self.port());
        let log = format!("--log={}", self.folder.join("log").display());
        self.control(&["start", "--wait", "--timeout=60", &port, &log]).await
    }

    /// Takes the server down in this way and starts it again, on the same port.
    pub async fn restart(&self, mode: StopMode) -> Result<(), ScratchError> {
        let log = format!("--log={}", self.folder.join("log").display());
        self.control(&["restart", "--wait", "--timeout=60", mode.as_argument(), &log]).await
    }

    async fn control(&self, arguments: &[&str]) -> Result<(), ScratchError> {
        let mut control = self.site().command(&self.binaries.program("pg_ctl"));
        control.args(arguments).args(["--silent", "--pgdata"]).arg(self.site().data());
        tokio::task::spawn_blocking(move || run(control))
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    fn site(&self) -> Site<'_> {
        Site { folder: &self.folder, binaries: &self.binaries, account: &self.account }
    }

    /// Stops the server, removes its files and waits until both are done. Dropping does the same without waiting.
    pub async fn stop(mut self) {
        drop(self.watchdog.stdin.take());
        // A watchdog that cannot be waited for still does its work.
        let _ = tokio::task::spawn_blocking(move || self.watchdog.wait()).await;
    }

    fn start_blocking(options: &ScratchOptions) -> Result<Self, ScratchError> {
        let binaries = ServerBinaries::find(options.binaries.as_deref())?;
        let folder = new_folder()?;
        let account = Account::for_server(folder.path())?;
        let site = Site { folder: folder.path(), binaries: &binaries, account: &account };
        let watchdog = site.watchdog()?;
        match &options.standby_of {
            Some(primary) => site.copy(primary, options)?,
            None => site.initdb(options)?,
        }
        let seat = site.start_on_a_free_port(options)?;
        Ok(Self { folder: folder.keep(), seat, binaries, account, watchdog })
    }
}

impl StopMode {
    const fn as_argument(self) -> &'static str {
        match self {
            Self::Fast => "--mode=fast",
            Self::Immediate => "--mode=immediate",
        }
    }
}

/// Short, because the path of a Unix socket may have 107 bytes only.
fn new_folder() -> Result<TempDir, ScratchError> {
    let builder = || tempfile::Builder::new().prefix("rowcast-").to_owned();
    let preferred = std::env::temp_dir();
    let parent = if preferred.as_os_str().len() < 60 { &preferred } else { Path::new("/tmp") };
    builder().tempdir_in(parent).map_err(ScratchError::Folder)
}

struct Site<'a> {
    folder: &'a Path,
    binaries: &'a ServerBinaries,
    account: &'a Account,
}

impl Site<'_> {
    /// Started before the server is, so that no moment is left in which our end would leave something behind.
    fn watchdog(&self) -> Result<Child, ScratchError> {
        self.command(Path::new("/bin/sh"))
            .args(["-c", WATCHDOG, "rowcast-watchdog"])
            .arg(self.binaries.program("pg_ctl"))
            .arg(self.data())
            .arg(self.folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| ScratchError::Spawn { program: "/bin/sh".into(), source })
    }

    fn initdb(&self, options: &ScratchOptions) -> Result<(), ScratchError> {
        let mut initdb = self.command(&self.binaries.program("initdb"));
        initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"]);
        initdb.args(["--locale=C", "--pgdata"]).arg(self.data());
        run(initdb)?;
        for (name, content) in &options.files {
            self.write(name, content)?;
        }
        self.write("postgresql.auto.conf", &self.settings(options))
    }

    fn copy(&self, primary: &Primary, options: &ScratchOptions) -> Result<(), ScratchError> {
        let mut copy = self.command(Path::new("cp"));
        copy.arg("-a").arg(&primary.data).arg(self.data());
        run(copy)?;
        self.write("standby.signal", "")?;
        let settings = self.settings(options);
        let follow = format!("primary_conninfo = '{}'", primary.address);
        let patience = "wal_retrieve_retry_interval = 100ms";
        self.write("postgresql.auto.conf", &format!("{settings}{follow}\n{patience}\n"))
    }

    fn start_on_a_free_port(&self, options: &ScratchOptions) -> Result<Seat, ScratchError> {
        let mut seats = free_ports(options.tcp).filter_map(Seat::take);
        let mut failure = None;
        for seat in seats.by_ref().take(START_ATTEMPTS) {
            match self.start(seat.0) {
                Ok(()) => return Ok(seat),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or(ScratchError::NoPort))
    }

    fn start(&self, port: u16) -> Result<(), ScratchError> {
        let log = self.folder.join("log");
        let mut start = self.command(&self.binaries.program("pg_ctl"));
        start.args(["start", "--wait", "--silent", "--timeout=60", "--pgdata"]).arg(self.data());
        start.arg("--log").arg(&log).arg(format!("--options=-p {port}"));
        run(start).map_err(|error| match error {
            ScratchError::Failed { program, .. } => {
                let output = std::fs::read_to_string(&log).unwrap_or_default();
                ScratchError::Failed { program, output }
            }
            other => other,
        })
    }

    fn settings(&self, options: &ScratchOptions) -> String {
        let socket_folder = self.folder.display().to_string();
        let fixed = [
            ("unix_socket_directories", socket_folder.as_str()),
            ("listen_addresses", if options.tcp { "127.0.0.1" } else { "" }),
            // The data is thrown away: nothing of it has to survive a crash.
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("synchronous_commit", "off"),
        ];
        let chosen = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut lines = String::new();
        for (name, value) in fixed.into_iter().chain(chosen) {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{name} = '{}'", value.replace('\'', "''"));
        }
        lines
    }

    fn write(&self, name: &str, content: &str) -> Result<(), ScratchError> {
        let path = self.data().join(name);
        let written = std::fs::write(&path, content)
            .and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(0o600)))
            .and_then(|()| self.account.own(&path));
        written.map_err(ScratchError::Folder)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // Not where we are: the server's account may not be allowed to look there.
        command.current_dir(self.folder).stdin(Stdio::null());
        // A connection setting of whoever started us would send the tools to another server.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_libpq_variable(name)) {
            command.env_remove(name);
        }
        if let Some((user, group)) = self.account.other {
            command.uid(user).gid(group);
        }
        command
    }
}

/// A port that no other server of this process gets, also while this one is down.
struct Seat(u16);

static SEATS: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

impl Seat {
    fn take(port: u16) -> Option<Self> {
        SEATS.lock().is_ok_and(|mut seats| seats.insert(port)).then_some(Self(port))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Ok(mut seats) = SEATS.lock() {
            seats.remove(&self.0);
        }
    }
}

/// Who runs the server: PostgreSQL refuses to run as root.
struct Account {
    other: Option<(u32, u32)>,
}

impl Account {
    /// Also hands the folder over.
    fn for_server(folder: &Path) -> Result<Self, ScratchError> {
        let we_are_root = folder.metadata().map_err(ScratchError::Folder)?.uid() == 0;
        let account = Self { other: if we_are_root { Some(unprivileged()?) } else { None } };
        account.own(folder).map_err(ScratchError::Folder)?;
        Ok(account)
    }

    fn own(&self, path: &Path) -> io::Result<()> {
        match self.other {
            Some((user, group)) => chown(path, Some(user), Some(group)),
            None => Ok(()),
        }
    }
}

fn unprivileged() -> Result<(u32, u32), ScratchError> {
    let id = |flag: &str, name: &str| -> Option<u32> {
        let output = Command::new("id").args([flag, name]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| Some((id("-u", name)?, id("-g", name)?)))
        .ok_or(ScratchError::OnlyRoot)
}

fn is_libpq_variable(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("PG"))
}

/// Below the range from which the system takes the ports of outgoing connections; the process id spreads
/// servers that start at the same time.
fn free_ports(tcp: bool) -> impl Iterator<Item = u16> {
    let first =
        u16::try_from(std::process::id() % u32::from(PORTS.1 - PORTS.0)).unwrap_or_default();
    (0..PORTS.1 - PORTS.0)
        .map(move |step| PORTS.0 + (first + step) % (PORTS.1 - PORTS.0))
        .filter(move |port| !tcp || std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
}

fn run(mut command: Command) -> Result<(), ScratchError> {
    let program = PathBuf::from(command.get_program());
    let output = command
        .output()
        .map_err(|source| ScratchError::Spawn { program: program.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(ScratchError::Failed { program, output: text_of(&output) })
}

fn text_of(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).trim().to_owned()
}

#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    #[error(transparent)]
    Binaries(#[from] BinariesError),
    #[error("no folder for the throw-away server could be made; TMPDIR names another place")]
    Folder(#[source] io::Error),
    #[error(
        "PostgreSQL does not run as root, and there is neither a user postgres nor nobody to run it as"
    )]
    OnlyRoot,
    #[error("{} could not be started", program.display())]
    Spawn { program: PathBuf, source: io::Error },
    #[error("{} failed:\n{output}", program.display())]
    Failed { program: PathBuf, output: String },
    #[error("no free port between {} and {}", PORTS.0, PORTS.1)]
    NoPort,
}

/// `read` ends with the pipe. An immediate stop is right: nobody needs what the server would still write.
const WATCHDOG: &str = "\
trap '' HUP INT TERM
read -r _
\"$1\" stop --mode=immediate --silent --pgdata \"$2\"
rm -rf \"$3\"";

const PORTS: (u16, u16) = (20_000, 32_000);
const START_ATTEMPTS: usize = 5;

//! A private PostgreSQL server that is thrown away, and how the bench talks to it.
//!
//! In: options. Out: a server on a Unix socket in a folder of its own. Invariant: it is gone with its value; where
//! the bench itself is killed, `../bench` ends it by the process id in its folder.

use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row};

use crate::Outcome;

/// What differs from a server that keeps nothing safe and runs on the load's cores.
#[derive(Clone, Debug)]
pub struct Options {
    /// As `taskset` takes them.
    pub cores: String,
    /// Every commit waits for the disk, as in earnest.
    pub durable: bool,
    /// The disk takes so much longer for each flush.
    pub slower: Option<Duration>,
    /// Count statements, if the server has `pg_stat_statements`.
    pub statements: bool,
}

pub struct Server {
    pub folder: PathBuf,
    programs: PathBuf,
    port: u16,
}

impl Server {
    pub fn start(parent: &Path, options: &Options) -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("pg-").tempdir_in(parent)?.keep();
        let server = Self { folder, programs: programs()?, port: 5432 };
        fs::set_permissions(&server.folder, fs::Permissions::from_mode(0o700))?;
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(&server.folder))?;
        }
        let data = server.folder.join("data");
        let mut initdb = server.command("initdb", &options.cores);
        initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"]);
        run(initdb.args(["--locale=C", "--pgdata"]).arg(&data))?;
        server.boot(&data, options)?;
        Ok(server)
    }

    fn boot(&self, data: &Path, options: &Options) -> Outcome<()> {
        let mut postgres = self.command("postgres", &options.cores);
        postgres.arg("-D").arg(data).arg("-k").arg(&self.folder).args(["-h", "", "-p", "5432"]);
        for setting in self.settings(options) {
            postgres.arg("-c").arg(setting);
        }
        if let Some(slower) = options.slower {
            let library = slow_disk(&self.folder)?;
            postgres.env("LD_PRELOAD", library).env("SYNC_US", slower.as_micros().to_string());
        }
        let log = fs::File::create(self.folder.join("log"))?;
        postgres.stdout(log.try_clone()?).stderr(log).spawn()?;
        let deadline = Instant::now() + Duration::from_mins(1);
        while Db::open(&self.url("postgres")).is_err() {
            if Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(format!("PostgreSQL does not start:\n{log}").into());
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn settings(&self, options: &Options) -> Vec<String> {
        let mut settings =
            vec!["max_connections=200".to_owned(), "shared_buffers=512MB".to_owned()];
        settings.push("max_wal_size=8GB".to_owned());
        settings.push("wal_sync_method=fdatasync".to_owned());
        if !options.durable {
            settings.extend(
                ["fsync=off", "full_page_writes=off", "synchronous_commit=off"].map(str::to_owned),
            );
        }
        if options.statements && self.has_statements() {
            settings.push("shared_preload_libraries=pg_stat_statements".to_owned());
        }
        settings
    }

    fn has_statements(&self) -> bool {
        let output = Command::new(self.programs.join("pg_config")).arg("--pkglibdir").output();
        let folder = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        folder.is_ok_and(|folder| Path::new(&folder).join("pg_stat_statements.so").exists())
    }

    pub fn url(&self, database: &str) -> String {
        let folder = self.folder.display();
        format!("postgres:///{database}?host={folder}&port={}&user=postgres", self.port)
    }

    pub fn db(&self) -> Outcome<Db> {
        Db::open(&self.url("bench"))
    }

    /// A program of the server, as the server's user, on these cores, that finds this server.
    pub fn command(&self, program: &str, cores: &str) -> Command {
        let mut command = self.as_its_user(cores);
        command.arg(self.programs.join(program));
        command.env("PGHOST", &self.folder).env("PGUSER", "postgres").env("PGDATABASE", "bench");
        command
    }

    fn as_its_user(&self, cores: &str) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", cores]);
        if is_root() {
            command.args([
                "setpriv",
                "--reuid",
                "postgres",
                "--regid",
                "postgres",
                "--clear-groups",
            ]);
        }
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// So that its data can be worked on without it.
    pub fn stop_in_order(&self) -> Outcome<()> {
        run(&mut self.stopping("fast")).map(drop)
    }

    fn stopping(&self, mode: &str) -> Command {
        let mut stop = self.command("pg_ctl", "0-1023");
        stop.args(["stop", "--silent", "--mode", mode, "--pgdata"]).arg(self.folder.join("data"));
        stop
    }

    /// What one backend says that is told these lines, without a server and under another program.
    pub fn alone(&self, under: &[&str], lines: &str) -> Outcome<String> {
        let (input, output) = (self.folder.join("lines"), self.folder.join("said"));
        fs::write(&input, lines)?;
        let said = fs::File::create(&output)?;
        let mut backend = self.as_its_user("0-1023");
        backend.args(under).arg(self.programs.join("postgres"));
        backend.args(["--single", "-F", "-D"]).arg(self.folder.join("data")).arg("bench");
        backend.stdin(fs::File::open(&input)?).stdout(Stdio::null()).stderr(said);
        let status = backend.status()?;
        let said = fs::read_to_string(&output)?;
        if status.success() { Ok(said) } else { Err(format!("{backend:?} failed:\n{said}").into()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stopping("immediate").stderr(Stdio::null()).status();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A connection that is driven only while somebody waits for it.
pub struct Db {
    runtime: Runtime,
    pub client: Client,
}

impl Db {
    pub fn open(url: &str) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(connect(url))?;
        Ok(Self { runtime, client })
    }

    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn run(&self, sql: &str) -> Outcome<()> {
        Ok(self.wait(self.client.batch_execute(sql))?)
    }

    pub fn one(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Outcome<Row> {
        Ok(self.wait(self.client.query_one(sql, parameters))?)
    }
}

pub async fn connect(url: &str) -> Outcome<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Runs to the end, and says what it said if that was a bad one.
pub fn run(command: &mut Command) -> Outcome<String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(format!("{command:?} failed:\n{text}{}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Such as "PostgreSQL 18.1".
pub fn version_of_programs() -> Outcome<String> {
    let text = run(Command::new(programs()?.join("postgres")).arg("--version"))?;
    let number = text.split_whitespace().nth(2).unwrap_or_default();
    Ok(format!("PostgreSQL {number}"))
}

fn programs() -> Outcome<PathBuf> {
    if let Some(folder) = std::env::var_os("ROWCAST_TEST_PGBIN") {
        return Ok(folder.into());
    }
    let version = |folder: &PathBuf| -> u32 {
        let name = folder.parent().and_then(Path::file_name).unwrap_or_default();
        name.to_string_lossy().parse().unwrap_or_default()
    };
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = debian.map(|entry| entry.path().join("bin"));
    installed
        .filter(|folder| folder.join("initdb").exists() && folder.join("pgbench").exists())
        .max_by_key(version)
        .ok_or_else(|| {
            "no PostgreSQL with pgbench was found; ROWCAST_TEST_PGBIN names its folder of programs"
                .into()
        })
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// A library that makes each flush take longer.
fn slow_disk(folder: &Path) -> Outcome<PathBuf> {
    let (source, library) = (folder.join("slow_disk.c"), folder.join("slow_disk.so"));
    fs::write(&source, include_str!("slow_disk.c"))?;
    run(Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl"))?;
    fs::set_permissions(&library, fs::Permissions::from_mode(0o755))?;
    Ok(library)
}

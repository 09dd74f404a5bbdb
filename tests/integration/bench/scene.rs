//! A daemon to be measured, and the program that measures it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::harness::{Client, Outcome, SECRET, World, rowcast};

/// A daemon, and the configuration from which the program has its address and its secret.
pub struct Scene {
    pub world: World,
    folder: TempDir,
}

impl Scene {
    pub async fn with(settings: &str) -> Self {
        let world = World::with(settings).await;
        let folder = tempfile::tempdir().unwrap();
        let listen = world.daemon.address();
        let text = format!("[server]\nlisten = \"{listen}\"\n[auth]\nsecret_file = \"secret\"\n");
        std::fs::write(folder.path().join("rowcast.toml"), text).unwrap();
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        Self { world, folder }
    }

    fn arguments(&self, arguments: &[&str]) -> Vec<String> {
        let file = self.folder.path().join("rowcast.toml").display().to_string();
        let all = ["bench", "--config", &file];
        all.iter().chain(arguments).map(|argument| (*argument).to_owned()).collect()
    }

    /// The program, run to its end while the daemon goes on.
    pub async fn bench(&self, arguments: &[&str]) -> Outcome {
        let (url, arguments) = (self.world.db.url().to_owned(), self.arguments(arguments));
        let run = move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            rowcast(&url, &arguments)
        };
        spawn_blocking(run).await.unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
        command
            .args(self.arguments(arguments))
            .env("DATABASE_URL", self.world.db.url())
            .env_remove("ROWCAST_TOKEN")
            .current_dir(self.folder.path());
        command
    }

    /// The program, once its subscribers stand.
    pub async fn begun(&self, arguments: &[&str]) -> Running {
        let child =
            self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut running = Running(child);
        spawn_blocking(move || {
            let talk = BufReader::new(running.0.stderr.take().unwrap());
            let mut lines = talk.lines().map(Result::unwrap);
            let stands = lines.find(|line| line.contains("; writing") || line.contains("; listen"));
            assert!(stands.is_some(), "it ended before it began");
            // Or it would be told that nobody listens.
            std::thread::spawn(move || lines.for_each(drop));
            running
        })
        .await
        .unwrap()
    }

    /// Somebody else on the channel, who knows how far the run is.
    pub async fn witness(&self, channel: &str) -> Client {
        self.world.subscriber("witness", &[channel]).await
    }

    pub async fn rows(&self, channel: &str) -> i64 {
        let query = "select count(*) from rowcast.event where channels = array[$1]";
        self.world.db.client().await.query_one(query, &[&channel]).await.unwrap().get(0)
    }
}

pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub fn interrupt(&self) {
        let pid = Pid::from_raw(self.0.id().cast_signed()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
    }

    /// Its exit code and its figures.
    pub async fn end(mut self) -> (i32, Value) {
        let waiting = move || {
            let mut text = String::new();
            self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
            let code = self.0.wait().unwrap().code().unwrap();
            (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
        };
        spawn_blocking(waiting).await.unwrap()
    }
}

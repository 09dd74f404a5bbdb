//! Programs in JavaScript and Python that print one JSON object a line.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::tools::{fetched, program};

pub struct Script {
    child: Child,
    lines: watch::Receiver<Vec<Value>>,
    complaints: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Script {
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = watch::channel(Vec::new());
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let reader = std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                sender.send_modify(|lines| lines.push(line));
            }
        });
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let complaints = Arc::<Mutex<String>>::default();
        let heard = Arc::clone(&complaints);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *heard.lock().expect("nobody panics while holding it") += &(line + "\n");
            }
        });
        Self { child, lines, complaints, reader: Some(reader) }
    }

    /// What is found in its lines, as soon as it is there.
    pub async fn once<T>(&self, find: impl Fn(&[Value]) -> Option<T>) -> T {
        let mut lines = self.lines.clone();
        let waiting = async {
            loop {
                if let Some(found) = find(&lines.borrow_and_update()) {
                    return Some(found);
                }
                lines.changed().await.ok()?;
            }
        };
        match timeout(DEADLINE, waiting).await {
            Ok(Some(found)) => found,
            ended => panic!(
                "{}: {}\n{:?}",
                if ended.is_ok() { "it ended" } else { "not in time" },
                self.complaints.lock().expect("nobody panics while holding it"),
                self.lines.borrow().iter().rev().take(5).collect::<Vec<_>>()
            ),
        }
    }

    /// Sends a signal, waits for the end, and answers with all its lines.
    pub fn end(mut self, signal: &str) -> Vec<Value> {
        self.signal(signal);
        self.reader.take().expect("it ends once").join().expect("the reader does not panic");
        self.lines.borrow().clone()
    }

    fn signal(&mut self, signal: &str) {
        let process = self.child.id().to_string();
        let _ = Command::new("kill").args(["-s", signal, &process]).status();
        let _ = self.child.wait();
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("KILL");
        }
    }
}

/// Node with a WebSocket of its own, which it has had since 22, and in 20 when it is asked for it.
pub fn javascript(file: &Path) -> Command {
    for switch in [None, Some("--experimental-websocket")] {
        let mut command = Command::new(program("node"));
        command.args(switch);
        let has = command.args(["-p", "typeof WebSocket"]).output().expect("node can be run");
        if has.stdout.starts_with(b"function") {
            let mut command = Command::new(program("node"));
            command.args(switch).arg("--no-warnings").arg(file);
            return command;
        }
    }
    panic!("node has no WebSocket: version 22 or newer is needed");
}

/// Python with websockets, from the folder that `./test` makes for it.
pub fn python(file: &Path) -> Command {
    let own = fetched().join("python/bin/python");
    let python = if own.is_file() { own } else { program("python3") };
    let has = Command::new(&python).args(["-c", "import websockets.asyncio.client"]).output();
    assert!(
        has.is_ok_and(|output| output.status.success()),
        "{} has no websockets 14 or newer: ./test fetches it",
        python.display()
    );
    let mut command = Command::new(python);
    command.arg(file);
    command
}

/// Far beyond what a loaded machine needs.
const DEADLINE: Duration = Duration::from_secs(60);

//! A headless Chromium, driven over its DevTools protocol.
//!
//! In: addresses and JavaScript. Out: values. Invariant: the browser and its profile are gone once the
//! [`Chromium`] is dropped.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::harness::Output;

pub struct Chromium {
    child: Child,
    profile: TempDir,
    said: Output,
    /// Of its DevTools: `ws://host:port/path`.
    address: String,
}

impl Chromium {
    pub async fn start() -> Self {
        let profile = TempDir::new().expect("a folder for the profile can be made");
        let mut command = Command::new(program());
        command.args(SWITCHES).arg(format!("--user-data-dir={}", profile.path().display()));
        let we_are_root = profile.path().metadata().expect("it was just made").uid() == 0;
        if we_are_root {
            command.arg("--no-sandbox");
        }
        // Caches and crash reports go where the profile goes.
        for variable in ["HOME", "TMPDIR", "XDG_CONFIG_HOME"] {
            command.env(variable, profile.path());
        }
        command.process_group(0);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let said = Output::of(child.stderr.take().expect("it is piped"));
        let mut chromium = Self { child, profile, said, address: String::new() };
        let line = chromium.said.line(LISTENING);
        let (_, address) = line.split_once(LISTENING).expect("it is in the line");
        chromium.address = address.to_owned();
        chromium
    }

    /// Opens a page in a tab of its own.
    pub async fn open(&self, url: &str) -> Page {
        let (mut browser, _) = connect_async(&self.address).await.expect("Chromium answers");
        let created =
            call(&mut browser, 1, "Target.createTarget", json!({ "url": "about:blank" })).await;
        let target = created["targetId"].as_str().expect("a new tab has an id");
        let tab = format!("{}/devtools/page/{target}", self.host());
        let (socket, _) = connect_async(tab).await.expect("Chromium answers");
        let page = Page::new(socket);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            page.call(domain, json!({})).await;
        }
        page.call("Page.navigate", json!({ "url": url })).await;
        page
    }

    fn host(&self) -> &str {
        self.address.split("/devtools/").next().unwrap_or_default()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Its helpers are in its group, and end with it.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).status();
        let _ = self.child.wait();
        // Until then they may write into the profile.
        assert!(self.said.ends() || std::thread::panicking(), "Chromium is still there");
    }
}

/// A tab.
pub struct Page {
    socket: AsyncMutex<(Socket, u64)>,
    complaints: Arc<Mutex<Vec<String>>>,
}

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

impl Page {
    fn new(socket: Socket) -> Self {
        Self { socket: AsyncMutex::new((socket, 0)), complaints: Arc::default() }
    }

    /// The value of an expression; a promise is waited for.
    pub async fn eval(&self, expression: &str) -> Value {
        let asked = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
        });
        let answer = self.call("Runtime.evaluate", asked).await;
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression holds, and answers with its value.
    pub async fn until(&self, expression: &str) -> Value {
        let millis = DEADLINE.as_millis();
        let waiting = format!(
            "new Promise((resolve) => {{
                const end = performance.now() + {millis};
                (function look() {{
                    let value;
                    try {{ value = {expression}; }} catch {{ /* not there yet */ }}
                    if (value) resolve({{ value }});
                    else if (performance.now() > end) resolve({{ page: document.body?.innerText }});
                    else setTimeout(look, 5);
                }})();
            }})"
        );
        let mut found = self.eval(&waiting).await;
        match found.get_mut("value") {
            Some(value) => value.take(),
            None => panic!(
                "not within {DEADLINE:?}: {expression}\ncomplaints: {:?}\n{}",
                self.complaints(),
                found["page"].as_str().unwrap_or_default()
            ),
        }
    }

    /// What the console has to complain about so far: exceptions, refused requests.
    pub fn complaints(&self) -> Vec<String> {
        self.complaints.lock().expect("nobody panics while holding it").clone()
    }

    async fn call(&self, method: &str, parameters: Value) -> Value {
        let mut guard = self.socket.lock().await;
        guard.1 += 1;
        let id = guard.1;
        send(&mut guard.0, id, method, parameters).await;
        loop {
            let message = receive(&mut guard.0).await;
            if message["id"] == id {
                return result(method, message);
            }
            self.note(&message);
        }
    }

    fn note(&self, message: &Value) {
        let complaint = match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => &message["params"]["exceptionDetails"],
            Some("Log.entryAdded") if message["params"]["entry"]["level"] == "error" => {
                &message["params"]["entry"]
            }
            _ => return,
        };
        self.complaints.lock().expect("nobody panics while holding it").push(complaint.to_string());
    }
}

async fn call(socket: &mut Socket, id: u64, method: &str, parameters: Value) -> Value {
    send(socket, id, method, parameters).await;
    loop {
        let message = receive(socket).await;
        if message["id"] == id {
            return result(method, message);
        }
    }
}

async fn send(socket: &mut Socket, id: u64, method: &str, parameters: Value) {
    let message = json!({ "id": id, "method": method, "params": parameters });
    socket.send(Message::text(message.to_string())).await.expect("Chromium listens");
}

async fn receive(socket: &mut Socket) -> Value {
    loop {
        let message = timeout(DEADLINE * 2, socket.next()).await.expect("Chromium answers in time");
        match message.expect("Chromium runs").expect("Chromium speaks WebSocket") {
            Message::Text(text) => return serde_json::from_str(&text).expect("it speaks JSON"),
            _ => continue,
        }
    }
}

fn result(method: &str, mut message: Value) -> Value {
    assert!(message.get("error").is_none(), "{method}: {message}");
    message["result"].take()
}

/// What it says first on standard error, and where.
const LISTENING: &str = "DevTools listening on ";

/// The names it goes by, unless `ROWCAST_CHROMIUM` says otherwise.
fn program() -> String {
    let named = std::env::var("ROWCAST_CHROMIUM").ok().filter(|name| !name.is_empty());
    let mut names = named.into_iter().chain(NAMES.map(String::from));
    let runs = |name: &String| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    names.find(runs).unwrap_or_else(|| {
        panic!(
            "no Chromium found: install the package chromium, or name a browser in ROWCAST_CHROMIUM"
        )
    })
}

const NAMES: [&str; 4] = ["chromium", "google-chrome", "google-chrome-stable", "chromium-browser"];

const SWITCHES: [&str; 10] = [
    "--headless",
    "--disable-gpu",
    // Containers give shared memory of 64 MB, which is too little.
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--window-size=1280,860",
    "--remote-debugging-port=0",
];

/// Far beyond what a loaded machine needs.
const DEADLINE: Duration = Duration::from_secs(30);

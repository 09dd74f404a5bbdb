//! Every program of `docs/clients.md`, run as it stands there against a daemon that is killed and started again.
//!
//! Needs Chromium, Node and Python with websockets: `./test` fetches them. A test without its program fails and
//! says so.

mod backend;
#[path = "../browser/chromium.rs"]
mod chromium;
mod fetch;
#[path = "../integration/harness/mod.rs"]
mod harness;
mod node;
mod page;
mod script;
mod tools;

use std::time::Duration;

use backend::Backend;
use chromium::{Chromium, Page};
use harness::{Database, OPEN, psql};
use node::Node;
use page::Document;
use script::{Script, javascript, python};
use serde_json::{Value, json};

/// The application of the examples. Dropped from the top down: the database goes last.
struct Application {
    backend: Backend,
    node: Node,
    db: Database,
}

impl Application {
    async fn start(token_life: Duration) -> Self {
        let db = Database::migrated().await;
        db.batch_execute(TABLE).await;
        let backend = Backend::start(db.client().await, token_life).await;
        let settings = format!(
            "{OPEN}\n[server]\nallowed_origins = [\"{}\"]\n[limits]\nmessages_per_minute = 10000\n",
            backend.origin()
        );
        let node = Node::start(&db, &settings).await;
        Self { backend, node, db }
    }

    /// Opens the site with this page of it, and the page in a browser.
    async fn browse(&self, html: String) -> (Chromium, Page) {
        let library = program("rowcast.js");
        self.backend.open(self.node.minter(), vec![("/", html), ("/rowcast.js", library)]);
        let chromium = Chromium::start().await;
        let page = chromium.open(&self.backend.origin()).await;
        (chromium, page)
    }

    /// Writes while the daemon is killed three times; `seen` waits until so many changes have arrived.
    async fn write_through_kills(&mut self, mut seen: impl AsyncFnMut(usize)) -> Vec<Value> {
        let mut written = Vec::new();
        for _ in 0..3 {
            self.write(40, &mut written).await;
            seen(written.len() - 20).await;
            let client = self.db.client().await;
            write(&client, 15, &mut written).await;
            // In the middle of what it reads and sends.
            self.node.kill();
            write(&client, 15, &mut written).await;
            self.write(10, &mut written).await;
            self.node.come_back().await;
        }
        self.write(20, &mut written).await;
        seen(written.len()).await;
        written
    }

    async fn write(&self, count: usize, written: &mut Vec<Value>) {
        write(&self.db.client().await, count, written).await;
    }
}

/// Rows that come, change and go, one commit after the other; each as `[op, id]`.
async fn write(client: &tokio_postgres::Client, count: usize, written: &mut Vec<Value>) {
    for _ in 0..count {
        let step = written.len();
        let (op, sql) = match step % 5 {
            0 | 1 => {
                ("insert", "insert into orders (total) values (12345678901234567.89) returning id")
            }
            2 | 3 => (
                "update",
                "update orders set status = 'shipped ' || clock_timestamp()
                                  where id = (select max(id) from orders) returning id",
            ),
            _ => (
                "delete",
                "delete from orders
                              where id = (select max(id) from orders) returning id",
            ),
        };
        let row = client.query_one(sql, &[]).await.expect("no write fails");
        written.push(json!([op, row.get::<_, i64>(0)]));
    }
}

const TABLE: &str = "
    create table orders (
        id bigint generated always as identity primary key,
        status text not null default 'open',
        total numeric);
    insert into orders default values;
    select rowcast.watch('orders', channels => array['orders', 'orders:{id}'])";

fn program(name: &str) -> String {
    Document::read("clients.md").program(name).to_owned()
}

/// The example, of another service, behind something that keeps what its sockets see.
fn recorded(html: &str, service: &str) -> String {
    let named = "wss://live.example.com/v1/ws";
    assert!(html.contains(named), "the page's service is another one");
    let html = html.replace(named, service);
    let script = "<script>
        window.seen = []; window.codes = []; window.loads = 0; window.errors = []
        console.error = (error) => errors.push(String(error))
        const Real = WebSocket
        window.WebSocket = class extends Real {
            constructor(...a) {
                super(...a)
                this.addEventListener('message', ({ data }) => {
                    const { type, op, key } = JSON.parse(data)
                    if (type === 'change' && key) seen.push([op, key.id])
                })
                this.addEventListener('close', ({ code }) => codes.push(code))
            }
        }
        const real = fetch
        window.fetch = (path) => { if (path === '/orders') loads++; return real(path) }
        </script>";
    html.replacen("<script", &format!("{script}<script"), 1)
}

async fn rows(db: &Database) -> Value {
    let sql = "select json_agg(id || ' ' || status order by id)::text from orders";
    let text: String = db.client().await.query_one(sql, &[]).await.unwrap().get(0);
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_is_there_through_kills_and_ends_of_its_token() {
    let mut application = Application::start(Duration::from_secs(1)).await;
    let html = recorded(&program("orders.html"), &application.node.websocket());
    let (_chromium, page) = application.browse(html).await;
    page.until("list.children.length === 1").await;
    // Something that is no row is no trouble.
    let emit = "select rowcast.emit('orders', 'hello', '{}')";
    application.db.batch_execute(emit).await;
    let seen = async |count: usize| {
        page.until(&format!("seen.length >= {count}")).await;
    };
    let written = application.write_through_kills(seen).await;
    assert_eq!(page.eval("seen").await, json!(written), "each once, in order");
    // A token lives a second, and its leeway five: the daemon ends the connection, and the page comes back.
    page.until("codes.includes(4501)").await;
    let mut more = written;
    application.write(20, &mut more).await;
    page.until(&format!("seen.length >= {}", more.len())).await;
    assert_eq!(page.eval("seen").await, json!(more));
    let shown = "[...list.children].map((line) => line.textContent)";
    let sorted = format!("{shown}.sort((a, b) => parseInt(a) - parseInt(b))");
    assert_eq!(page.eval(&sorted).await, rows(&application.db).await);
    assert_eq!(page.eval("loads").await, 1, "what it missed came by resuming");
    assert_eq!(page.eval("errors").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_loads_the_rows_again_when_the_log_does_not_reach_back() {
    let mut application = Application::start(Duration::from_secs(60)).await;
    let html = recorded(&program("orders.html"), &application.node.websocket());
    let (_chromium, page) = application.browse(html).await;
    page.until("list.children.length === 1").await;
    application.write(10, &mut Vec::new()).await;
    page.until("seen.length === 10").await;
    application.node.kill();
    application.write(10, &mut Vec::new()).await;
    prune(&application.db).await;
    application.node.come_back().await;
    page.until("loads === 2").await;
    let shown = "JSON.stringify([...list.children].map((line) => line.textContent))";
    page.until(&format!("{shown} === JSON.stringify({})", rows(&application.db).await)).await;
}

/// Until nothing of the log is left.
async fn prune(db: &Database) {
    let client = db.client().await;
    for _ in 0..100 {
        client.batch_execute("select rowcast.maintain('0 seconds', 0)").await.unwrap();
        let left: i64 =
            client.query_one("select count(*) from rowcast.event", &[]).await.unwrap().get(0);
        if left == 0 {
            return;
        }
    }
    panic!("the log is not pruned");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_library_renews_its_token_in_a_browser_and_misses_nothing() {
    let mut application = Application::start(Duration::from_secs(1)).await;
    let html = format!(
        "<script type=module>
           import {{ follow }} from '/rowcast.js'
           window.seen = []; window.states = []; window.loads = []
           window.stop = follow({{
             url: '{}', channels: ['orders', 'user:ana'],
             token: () => fetch('/token').then((answer) => answer.json()),
             load: async (channel, reason) => {{ loads.push([channel, reason]) }},
             change: ({{ op, key }}) => {{ seen.push([op, key.id]) }},
             state: (name, why) => {{ states.push([name, why]) }},
           }})
         </script>",
        application.node.websocket()
    );
    let (_chromium, page) = application.browse(html).await;
    page.until("loads.length === 2").await;
    // Renewed in place: nobody had to come back.
    application.backend.has_signed(3).await;
    assert_eq!(page.eval("states").await, json!([["open", "ana"]]));
    let seen = async |count: usize| {
        page.until(&format!("seen.length >= {count}")).await;
    };
    let written = application.write_through_kills(seen).await;
    assert_eq!(page.eval("seen").await, json!(written), "each once, in order");
    assert_eq!(page.eval("loads").await, json!([["orders", null], ["user:ana", null]]));
    page.eval("stop()").await;
    page.until("states.at(-1)[1] === 'by us'").await;
    assert_eq!(page.complaints().iter().filter(|text| text.contains("exception")).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn digits_survive_in_a_browser() {
    let chromium = Chromium::start().await;
    let page = chromium.open("about:blank").await;
    let code = program("exact.js");
    let row = r#"{"row":{"id":9007199254740993,"total":12345678901234567890.10,"n":[1.5]}}"#;
    let parsed = page.eval(&format!("{code}; JSON.stringify(parse('{row}'))")).await;
    let exact = r#"{"row":{"id":"9007199254740993","total":"12345678901234567890.10","n":[1.5]}}"#;
    assert_eq!(parsed, exact);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_goes_on_where_it_was_also_after_a_restart_of_its_own() {
    let mut application = Application::start(Duration::from_secs(600)).await;
    application.backend.open(application.node.minter(), Vec::new());
    let folder = tempfile::TempDir::new().unwrap();
    for name in ["worker.mjs", "rowcast.js"] {
        std::fs::write(folder.path().join(name), program(name)).unwrap();
    }
    std::fs::write(folder.path().join("package.json"), r#"{"type": "module"}"#).unwrap();
    std::fs::write(folder.path().join("place.json"), r#"[["orders", "nonsense"]]"#).unwrap();
    let start = |application: &Application| {
        let mut command = javascript(&folder.path().join("worker.mjs"));
        command.env("ROWCAST_TOKEN_FILE", token_file(application, folder.path()));
        command.env("ROWCAST_URL", application.node.websocket());
        Script::start(command.current_dir(folder.path()))
    };
    let worker = start(&application);
    let first = worker.once(|lines| lines.first().cloned()).await;
    assert_eq!(first, json!({ "load": "orders", "reason": "bad_position" }));
    let seen = async |count: usize| {
        worker.once(|lines| (changes(lines).len() >= count).then_some(())).await;
    };
    let mut written = application.write_through_kills(seen).await;
    let mut seen = changes(&worker.end("TERM"));
    application.write(20, &mut written).await;
    let worker = start(&application);
    worker.once(|lines| (changes(lines).len() >= 20).then_some(())).await;
    application.write(20, &mut written).await;
    worker.once(|lines| (changes(lines).len() >= 40).then_some(())).await;
    let lines = worker.end("TERM");
    assert!(lines.iter().all(|line| line["load"].is_null()), "{lines:?}");
    seen.extend(changes(&lines));
    assert_eq!(seen, written, "each once, in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_a_connection() {
    let application = Application::start(Duration::from_secs(600)).await;
    application.backend.open(application.node.minter(), Vec::new());
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("ticket.mjs");
    std::fs::write(&file, program("ticket.mjs")).unwrap();
    let mut command = javascript(&file);
    command.env("ROWCAST_TOKEN", application.backend.token());
    let script = Script::start(command.env("ROWCAST_URL", application.node.websocket()));
    let welcome = script.once(|lines| lines.first().cloned()).await;
    assert_eq!((&welcome["type"], &welcome["user"]), (&json!("welcome"), &json!("ana")));
}

#[tokio::test(flavor = "multi_thread")]
async fn python_goes_on_where_it_was() {
    let mut application = Application::start(Duration::from_secs(600)).await;
    application.backend.open(application.node.minter(), Vec::new());
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("follow.py");
    std::fs::write(&file, program("follow.py")).unwrap();
    let mut command = python(&file);
    command.env("ROWCAST_TOKEN_FILE", token_file(&application, folder.path()));
    let script = Script::start(command.env("ROWCAST_URL", application.node.websocket()));
    script.once(|lines| lines.first().cloned()).await;
    let seen = async |count: usize| {
        script.once(|lines| (changes(lines).len() >= count).then_some(())).await;
    };
    let written = application.write_through_kills(seen).await;
    let lines = script.end("KILL");
    assert_eq!(changes(&lines), written, "each once, in order");
    assert_eq!(lines[0], json!({ "load": "orders", "reason": null }));
    let total = &lines.iter().find(|line| line["op"] == "insert").unwrap()["row"]["total"];
    assert_eq!(total, "12345678901234567.89", "no digit is lost");
}

fn token_file(application: &Application, folder: &std::path::Path) -> std::path::PathBuf {
    let file = folder.join("token");
    std::fs::write(&file, application.backend.token() + "\n").unwrap();
    file
}

/// As they were written.
fn changes(lines: &[Value]) -> Vec<Value> {
    let changes = lines.iter().filter(|line| line["type"] == "change");
    changes.map(|change| json!([change["op"], change["key"]["id"]])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sql_of_the_page_runs() {
    let application = Application::start(Duration::from_secs(60)).await;
    let document = Document::read("clients.md");
    let sql: Vec<_> = document.blocks().into_iter().filter(|(fence, _)| *fence == "sql").collect();
    assert!(sql.len() >= 2);
    psql(application.db.url(), "create table message (id int primary key, recipient text)")
        .unwrap();
    for (_, sql) in sql {
        psql(application.db.url(), sql).unwrap();
    }
}

#[test]
fn no_program_of_the_page_is_left_out() {
    let document = Document::read("clients.md");
    let fences: Vec<_> = document.blocks().into_iter().map(|(fence, _)| fence).collect();
    let programs: Vec<_> = fences.into_iter().filter(|fence| *fence != "sql").collect();
    assert_eq!(
        programs,
        [
            "html orders.html",
            "js rowcast.js",
            "js worker.mjs",
            "python follow.py",
            "js ticket.mjs",
            "js exact.js",
        ]
    );
}

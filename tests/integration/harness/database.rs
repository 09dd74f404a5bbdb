//! One database for one test, dropped behind it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, mpsc};

use rowcast::postgres::migrations::migrate;
use rowcast::postgres::scratch::ScratchCluster;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

use super::cluster::cluster;

pub struct Database {
    name: String,
    url: String,
}

impl Database {
    /// Nothing in it.
    pub async fn empty() -> Self {
        // It keeps the role rowcast_owner: a test that uninstalls would take it from under one that installs.
        template().await;
        Self::from_template("template0").await
    }

    /// The schema `rowcast` in it, as the real migrator makes it.
    pub async fn migrated() -> Self {
        Self::from_template(template().await).await
    }

    /// The same on a server of the test's own, which it may restart.
    pub async fn alone(cluster: &ScratchCluster) -> Self {
        let mut client = connect(&cluster.url("postgres")).await;
        migrate(&mut client).await.expect("a fresh database can be migrated");
        Self { name: String::new(), url: cluster.url("postgres") }
    }

    /// A database that somebody else has made.
    pub const fn at(url: String) -> Self {
        Self { name: String::new(), url }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The major version of the server.
    pub async fn version(&self) -> u32 {
        cluster().await.version()
    }

    /// As the superuser, through the Unix socket.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same as another role; roles need no password here.
    pub fn url_as(&self, role: &str) -> String {
        self.url.replace("&user=postgres", &format!("&user={role}"))
    }

    /// A connection of its own, as the superuser.
    pub async fn client(&self) -> Client {
        connect(&self.url).await
    }

    /// A connection of its own, as this role.
    pub async fn client_as(&self, role: &str) -> Client {
        connect(&self.url_as(role)).await
    }

    /// Runs statements on a connection of their own, as psql would.
    pub async fn batch_execute(&self, sql: &str) {
        if let Err(error) = self.client().await.batch_execute(sql).await {
            panic!("{error:?} in: {sql}");
        }
    }

    /// The name of a role that no other test has.
    pub fn role(&self, name: &str) -> String {
        format!("{}_{name}", self.name)
    }

    async fn from_template(template: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let cluster = cluster().await;
        let admin = connect(&cluster.url("postgres")).await;
        let create = format!("create database {name} template {template}");
        admin.batch_execute(&create).await.expect("the superuser may create a database");
        Self { url: cluster.url(&name), name }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.name.is_empty() {
            return;
        }
        // Nobody waits for it: the server goes away with the process in any case.
        let _ = janitor().send(std::mem::take(&mut self.name));
    }
}

/// Made once; a copy of it costs less than a migration. Every test tells why there is none.
async fn template() -> &'static str {
    static TEMPLATE: OnceCell<Result<(), String>> = OnceCell::const_new();
    if let Err(reason) = TEMPLATE.get_or_init(make_template).await {
        panic!("the template cannot be migrated: {reason}");
    }
    TEMPLATE_NAME
}

async fn make_template() -> Result<(), String> {
    let cluster = cluster().await;
    let admin = connect(&cluster.url("postgres")).await;
    let create = format!("create database {TEMPLATE_NAME} template template0");
    admin.batch_execute(&create).await.expect("the superuser may create a database");
    // A connection of its own, ended when it is dropped: a template must have no visitor.
    let (mut client, connection) =
        tokio_postgres::connect(&cluster.url(TEMPLATE_NAME), NoTls).await.expect("the server runs");
    let connection = tokio::spawn(connection);
    let migrated = migrate(&mut client).await;
    drop(client);
    connection.await.expect("the connection does not panic").expect("the connection ends well");
    migrated.map(drop).map_err(|error| error.to_string())
}

async fn connect(url: &str) -> Client {
    let (client, connection) = match tokio_postgres::connect(url, NoTls).await {
        Ok(connected) => connected,
        Err(error) => panic!("{error:?} at {url}"),
    };
    tokio::spawn(connection);
    client
}

/// A thread of its own, because a test's runtime ends with the test.
fn janitor() -> &'static mpsc::Sender<String> {
    static JANITOR: OnceLock<mpsc::Sender<String>> = OnceLock::new();
    JANITOR.get_or_init(|| {
        let (sender, names) = mpsc::channel();
        std::thread::spawn(move || drop_databases(&names));
        sender
    })
}

fn drop_databases(names: &mpsc::Receiver<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    runtime.block_on(async {
        let admin = connect(&cluster().await.url("postgres")).await;
        while let Ok(name) = names.recv() {
            let _ = admin.batch_execute(&format!("drop database {name} with (force)")).await;
        }
    });
}

const TEMPLATE_NAME: &str = "rowcast_template";

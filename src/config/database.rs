//! `[database]`: where PostgreSQL is and how the daemon learns of commits.

use std::cmp::Ordering;
use std::path::Path;

use super::bounded::{Choice, Count};
use super::reader::Findings;
use super::setting::parse_database_url;
use super::{Environment, Secret, Visitor, key_file};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseConfig {
    pub url: Secret<String>,
    pub url_file: Option<String>,
    pub listen_url: Option<Secret<String>>,
    pub listen_url_file: Option<String>,
    pub pool_size: usize,
    pub wake: Wake,
    pub epoch_policy: EpochPolicy,
}

/// What becomes of event ids when another server takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochPolicy {
    Strict,
    Trust,
}

/// How a sleeping daemon learns that something was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    Auto,
    Notify,
    Poll,
}

impl DatabaseConfig {
    /// The connection string for LISTEN.
    pub fn listen_url(&self) -> &Secret<String> {
        self.listen_url.as_ref().unwrap_or(&self.url)
    }

    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.section("database", "The PostgreSQL that is watched.");
        visitor.field("url", URL, &mut self.url);
        visitor.field("url_file", URL_FILE, &mut self.url_file);
        visitor.field("listen_url", LISTEN_URL, &mut self.listen_url);
        visitor.field("listen_url_file", LISTEN_URL_FILE, &mut self.listen_url_file);
        visitor.field("pool_size", POOL_SIZE, &mut Count(&mut self.pool_size, 1..=1_000));
        visitor.field("wake", WAKE, &mut Choice(&mut self.wake, WAKES));
        let policy = &mut Choice(&mut self.epoch_policy, EPOCH_POLICIES);
        visitor.field("epoch_policy", EPOCH_POLICY, policy);
    }
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: Secret::new("postgres://rowcast@localhost/app".to_owned()),
            url_file: None,
            listen_url: None,
            listen_url_file: None,
            pool_size: 8,
            wake: Wake::Auto,
            epoch_policy: EpochPolicy::Strict,
        }
    }
}

/// Takes the connection strings that stand in files of their own.
pub(super) fn read_urls(
    config: &mut DatabaseConfig,
    base: &Path,
    environment: &Environment,
    findings: &mut Findings,
) {
    let mut read = |name: &Option<String>, key: &str, other: &str| {
        let name = name.as_deref()?;
        match findings.weight(key).cmp(&findings.weight(other)) {
            Ordering::Less => return None,
            Ordering::Equal => {
                findings.fault(key, format!("contradicts {other}: keep one of the two"));
                return None;
            }
            Ordering::Greater => {}
        }
        let url = key_file::read(name, base, environment).and_then(|file| {
            let text = String::from_utf8(file.bytes).map_err(|_| "is no text".to_owned())?;
            parse_database_url(text.trim())
        });
        match url {
            Ok(url) => Some(Secret::new(url)),
            Err(message) => {
                findings.fault(key, format!("the file {name}: {message}"));
                None
            }
        }
    };
    if let Some(url) = read(&config.url_file, "database.url_file", "database.url") {
        config.url = url;
    }
    let listen = read(&config.listen_url_file, "database.listen_url_file", "database.listen_url");
    config.listen_url = listen.or(config.listen_url.take());
}

const WAKES: &[(&str, Wake)] =
    &[("auto", Wake::Auto), ("notify", Wake::Notify), ("poll", Wake::Poll)];

const EPOCH_POLICIES: &[(&str, EpochPolicy)] =
    &[("strict", EpochPolicy::Strict), ("trust", EpochPolicy::Trust)];

const URL: &str = "Connection string: several hosts, sslmode and sslrootcert as in libpq. DATABASE_URL overrides it.";
const URL_FILE: &str = "File that holds the connection string, instead of url.";
const LISTEN_URL: &str =
    "A direct connection for LISTEN, where url goes through a pooler; empty: url.";
const LISTEN_URL_FILE: &str = "File that holds listen_url.";
const POOL_SIZE: &str = "Connections for queries, beside the one that listens.";
const WAKE: &str = "auto, notify, or poll: never a NOTIFY in the application's transactions.";
const EPOCH_POLICY: &str = "After a fail-over: strict tells every client to start over; trust goes on, for synchronous replication only.";

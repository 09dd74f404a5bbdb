//! The configuration: from file, environment and command line to values that the rooms use as they are.
//!
//! In: [`Sources`]. Out: [`Loaded`], or all [`Faults`] at once. Invariant: every key is listed once, in
//! the `visit` of its section; reading, showing, the example file and the checks all walk that list.

mod auth;
mod authorize;
mod bounded;
mod bridge;
mod checks;
mod cluster;
mod database;
mod environment;
mod fault;
mod jwks_url;
mod key;
mod key_file;
mod limits;
mod log;
mod policy;
mod presence;
mod reader;
mod secret;
mod server;
mod setting;
mod show;
mod telemetry;
mod unbuilt;
mod units;
mod values;

use std::path::{Path, PathBuf};

use crate::domain::policy::{Policies, RawPolicy};

pub use auth::AuthConfig;
pub use authorize::AuthorizeConfig;
pub use bridge::BridgeConfig;
pub use cluster::ClusterConfig;
pub use database::{DatabaseConfig, EpochPolicy, Wake};
pub use environment::Environment;
pub use fault::{Fault, Faults, Place};
pub use jwks_url::JwksUrl;
pub use key::{AuthKey, KeyConfig, VerifyingKey, is_key_id};
pub use limits::LimitsConfig;
pub use log::LogConfig;
pub use presence::PresenceConfig;
pub use secret::Secret;
pub use server::ServerConfig;
pub use setting::Setting;
pub use show::{example, show};
pub use telemetry::{LogFormat, TelemetryConfig};
pub use units::{ByteSize, parse_duration};
pub use values::need_restart;

use reader::{Document, Findings, Reader};

/// Everything the daemon can be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub database: DatabaseConfig,
    pub server: ServerConfig,
    pub auth: AuthConfig,
    /// The `[[key]]` tables as written; what they mean is in [`AuthConfig::further_keys`].
    pub key: Vec<KeyConfig>,
    /// The `[[policy]]` tables as written.
    pub policy: Vec<RawPolicy>,
    /// What the `[[policy]]` tables mean.
    pub policies: Policies,
    pub authorize: AuthorizeConfig,
    pub bridge: Vec<BridgeConfig>,
    pub limits: LimitsConfig,
    pub log: LogConfig,
    pub presence: PresenceConfig,
    pub cluster: ClusterConfig,
    pub telemetry: TelemetryConfig,
}

impl Config {
    fn visit(&mut self, visitor: &mut impl Visitor) {
        self.database.visit(visitor);
        self.server.visit(visitor);
        self.auth.visit(visitor);
        visitor.tables("key", key::ABOUT, &mut self.key);
        visitor.tables("policy", policy::ABOUT, &mut self.policy);
        self.authorize.visit(visitor);
        visitor.tables("bridge", bridge::ABOUT, &mut self.bridge);
        self.limits.visit(visitor);
        self.log.visit(visitor);
        self.presence.visit(visitor);
        self.cluster.visit(visitor);
        self.telemetry.visit(visitor);
    }
}

/// Walks all keys in the order of the example file.
trait Visitor {
    fn section(&mut self, name: &'static str, about: &'static str);

    /// `about` is the key's line in the example file: meaning and unit.
    fn field(&mut self, key: &'static str, about: &'static str, value: &mut dyn Setting);

    fn tables<T: Table>(&mut self, name: &'static str, about: &'static str, rows: &mut Vec<T>);
}

/// One of several tables of the same name, such as `[[policy]]`.
trait Table: Default {
    fn visit(&mut self, visitor: &mut impl Visitor);

    /// What the example file shows, commented out.
    fn sample() -> Self;
}

/// Where the configuration comes from; what is named later wins.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Without one, the first of [`STANDARD_FILES`] that exists.
    pub file: Option<PathBuf>,
    pub environment: Environment,
    /// Keys such as `server.listen` and their values.
    pub flags: Vec<(String, String)>,
}

/// A configuration without faults.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// What works, but probably not as meant.
    pub warnings: Vec<Fault>,
    findings: Findings,
}

impl Loaded {
    /// For what only another room can find out about a value, such as a key that is no key.
    pub fn fault(&self, key: &str, message: impl Into<String>) -> Fault {
        self.findings.at(key, message.into())
    }
}

impl Sources {
    pub fn load(&self) -> Result<Loaded, Faults> {
        let file = self.file.clone().or_else(standard_file);
        let text = file.as_deref().map(read_file).transpose()?.unwrap_or_default();
        self.read(file, &text)
    }

    /// The same with this text in place of a file.
    pub fn load_text(&self, text: &str) -> Result<Loaded, Faults> {
        self.read(None, text)
    }

    fn read(&self, file: Option<PathBuf>, text: &str) -> Result<Loaded, Faults> {
        let (document, syntax) = Document::parse(file.as_deref(), text);
        let mut reader = Reader::new(&document, self, syntax);
        let mut config = Config::default();
        config.visit(&mut reader);
        let mut findings = reader.finish();
        let base = file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        auth::read_keys(&mut config.auth, base, &self.environment, &mut findings);
        config.auth.further_keys =
            key::resolve(&config.key, base, &self.environment, &mut findings);
        database::read_urls(&mut config.database, base, &self.environment, &mut findings);
        config.policies = policy::resolve(&config.policy, &config.auth.role_claim, &mut findings);
        checks::check(&config, &mut findings);
        unbuilt::check(&config, &mut findings);
        let warnings = findings.verdict()?;
        Ok(Loaded { config, file, warnings, findings })
    }
}

fn standard_file() -> Option<PathBuf> {
    STANDARD_FILES.iter().map(PathBuf::from).find(|path| path.exists())
}

fn read_file(path: &Path) -> Result<String, Faults> {
    std::fs::read_to_string(path).map_err(|error| {
        let place = Place::File { path: path.to_owned(), line: 1 };
        let message = format!("cannot be read: {error}; name another file with --config FILE");
        Faults(vec![Fault { place, key: String::new(), message }])
    })
}

/// Where `serve` looks without `--config`, in this order.
pub const STANDARD_FILES: [&str; 2] = ["rowcast.toml", "/etc/rowcast/config.toml"];

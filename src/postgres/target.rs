//! Which database to connect to, and how: a connection string that was understood.
//!
//! In: the text of a connection string. Out: a [`Target`], whose servers, encryption and limits are settled.
//! Invariant: neither `Display` nor `Debug` nor an error shows the password.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslNegotiation};

use super::parameters::{SyntaxError, parameters};
use super::tls::{SslMode, Tls, TlsFault};

#[derive(Clone)]
pub struct Target {
    pub(super) servers: Vec<Server>,
    /// What is the same for every server; names none.
    pub(super) login: Config,
    pub(super) tls: Tls,
    /// Go on to the next server where this one takes no writes.
    pub(super) needs_writable: bool,
    /// For one server: name resolution, TCP, TLS, login and probe together.
    pub(super) timeout: Duration,
    pub(super) session: SessionOptions,
}

/// What the session asks of the server. A parameter of the connection string goes before it.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    pub application_name: String,
    /// `None` waits for as long as a statement takes.
    pub statement_timeout: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub host: Host,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// The folder of a Unix socket.
    Socket(PathBuf),
    /// A name, which certificates are checked against, and the address where it needs no look-up.
    Network { name: String, address: Option<IpAddr> },
}

impl Target {
    /// Reads a connection string as libpq does; a parameter that is not understood is refused, never ignored.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let given = Given(parameters(text)?);
        given.refuse_unknown()?;
        let servers = given.servers()?;
        Ok(Self {
            needs_writable: given.needs_writable(servers.len())?,
            login: given.login()?,
            tls: Tls::new(given.sslmode()?, given.last("sslrootcert"))?,
            timeout: given.timeout()?,
            session: SessionOptions::default(),
            servers,
        })
    }

    /// Whether the connection string itself settles this setting of the session.
    pub(super) fn sets(&self, setting: &str) -> bool {
        self.login.get_options().is_some_and(|options| options.contains(setting))
    }

    /// The same database with sessions of another kind.
    #[must_use]
    pub fn with_session(mut self, session: SessionOptions) -> Self {
        self.session = session;
        self
    }
}

impl Default for SessionOptions {
    fn default() -> Self {
        let statement_timeout = Some(Duration::from_secs(5));
        Self { application_name: "rowcast".into(), statement_timeout }
    }
}

/// `user@host:port/database`, without anything secret.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = self.login.get_user() {
            write!(f, "{user}@")?;
        }
        for (index, server) in self.servers.iter().enumerate() {
            write!(f, "{}{server}", if index == 0 { "" } else { "," })?;
        }
        match self.login.get_dbname() {
            Some(database) => write!(f, "/{database}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Socket(folder) => write!(f, "{}:{}", folder.display(), self.port),
            Host::Network { name, .. } if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Host::Network { name, .. } => write!(f, "{name}:{}", self.port),
        }
    }
}

struct Given(Vec<(String, String)>);

impl Given {
    fn last(&self, name: &str) -> Option<&str> {
        let value =
            self.0.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }

    fn refuse_unknown(&self) -> Result<(), TargetError> {
        match self.0.iter().find(|(name, _)| !UNDERSTOOD.contains(&name.as_str())) {
            Some((name, _)) => Err(TargetError::Unknown { name: name.clone() }),
            None => Ok(()),
        }
    }

    fn servers(&self) -> Result<Vec<Server>, TargetError> {
        let list = |name| self.last(name).map_or_else(Vec::new, |text| text.split(',').collect());
        let (hosts, addresses): (Vec<&str>, Vec<&str>) = (list("host"), list("hostaddr"));
        let ports: Vec<u16> = list("port").into_iter().map(read_port).collect::<Result<_, _>>()?;
        let count = hosts.len().max(addresses.len()).max(1);
        let fits = |length| length == 0 || length == count;
        if !fits(hosts.len()) || !fits(addresses.len()) || !(fits(ports.len()) || ports.len() == 1)
        {
            return Err(TargetError::Counts);
        }
        let port = |index| ports.get(index).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
        let host = |index| read_host(hosts.get(index).copied(), addresses.get(index).copied());
        (0..count).map(|index| Ok(Server { host: host(index)?, port: port(index) })).collect()
    }

    fn login(&self) -> Result<Config, TargetError> {
        let mut login = Config::new();
        for (name, set) in [
            ("user", Config::user as fn(&mut Config, String) -> &mut Config),
            ("dbname", Config::dbname),
            ("options", Config::options),
            ("application_name", Config::application_name),
        ] {
            if let Some(value) = self.last(name) {
                set(&mut login, value.to_owned());
            }
        }
        if let Some(password) = self.last("password") {
            login.password(password);
        }
        login.channel_binding(self.one_of("channel_binding", BINDINGS)?);
        login.ssl_negotiation(self.one_of("sslnegotiation", NEGOTIATIONS)?);
        Ok(login)
    }

    fn sslmode(&self) -> Result<Option<SslMode>, TargetError> {
        self.last("sslmode").map(|_| self.one_of("sslmode", SslMode::NAMES)).transpose()
    }

    /// One server alone is taken as it is unless asked; of several, the one that takes writes.
    fn needs_writable(&self, servers: usize) -> Result<bool, TargetError> {
        match self.last("target_session_attrs") {
            None => Ok(servers > 1),
            Some(_) => self.one_of("target_session_attrs", ATTRIBUTES),
        }
    }

    fn timeout(&self) -> Result<Duration, TargetError> {
        let Some(text) = self.last("connect_timeout") else { return Ok(DEFAULT_TIMEOUT) };
        match text.trim().parse() {
            Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
            _ => Err(TargetError::Value {
                name: "connect_timeout",
                known: "a number of seconds from 1 to 3600".into(),
            }),
        }
    }

    /// The first of the choices is the default.
    fn one_of<T: Copy>(&self, name: &'static str, choices: &[(&str, T)]) -> Result<T, TargetError> {
        let Some(value) = self.last(name) else { return Ok(choices[0].1) };
        let found = choices.iter().find(|(known, _)| *known == value).map(|(_, choice)| *choice);
        found.ok_or_else(|| {
            let known: Vec<_> = choices.iter().map(|(known, _)| *known).collect();
            TargetError::Value { name, known: known.join(", ") }
        })
    }
}

fn read_port(text: &str) -> Result<u16, TargetError> {
    if text.is_empty() {
        return Ok(DEFAULT_PORT);
    }
    match text.trim().parse() {
        Ok(0) | Err(_) => {
            Err(TargetError::Value { name: "port", known: "a number from 1 to 65535".into() })
        }
        Ok(port) => Ok(port),
    }
}

fn read_host(name: Option<&str>, address: Option<&str>) -> Result<Host, TargetError> {
    let (name, address) = (name.unwrap_or_default(), address.unwrap_or_default());
    let refused = || TargetError::Value {
        name: "hostaddr",
        known: "an address such as 10.0.0.7 or ::1".into(),
    };
    let address: Option<IpAddr> =
        if address.is_empty() { None } else { Some(address.parse().map_err(|_| refused())?) };
    Ok(match (name, address) {
        ("", None) => default_host(),
        ("", Some(address)) => Host::Network { name: address.to_string(), address: Some(address) },
        (folder, None) if folder.starts_with('/') => Host::Socket(folder.into()),
        (name, address) => Host::Network { name: name.into(), address },
    })
}

/// The socket folder of this machine's packages; where there is none, the network.
fn default_host() -> Host {
    match DEFAULT_SOCKETS.iter().map(Path::new).find(|folder| folder.is_dir()) {
        Some(folder) => Host::Socket(folder.into()),
        None => Host::Network { name: "localhost".into(), address: None },
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("the connection string cannot be read: {0}")]
    Syntax(#[from] SyntaxError),
    #[error("the connection string has the parameter {name:?}, which rowcast does not know; known are {}", UNDERSTOOD.join(", "))]
    Unknown { name: String },
    #[error("the connection string's {name} is not one of: {known}")]
    Value { name: &'static str, known: String },
    #[error("the connection string names different numbers of hosts, addresses and ports")]
    Counts,
    #[error(transparent)]
    Tls(#[from] TlsFault),
}

const UNDERSTOOD: &[&str] = &[
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "connect_timeout",
    "options",
    "sslmode",
    "sslrootcert",
    "sslnegotiation",
    "channel_binding",
    "target_session_attrs",
];

const BINDINGS: &[(&str, ChannelBinding)] = &[
    ("prefer", ChannelBinding::Prefer),
    ("disable", ChannelBinding::Disable),
    ("require", ChannelBinding::Require),
];

const NEGOTIATIONS: &[(&str, SslNegotiation)] =
    &[("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)];

/// Triggers write and the daemon listens, neither of which a standby does: no attribute asks for one.
const ATTRIBUTES: &[(&str, bool)] = &[("any", false), ("read-write", true), ("primary", true)];

const DEFAULT_SOCKETS: &[&str] = &["/var/run/postgresql", "/run/postgresql"];
const DEFAULT_PORT: u16 = 5432;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Target::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_target_is_shown_without_its_password() {
        for (text, shown) in [
            ("postgres://me:hunter2@db:6000/app", "me@db:6000/app"),
            ("host=a,b port=6000 user=me dbname=app password=hunter2", "me@a:6000,b:6000/app"),
            ("postgres://a,b:6001/app", "a:5432,b:6001/app"),
            ("hostaddr=::1 dbname=app", "[::1]:5432/app"),
            ("host=/tmp port=6000", "/tmp:6000"),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!(
                (target.to_string(), format!("{target:?}")),
                (shown.into(), format!("Target({shown})"))
            );
        }
    }

    #[test]
    fn of_several_servers_the_writable_one_is_looked_for() {
        for (text, needed) in [
            ("postgres://a/app", false),
            ("postgres://a,b/app", true),
            ("postgres://a,b/app?target_session_attrs=any", false),
            ("postgres://a/app?target_session_attrs=read-write", true),
            ("postgres://a/app?target_session_attrs=primary", true),
        ] {
            assert_eq!(Target::parse(text).unwrap().needs_writable, needed, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named_with_what_is() {
        let unknown = refusal("postgres://a/app?ssl_mode=require");
        assert!(unknown.contains("\"ssl_mode\"") && unknown.contains("sslmode"), "{unknown}");
        for (text, said) in [
            (
                "postgres://a/app?sslmode=on",
                "sslmode is not one of: prefer, disable, allow, require, verify-ca, verify-full",
            ),
            ("postgres://a/app?target_session_attrs=standby", "any, read-write, primary"),
            ("postgres://a:0/app", "port"),
            ("postgres://a:x/app", "port"),
            ("host=a,b port=1,2,3", "different numbers"),
            ("hostaddr=nowhere", "hostaddr"),
            ("host=a connect_timeout=0", "connect_timeout"),
        ] {
            assert!(refusal(text).contains(said), "{text}: {}", refusal(text));
        }
    }
}

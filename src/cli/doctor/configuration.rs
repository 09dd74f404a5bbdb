//! Is the configuration right, and are its secrets kept?
//!
//! In: the configuration as it was loaded, or its faults. Out: checks. Invariant: no secret is in an answer.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::check::Check;
use crate::config::{AuthKey, Config, Fault, Faults, Loaded, Setting};

/// A configuration that cannot be used leaves nothing else to ask.
pub fn refused(faults: &Faults) -> Vec<Check> {
    faults.0.iter().map(fault).collect()
}

pub fn examine(loaded: &Loaded, faults: Option<&Faults>) -> Vec<Check> {
    let mut checks: Vec<Check> = match faults {
        Some(faults) => refused(faults),
        None => vec![Check::ok("configuration", origin(loaded))],
    };
    checks.extend(loaded.warnings.iter().filter(|warning| !is_asked_below(warning)).map(warning));
    checks.push(secret_files(&files(loaded)));
    checks.push(key(&loaded.config));
    checks.push(address(&loaded.config));
    checks.push(policies(&loaded.config));
    checks
}

fn origin(loaded: &Loaded) -> String {
    match &loaded.file {
        Some(file) => format!("{}: no faults", file.display()),
        None => "no faults; no file was found, so defaults and environment are in force".to_owned(),
    }
}

fn fault(fault: &Fault) -> Check {
    Check::failure("configuration", fault.to_string(), CHECK_AGAIN)
}

fn warning(fault: &Fault) -> Check {
    Check::warning("configuration", fault.to_string(), CHECK_AGAIN)
}

/// What `key` and `secret files` have to say themselves.
fn is_asked_below(warning: &Fault) -> bool {
    ["auth.secret_file", "auth.anonymous"].contains(&warning.key.as_str())
}

/// The files that hold a secret, with their modes.
fn files(loaded: &Loaded) -> Vec<(PathBuf, u32)> {
    let config = &loaded.config;
    let named =
        [&config.auth.secret_file, &config.database.url_file, &config.database.listen_url_file];
    let beside = loaded.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let credential = |name: &str| credentials.as_ref().map(|folder| folder.join(name));
    let path = |name: &String| {
        credential(name).filter(|path| path.exists()).unwrap_or_else(|| beside.join(name))
    };
    let keys = named.into_iter().flatten().map(path);
    let own = loaded.file.clone().filter(|_| holds_password(loaded));
    let mode = |path: PathBuf| {
        let mode = fs::metadata(&path).ok()?.permissions().mode();
        Some((path, mode))
    };
    keys.chain(own).filter_map(mode).collect()
}

/// Whether the configuration's own file has a password in it.
fn holds_password(loaded: &Loaded) -> bool {
    let has_password = |url: &str| {
        let login = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
        login.is_some_and(|(login, _)| login.contains(':')) || url.contains("password=")
    };
    let from_file = |key| matches!(loaded.fault(key, "").place, crate::config::Place::File { .. });
    let database = &loaded.config.database;
    (from_file("database.url") && has_password(database.url.expose()))
        || (from_file("database.listen_url") && has_password(database.listen_url().expose()))
}

fn secret_files(files: &[(PathBuf, u32)]) -> Check {
    const NAME: &str = "secret files";
    let open: Vec<String> = files
        .iter()
        .filter(|(_, mode)| mode & OTHERS != 0)
        .map(|(path, _)| path.display().to_string())
        .collect();
    match (open.as_slice(), files.len()) {
        ([], 0) => Check::ok(NAME, "no secret is kept in a file"),
        ([], 1) => Check::ok(NAME, "the one file is closed to other users"),
        ([], count) => Check::ok(NAME, format!("all {count} are closed to other users")),
        (open, _) => Check::failure(
            NAME,
            format!("every user of this machine may read {}", open.join(", ")),
            format!("chmod o= {}", open.join(" ")),
        ),
    }
}

fn key(config: &Config) -> Check {
    const NAME: &str = "key";
    let algorithms: Vec<String> =
        config.auth.algorithms.iter().map(|name| format!("{name:?}")).collect();
    let algorithms = algorithms.join(", ");
    match (&config.auth.key, &config.auth.jwks_url, config.auth.anonymous) {
        (Some(AuthKey::Hmac(secret)), ..) => {
            let bytes = secret.expose().len();
            Check::ok(NAME, format!("a secret of {bytes} bytes for {algorithms}"))
        }
        (Some(AuthKey::PublicPem(_)), ..) => {
            Check::ok(NAME, format!("a public key for {algorithms}"))
        }
        (None, Some(url), _) => Check::ok(NAME, format!("the keys at {url}")),
        (None, None, true) if config.server.listen.ip().is_loopback() => {
            Check::ok(NAME, "none; clients are anonymous, and this machine's alone")
        }
        (None, None, true) => Check::warning(
            NAME,
            "none, and others can reach this server: everybody gets what the policies without claims allow",
            "name a key in auth.secret_file or auth.public_key_file, or listen on 127.0.0.1",
        ),
        (None, None, false) => Check::failure(
            NAME,
            "none, so no client can connect",
            "openssl rand -hex 32 > jwt-secret && chmod 0600 jwt-secret; then name it in auth.secret_file",
        ),
    }
}

fn address(config: &Config) -> Check {
    const NAME: &str = "address";
    let listen = config.server.listen;
    if listen.ip().is_loopback() {
        return Check::ok(NAME, format!("{listen} is for this machine and its proxies only"));
    }
    if !config.server.trusted_proxies.is_empty() {
        return Check::ok(
            NAME,
            format!("{listen}, behind {}", config.server.trusted_proxies.show()),
        );
    }
    Check::warning(
        NAME,
        format!(
            "{listen} can be reached from other machines, and the daemon does not encrypt: tokens may travel in the open"
        ),
        "put a proxy that speaks TLS in front, and listen on 127.0.0.1",
    )
}

fn policies(config: &Config) -> Check {
    const NAME: &str = "policies";
    match (config.policy.len(), &config.authorize.function) {
        (0, None) => Check::warning(
            NAME,
            "none, and no authorize.function: users get their own channel user:ID and no other",
            "add a [[policy]], such as: channel = \"orders:*\", allow = [\"subscribe\"]",
        ),
        (0, Some(function)) => Check::ok(NAME, format!("{function} decides alone")),
        (count, None) => Check::ok(NAME, format!("{count}; the first that matches decides")),
        (count, Some(function)) => {
            Check::ok(NAME, format!("{count}, and {function} has the last word"))
        }
    }
}

const OTHERS: u32 = 0o007;

const CHECK_AGAIN: &str = "mend that line; `rowcast config check` shows when it is right";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::check::State;

    fn config(text: &str) -> Config {
        let loaded = crate::config::Sources::default().load_text(text);
        loaded.unwrap_or_else(|faults| panic!("{faults}")).config
    }

    #[test]
    fn a_secret_that_others_can_read_is_told() {
        let file = |mode| vec![(PathBuf::from("/etc/key"), mode)];
        assert_eq!(secret_files(&[]).state, State::Ok);
        for (mode, state) in [(0o100_600, State::Ok), (0o640, State::Ok), (0o644, State::Failure)] {
            assert_eq!(secret_files(&file(mode)).state, state, "{mode:o}");
        }
        assert_eq!(secret_files(&file(0o644)).mend.as_deref(), Some("chmod o= /etc/key"));
    }

    #[test]
    fn openness_and_emptiness_are_told() {
        let default = Config::default();
        assert_eq!(key(&default).state, State::Failure);
        assert_eq!(address(&default).state, State::Ok);
        assert_eq!(policies(&default).state, State::Warning);
        let open = config("server.listen = \"0.0.0.0:4040\"\nauth.anonymous = true");
        assert_eq!((key(&open).state, address(&open).state), (State::Warning, State::Warning));
        let decided = config("authorize.function = \"f\"");
        assert_eq!(policies(&decided).state, State::Ok);
    }
}

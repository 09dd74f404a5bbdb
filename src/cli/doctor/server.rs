//! The server: reachable, of a good version, writable, encrypted, with the schema that this program needs.
//!
//! In: what was read of it. Out: checks. Invariant: pure.

use std::time::{Duration, SystemTime};

use super::check::Check;
use crate::config::Config;
use crate::postgres::diagnosis::{Difference, Encryption, Host, Server};

/// `why` is what the walk over all servers ended with.
pub fn reachable(target: &str, hosts: &[Host], why: Option<&str>) -> Vec<Check> {
    const NAME: &str = "reachable";
    if let Some(why) = why {
        let mend = "mend the connection string in database.url, or what stands in the way; \
                    nothing else of the database was asked";
        return vec![Check::failure(NAME, why, mend)];
    }
    let away: Vec<&Host> = hosts.iter().filter(|host| host.is_standby.is_err()).collect();
    let mut checks = vec![Check::ok(NAME, describe(target, hosts))];
    checks.extend(away.into_iter().filter_map(|host| {
        let why = host.is_standby.as_ref().err()?;
        let mend = format!("start {}, or take it out of database.url", host.name);
        Some(Check::warning(format!("{NAME}: {}", host.name), why, mend))
    }));
    checks
}

fn describe(target: &str, hosts: &[Host]) -> String {
    let standbys = hosts.iter().filter(|host| host.is_standby == Ok(true)).count();
    match standbys {
        0 => target.to_owned(),
        1 => format!("{target}; one of them is a standby"),
        count => format!("{target}; {count} of them are standbys"),
    }
}

pub fn judge(
    server: &Server,
    asked: SystemTime,
    answered: SystemTime,
    config: &Config,
) -> Vec<Check> {
    vec![
        version(server),
        primary(server),
        encryption(&server.encryption),
        clock(server.clock, asked, answered, config.auth.leeway),
        room(server, config.database.pool_size),
        settings(server),
    ]
}

fn version(server: &Server) -> Check {
    const NAME: &str = "version";
    let (major, minor) = (server.version_number / 10_000, server.version_number % 10_000);
    let found = format!("PostgreSQL {}", server.version);
    let fixed = LISTEN_FIXED.iter().find(|(known, _)| *known == major).map(|(_, minor)| *minor);
    match fixed {
        Some(fixed) if minor >= fixed => Check::ok(NAME, found),
        Some(fixed) => Check::warning(
            NAME,
            format!(
                "{found} may refuse LISTEN with \"could not access status of transaction\"; the daemon gets round it"
            ),
            format!("update to {major}.{fixed} or later"),
        ),
        None if major < OLDEST => Check::failure(
            NAME,
            format!("{found} is too old"),
            format!("update to PostgreSQL {OLDEST} or newer"),
        ),
        None => Check::warning(
            NAME,
            format!("{found} is newer than what this rowcast was tested with"),
            "look for a newer rowcast",
        ),
    }
}

fn primary(server: &Server) -> Check {
    const NAME: &str = "primary";
    if server.is_standby {
        return Check::failure(
            NAME,
            "a standby: it neither listens nor notifies",
            "name the primary in database.url, or all servers separated by commas",
        );
    }
    Check::ok(NAME, "it takes writes")
}

fn encryption(line: &Encryption) -> Check {
    const NAME: &str = "encryption";
    match (&line.cipher, line.is_local, line.is_verified) {
        (Some(cipher), _, true) => Check::ok(NAME, cipher),
        (Some(cipher), true, _) => Check::ok(NAME, format!("{cipher}, within this machine")),
        (Some(cipher), false, false) => Check::warning(
            NAME,
            format!("{cipher}, but nothing asks whether this is the right server"),
            "add sslmode=verify-full&sslrootcert=FILE to database.url",
        ),
        (None, true, _) => Check::ok(NAME, "none, within this machine"),
        (None, false, _) => Check::failure(
            NAME,
            "none: the log travels in the open, perhaps the password too",
            "add sslmode=verify-full&sslrootcert=FILE to database.url, and set ssl = on in postgresql.conf",
        ),
    }
}

/// The server's clock stands for a moment between the two of ours.
fn clock(server: f64, asked: SystemTime, answered: SystemTime, leeway: Duration) -> Check {
    const NAME: &str = "clock";
    let seconds = |at: SystemTime| {
        at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    };
    let ahead = (server - seconds(answered)).max(0.0);
    let behind = (seconds(asked) - server).max(0.0);
    let (off, way) = if ahead > behind { (ahead, "ahead of") } else { (behind, "behind") };
    if off < 1.0 {
        return Check::ok(NAME, "the database's and this machine's agree");
    }
    let answer = format!("the database's is {off:.0} s {way} this machine's");
    let mend = "run chrony or systemd-timesyncd on both machines";
    if off > leeway.as_secs_f64().max(1.0) {
        let answer = format!("{answer}: rowcast.revoke and the ages in the log are off by that");
        return Check::failure(NAME, answer, mend);
    }
    Check::warning(NAME, answer, mend)
}

/// A daemon has its pool, the connection that listens and the one that reads the log.
fn room(server: &Server, pool_size: usize) -> Check {
    const NAME: &str = "connections";
    let needed = i64::try_from(pool_size).unwrap_or(i64::MAX).saturating_add(2);
    let most = i64::from(server.max_connections - server.reserved);
    let sessions = server.sessions;
    let mend = "raise max_connections, or lower database.pool_size";
    if most < needed {
        let answer = format!("a daemon takes up to {needed}, and the server has {most} for all");
        return Check::failure(NAME, answer, mend);
    }
    if sessions.saturating_mul(10) > most.saturating_mul(9) {
        return Check::warning(NAME, format!("{sessions} of {most} are taken"), mend);
    }
    Check::ok(NAME, format!("{sessions} of {most} are taken; a daemon takes up to {needed}"))
}

fn settings(server: &Server) -> Check {
    const NAME: &str = "settings";
    if server.max_locks_per_transaction < DEFAULT_LOCKS {
        return Check::warning(
            NAME,
            format!(
                "max_locks_per_transaction is {}: every transaction that writes a watched table takes one entry of the lock table",
                server.max_locks_per_transaction
            ),
            format!(
                "alter system set max_locks_per_transaction = {DEFAULT_LOCKS}; and restart the server"
            ),
        );
    }
    Check::ok(NAME, "those that matter are as they should be")
}

pub fn schema(installed: &Result<(), String>) -> Check {
    const NAME: &str = "schema";
    match installed {
        Ok(()) => Check::ok(NAME, "rowcast is installed, in this program's version"),
        Err(why) if why.contains("run `rowcast migrate`") && !why.contains("uninstall") => {
            let answer = why.split(": run").next().unwrap_or(why);
            Check::failure(NAME, answer, "rowcast migrate")
        }
        Err(why) => match why.split_once(": ") {
            Some((answer, mend)) => Check::failure(NAME, answer, mend),
            None => Check::failure(NAME, why, "rowcast migrate"),
        },
    }
}

pub fn functions(differences: &[(&str, Difference)]) -> Check {
    const NAME: &str = "functions";
    if differences.is_empty() {
        return Check::ok(NAME, "as this program has them");
    }
    let tell = |(name, difference): &(&str, Difference)| match difference {
        Difference::Missing => format!("{name} is missing"),
        Difference::Body => format!("{name} has another text"),
        Difference::Rights => format!("{name} runs with another role's rights"),
        Difference::Owner => format!("{name} belongs to another role"),
    };
    let mut told: Vec<String> = differences.iter().take(FEW).map(tell).collect();
    if differences.len() > FEW {
        told.push(format!("and {} more", differences.len() - FEW));
    }
    Check::failure(NAME, told.join(", "), "rowcast migrate")
}

const OLDEST: i32 = 14;

/// The minor versions from which on LISTEN does not fail on an old notification queue.
const LISTEN_FIXED: &[(i32, i32)] = &[(14, 21), (15, 16), (16, 12), (17, 8), (18, 2)];

const DEFAULT_LOCKS: i32 = 64;

const FEW: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::check::State;

    fn server() -> Server {
        Server {
            version_number: 150_018,
            version: "15.18".to_owned(),
            is_standby: false,
            encryption: Encryption { cipher: None, is_local: true, is_verified: false },
            max_connections: 100,
            reserved: 3,
            sessions: 12,
            max_prepared_transactions: 0,
            max_locks_per_transaction: 64,
            clock: 0.0,
        }
    }

    #[test]
    fn versions_with_the_fault_of_listen_are_told() {
        for (number, state) in [
            (130_022, State::Failure),
            (140_020, State::Warning),
            (140_021, State::Ok),
            (150_015, State::Warning),
            (170_007, State::Warning),
            (180_002, State::Ok),
            (190_000, State::Warning),
        ] {
            assert_eq!(version(&Server { version_number: number, ..server() }).state, state);
        }
    }

    #[test]
    fn a_line_to_another_machine_is_encrypted_and_verified() {
        let line = |cipher: Option<&str>, is_local, is_verified| {
            let cipher = cipher.map(str::to_owned);
            encryption(&Encryption { cipher, is_local, is_verified }).state
        };
        assert_eq!(line(None, true, false), State::Ok);
        assert_eq!(line(None, false, false), State::Failure);
        assert_eq!(line(Some("TLSv1.3"), false, false), State::Warning);
        assert_eq!(line(Some("TLSv1.3"), false, true), State::Ok);
        assert_eq!(line(Some("TLSv1.3"), true, false), State::Ok);
    }

    #[test]
    fn a_clock_that_is_off_by_more_than_the_leeway_is_a_failure() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let judged = |server| clock(server, at(100), at(102), Duration::from_secs(5));
        for (server, state) in [
            (101.0, State::Ok),
            (102.9, State::Ok),
            (104.0, State::Warning),
            (97.0, State::Warning),
            (108.0, State::Failure),
            (90.0, State::Failure),
        ] {
            assert_eq!(judged(server).state, state, "{server}");
        }
        assert!(judged(90.0).answer.contains("10 s behind"));
        assert!(judged(112.0).answer.contains("10 s ahead of"));
    }

    #[test]
    fn connections_and_settings_are_judged() {
        assert_eq!(room(&server(), 8).state, State::Ok);
        assert_eq!(room(&server(), 96).state, State::Failure);
        assert_eq!(room(&Server { sessions: 95, ..server() }, 8).state, State::Warning);
        assert_eq!(settings(&server()).state, State::Ok);
        let few = Server { max_locks_per_transaction: 10, ..server() };
        assert_eq!(settings(&few).state, State::Warning);
        assert_eq!(primary(&Server { is_standby: true, ..server() }).state, State::Failure);
    }

    #[test]
    fn servers_that_are_away_are_named_beside_the_one_that_is_there() {
        let host = |name: &str, is_standby: Result<bool, &str>| Host {
            name: name.to_owned(),
            is_standby: is_standby.map_err(str::to_owned),
        };
        let hosts = [host("a:1", Ok(false)), host("b:1", Ok(true)), host("c:1", Err("refused"))];
        let checks = reachable("a:1,b:1,c:1/app", &hosts, None);
        let states: Vec<_> = checks.iter().map(|check| check.state).collect();
        assert_eq!(states, [State::Ok, State::Warning]);
        assert!(checks[1].name.contains("c:1"));
        assert_eq!(reachable("a", &hosts, Some("all away"))[0].state, State::Failure);
    }

    #[test]
    fn a_schema_that_does_not_fit_says_which_command_mends_it() {
        use crate::postgres::migrations::MigrateError;
        for (error, mend) in [
            (MigrateError::NotInstalled, "rowcast migrate"),
            (MigrateError::Behind { needed: 9 }, "rowcast migrate"),
            (MigrateError::Newer { found: 9, known: 4 }, "use a newer rowcast"),
            (MigrateError::Changed { name: "0001_schema" }, "use the release that"),
        ] {
            let check = schema(&Err(error.to_string()));
            assert!(check.mend.as_ref().is_some_and(|said| said.starts_with(mend)), "{check:?}");
        }
    }
}

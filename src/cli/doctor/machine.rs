//! Can the daemon listen here, and hold as many connections as it should?
//!
//! In: the configuration, this machine. Out: checks. Invariant: a port is asked, never taken for longer than the asking.

use std::fs;
use std::io::ErrorKind;

use super::address::{self, Occupant};
use super::check::Check;
use crate::config::Config;

pub async fn examine(config: &Config) -> Vec<Check> {
    let listen = config.server.listen;
    // Health is asked where it is told.
    let told = config.server.private_listen.unwrap_or(listen);
    let occupant = address::occupant(listen, told).await;
    vec![port(&listen.to_string(), &occupant), descriptors(config.limits.connections, &limits())]
}

fn port(address: &str, occupant: &Occupant) -> Check {
    const NAME: &str = "port";
    let other = format!("ss -ltnp 'sport = :{}'", address.rsplit(':').next().unwrap_or_default());
    match occupant {
        Occupant::Nobody => Check::ok(NAME, format!("{address} is free: no daemon runs here")),
        Occupant::Ready => Check::ok(NAME, format!("a daemon at {address} is ready")),
        Occupant::NotReady(status) => Check::failure(
            NAME,
            format!("the daemon at {address} says it is {status}"),
            "its log says why; on systemd: journalctl --unit rowcast --since -10min",
        ),
        Occupant::Stranger => Check::failure(
            NAME,
            format!("something at {address} is no rowcast daemon"),
            format!("find it with `{other}`, or choose another port in server.listen"),
        ),
        Occupant::Refused(ErrorKind::AddrNotAvailable) => Check::failure(
            NAME,
            format!("{address} is no address of this machine"),
            "choose one that `ip address` shows, or 0.0.0.0, in server.listen",
        ),
        Occupant::Refused(ErrorKind::PermissionDenied) => Check::failure(
            NAME,
            format!("this user may not listen on {address}"),
            "choose a port from 1024 on, or give the unit AmbientCapabilities=CAP_NET_BIND_SERVICE",
        ),
        Occupant::Refused(kind) => Check::failure(
            NAME,
            format!("nobody can listen on {address}: {kind}"),
            "choose another address in server.listen",
        ),
    }
}

/// How many files a process may open, and whose limit that is.
#[derive(Debug, PartialEq, Eq)]
struct Limit {
    soft: u64,
    /// The daemon's own process; else it is ours.
    daemon: Option<u32>,
}

/// Of the daemons that run here, if any; else of this process, which one that is started here would have.
fn limits() -> Vec<Limit> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let daemons: Vec<Limit> = ids
        .filter(|id| is_daemon(*id))
        .filter_map(|id| Some(Limit { soft: limit_of(&id.to_string())?, daemon: Some(id) }))
        .collect();
    if !daemons.is_empty() {
        return daemons;
    }
    limit_of("self").map(|soft| Limit { soft, daemon: None }).into_iter().collect()
}

fn is_daemon(id: u32) -> bool {
    let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0);
    let is_ours = words.next().is_some_and(|program| program.ends_with(b"rowcast"));
    is_ours && words.any(|word| word == b"serve")
}

fn limit_of(process: &str) -> Option<u64> {
    soft_limit(&fs::read_to_string(format!("/proc/{process}/limits")).ok()?)
}

/// From the text of `/proc/…/limits` (proc(5)).
fn soft_limit(limits: &str) -> Option<u64> {
    let rest = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn descriptors(connections: usize, limits: &[Limit]) -> Check {
    const NAME: &str = "open files";
    let needed = connections as u64 + OWN_FILES;
    let Some(least) = limits.iter().min_by_key(|limit| limit.soft) else {
        return Check::ok(NAME, "this system does not tell the limit");
    };
    let whose = match least.daemon {
        Some(id) => format!("the daemon (process {id})"),
        None => "a daemon that is started here".to_owned(),
    };
    if least.soft >= needed {
        return Check::ok(NAME, format!("{whose} may have {connections} connections open"));
    }
    Check::warning(
        NAME,
        format!("{whose} may open {} files, and limits.connections is {connections}", least.soft),
        format!(
            "LimitNOFILE={needed} in the unit, or `ulimit -n {needed}`, or a lower limits.connections"
        ),
    )
}

/// Connections to the database, log, libraries, what waits to be refused.
const OWN_FILES: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::check::State;

    #[test]
    fn what_is_on_the_port_is_told_apart() {
        for (occupant, state, said) in [
            (Occupant::Nobody, State::Ok, "free"),
            (Occupant::Ready, State::Ok, "ready"),
            (Occupant::NotReady("degraded".into()), State::Failure, "degraded"),
            (Occupant::Stranger, State::Failure, "no rowcast"),
            (Occupant::Refused(ErrorKind::AddrNotAvailable), State::Failure, "no address"),
            (Occupant::Refused(ErrorKind::PermissionDenied), State::Failure, "may not"),
        ] {
            let check = port("127.0.0.1:4040", &occupant);
            assert_eq!(check.state, state, "{check:?}");
            assert!(check.answer.contains(said), "{check:?}");
            assert_eq!(check.mend.is_some(), state != State::Ok);
        }
    }

    #[test]
    fn the_smallest_limit_counts() {
        let text = "Limit  Soft Limit\nMax open files            1024                 524288               files\n";
        assert_eq!(soft_limit(text), Some(1024));
        let limit = |soft, daemon| Limit { soft, daemon };
        assert_eq!(descriptors(1000, &[]).state, State::Ok);
        assert_eq!(descriptors(1000, &[limit(1024, None)]).state, State::Warning);
        let two = [limit(u64::MAX, Some(1)), limit(900, Some(2))];
        let check = descriptors(1000, &two);
        assert!(check.answer.contains("process 2") && check.state == State::Warning, "{check:?}");
        assert!(check.mend.is_some_and(|mend| mend.contains("LimitNOFILE=1100")));
    }
}

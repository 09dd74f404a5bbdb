//! How many files may the daemon have open?
//!
//! In: the port that it listens on. Out: a check. Invariant: the limit is that of the very process that holds the port,
//! where it can be seen, else of one that would be started here.

use std::fs;

use super::check::Check;

/// How many files a process may open, and whose limit that is.
#[derive(Debug, PartialEq, Eq)]
pub struct Limit {
    soft: u64,
    /// The daemon's own process; else it is ours.
    daemon: Option<u32>,
}

/// `port` where a daemon runs there. `None` where the system does not tell.
pub fn limit(port: Option<u16>) -> Option<Limit> {
    let daemon = port.and_then(holder);
    let process = daemon.map_or_else(|| "self".to_owned(), |id| id.to_string());
    let soft = soft_limit(&fs::read_to_string(format!("/proc/{process}/limits")).ok()?)?;
    Some(Limit { soft, daemon })
}

/// The process that listens on this port; only our own user's can be seen, or as root everybody's.
fn holder(port: u16) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let sockets: Vec<String> = tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines())
        .filter_map(|line| listening(line, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.into_iter().find(|id| holds(*id, &sockets))
}

/// The inode of a socket that listens on the port, from a line of `/proc/net/tcp` (proc(5)).
fn listening(line: &str, port: u16) -> Option<&str> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, local) = fields.get(1)?.rsplit_once(':')?;
    let is_ours = u16::from_str_radix(local, 16) == Ok(port) && *fields.get(3)? == LISTEN;
    if is_ours { fields.get(9).copied() } else { None }
}

fn holds(id: u32, sockets: &[String]) -> bool {
    let files = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
    let mut links = files.filter_map(|file| fs::read_link(file.path()).ok());
    links.any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
}

/// From the text of `/proc/…/limits` (proc(5)).
fn soft_limit(limits: &str) -> Option<u64> {
    let rest = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

pub fn judge(connections: usize, limit: Option<&Limit>) -> Check {
    const NAME: &str = "open files";
    let needed = connections as u64 + OWN_FILES;
    let Some(limit) = limit else {
        return Check::ok(NAME, "this system does not tell the limit");
    };
    let whose = match limit.daemon {
        Some(id) => format!("the daemon (process {id})"),
        None => "a daemon that is started here".to_owned(),
    };
    if limit.soft >= needed {
        return Check::ok(NAME, format!("{whose} may have {connections} connections open"));
    }
    Check::warning(
        NAME,
        format!("{whose} may open {} files, and limits.connections is {connections}", limit.soft),
        format!(
            "LimitNOFILE={needed} in the unit, or `ulimit -n {needed}`, or a lower limits.connections"
        ),
    )
}

/// Connections to the database, log, libraries, what waits to be refused.
const OWN_FILES: u64 = 100;

/// The state of a socket that listens, as the kernel prints it.
const LISTEN: &str = "0A";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::check::State;

    #[test]
    fn a_limit_below_the_connections_is_told_with_whose_it_is() {
        let text = "Limit  Soft Limit\nMax open files            1024                 524288               files\n";
        assert_eq!(soft_limit(text), Some(1024));
        let judged = |soft, daemon| judge(1000, Some(&Limit { soft, daemon }));
        assert_eq!(judge(1000, None).state, State::Ok);
        assert_eq!(
            (judged(u64::MAX, None).state, judged(1100, None).state),
            (State::Ok, State::Ok)
        );
        let check = judged(1024, Some(7));
        assert!(check.answer.contains("process 7") && check.state == State::Warning, "{check:?}");
        assert!(check.mend.is_some_and(|mend| mend.contains("LimitNOFILE=1100")));
    }

    #[test]
    fn the_process_that_listens_on_a_port_is_found() {
        let here = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = here.local_addr().unwrap().port();
        assert_eq!(holder(port), Some(std::process::id()));
        drop(here);
        assert_eq!(holder(port), None);
    }
}

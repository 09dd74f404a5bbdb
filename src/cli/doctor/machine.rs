//! Can the daemon listen here, and hold as many connections as it should?
//!
//! In: the configuration, this machine. Out: checks. Invariant: a port is asked, never taken for longer than the asking.

use std::io::ErrorKind;

use super::address::{self, Occupant};
use super::check::Check;
use super::open_files;
use crate::config::Config;

pub async fn examine(config: &Config) -> Vec<Check> {
    let listen = config.server.listen;
    // Health is asked where it is told.
    let told = config.server.private_listen.unwrap_or(listen);
    let occupant = address::occupant(listen, told).await;
    let daemon = matches!(occupant, Occupant::Ready | Occupant::NotReady(_));
    let limit = open_files::limit(daemon.then_some(listen.port()));
    vec![
        port(&listen.to_string(), &occupant),
        open_files::judge(config.limits.connections, limit.as_ref()),
    ]
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
}

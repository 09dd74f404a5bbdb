//! Listening sockets that a service manager opened before it started the daemon (`sd_listen_fds(3)`).
//!
//! In: `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES`. Out: the sockets, by what they are for. Invariant: each is
//! used or refused, so that no client waits behind a socket that nobody accepts from.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;

/// What was handed over; for what is missing the daemon opens sockets of its own.
#[derive(Debug, Default)]
pub struct Handed {
    pub public: Option<TcpListener>,
    pub private: Option<TcpListener>,
}

#[derive(Debug, thiserror::Error)]
pub enum HandedFault {
    #[error(
        "the service manager hands over two {0} sockets; leave one ListenStream= in the socket unit"
    )]
    TwoOf(&'static str),
    #[error(
        "socket {0} of the service manager does not listen on a TCP port; the socket unit needs ListenStream=PORT and Accept=no"
    )]
    NoListener(usize, #[source] io::Error),
}

impl Handed {
    /// Call once, early: the descriptors are this process's own afterwards, and its children see nothing of them.
    pub fn of_process() -> Result<Self, HandedFault> {
        let mut sockets = ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut handed = Self::default();
        for index in 0..sockets.len() {
            let socket =
                take(&mut sockets, index).map_err(|e| HandedFault::NoListener(index, e))?;
            handed.place(names.next().unwrap_or_default(), socket)?;
        }
        Ok(handed)
    }

    fn place(&mut self, name: &str, socket: TcpListener) -> Result<(), HandedFault> {
        let (place, what) = match name {
            PRIVATE => (&mut self.private, "private"),
            _ => (&mut self.public, "public"),
        };
        match place.replace(socket) {
            None => Ok(()),
            Some(_) => Err(HandedFault::TwoOf(what)),
        }
    }
}

fn take(sockets: &mut ListenFd, index: usize) -> io::Result<TcpListener> {
    let socket = sockets.take_tcp_listener(index)?;
    socket.filter(listens).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Not so the connection that `Accept=yes` would hand over.
#[cfg(target_os = "linux")]
fn listens(socket: &TcpListener) -> bool {
    socket2::SockRef::from(socket).is_listener().unwrap_or(false)
}

/// Whoever starts us there is no systemd, and this can't be asked everywhere.
#[cfg(not(target_os = "linux"))]
fn listens(_socket: &TcpListener) -> bool {
    true
}

/// `FileDescriptorName=` of the socket for health and readiness; whatever is named otherwise is for clients.
const PRIVATE: &str = "private";

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn names_say_what_a_socket_is_for() {
        let mut handed = Handed::default();
        handed.place("private", socket()).unwrap();
        assert!(handed.public.is_none());
        handed.place("rowcast.socket", socket()).unwrap();
        assert!(handed.public.is_some() && handed.private.is_some());
    }

    #[test]
    fn a_socket_that_nobody_would_accept_from_is_refused() {
        let mut handed = Handed::default();
        handed.place("rowcast.socket", socket()).unwrap();
        assert!(matches!(handed.place("", socket()), Err(HandedFault::TwoOf("public"))));
    }
}

//! File descriptors: how many connections there can be, and what to do when there is none left.
//!
//! In: the limit of the process. Out: a number of connections that leaves some for everything else, and a [`Spare`].
//! Invariant: clients never take the descriptors that the database, health and the log need.

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;

/// Asks for as many descriptors as the process may have; how many that are, `None` where there is no limit.
pub fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, ?current, ?maximum, "cannot raise the limit of file descriptors");
            current
        }
    }
}

/// Fewer than `configured` where the limit of descriptors does not leave `reserved` beside them.
pub fn connections(configured: usize, limit: Option<u64>, reserved: usize) -> usize {
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    configured.min(limit.saturating_sub(reserved)).max(1)
}

/// Whether this is why nobody can be accepted, in the process or in the whole system.
pub fn are_exhausted(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| exhausted.contains(&code))
}

/// A descriptor to let go when there is no other, so that who knocks can be told.
pub struct Spare(Option<File>);

impl Spare {
    pub fn keep() -> Self {
        Self(placeholder())
    }

    /// Accepts who is waiting and sends them away; how many.
    pub async fn send_away(&mut self, listener: &TcpListener, farewell: &[u8]) -> usize {
        let mut sent = 0;
        while sent < AT_ONCE && self.send_one_away(listener, farewell).await {
            sent += 1;
        }
        sent
    }

    async fn send_one_away(&mut self, listener: &TcpListener, farewell: &[u8]) -> bool {
        let Some(spare) = self.0.take().or_else(placeholder) else { return false };
        drop(spare);
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted.ok(),
            () = std::future::ready(()) => None,
        };
        let knocked = accepted.is_some();
        if let Some((stream, _)) = accepted {
            // A client that is gone needs no answer.
            let _ = stream.into_std().and_then(|stream| say(stream, farewell));
        }
        self.0 = placeholder();
        knocked
    }
}

/// A request that stays unread would reset the connection, and the answer be lost.
fn say(mut stream: std::net::TcpStream, farewell: &[u8]) -> io::Result<()> {
    stream.write_all(farewell)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut unread = [0; 4096];
    while stream.read(&mut unread)? > 0 {}
    Ok(())
}

fn placeholder() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Few enough that nobody else waits for it.
const AT_ONCE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_never_given_to_clients() {
        assert_eq!(connections(100_000, Some(1_024), 128), 896);
        assert_eq!(connections(500, Some(1_024), 128), 500);
        assert_eq!(connections(500, None, 128), 500);
        assert_eq!(connections(500, Some(64), 128), 1, "one is let in whatever happens");
    }
}

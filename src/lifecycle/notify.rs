//! What a service manager is told (`sd_notify(3)`).
//!
//! In: `NOTIFY_SOCKET` and `WATCHDOG_USEC`, what happens here. Out: datagrams. Invariant: without a service manager
//! nothing happens, and a service manager that does not listen ends nothing.

use std::ffi::OsStr;
use std::future::Future;
use std::io;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::time::timeout;

/// Whoever started the daemon and wants to know how it is.
#[derive(Debug, Default)]
pub struct Supervisor {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names, if it names one.
    pub fn of_process() -> io::Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|text| !text.is_empty());
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let socket = variable("NOTIFY_SOCKET").map(|name| connect(&name)).transpose()?;
        let is_ours = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|_| is_ours && socket.is_some());
        Ok(Self { socket, watchdog: watchdog.map(Duration::from_micros) })
    }

    /// How often it is told that all is well: twice in the time after which it would intervene.
    pub fn rhythm(&self) -> Duration {
        self.watchdog.map_or(STATUS_EVERY, |watchdog| (watchdog / 2).min(STATUS_EVERY))
    }

    /// `READY=1`: clients are let in.
    pub async fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}\n")).await;
    }

    /// Not there yet, and still at it: the time for starting begins anew.
    pub async fn starting(&self, status: &str) {
        self.say(&format!("STATUS={status}\n{}", patience())).await;
    }

    /// Those who do the work do it.
    pub async fn alive(&self, status: &str) {
        self.say(&format!("WATCHDOG=1\nSTATUS={status}\n")).await;
    }

    /// For a person only: whoever hangs is not spoken for.
    pub async fn status(&self, status: &str) {
        self.say(&format!("STATUS={status}\n")).await;
    }

    /// The same as `starting`, on the way out. The watchdog still runs.
    pub async fn stopping(&self, status: &str) {
        self.say(&format!("STOPPING=1\nWATCHDOG=1\nSTATUS={status}\n{}", patience())).await;
    }

    /// Reloading lasts as long as this.
    pub async fn while_reloading<T>(&self, reload: impl Future<Output = T>) -> T {
        // systemd wants the time from 253 on (`Type=notify-reload`), and ignores it before.
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", monotonic_micros())).await;
        let outcome = reload.await;
        self.say("READY=1\n").await;
        outcome
    }

    async fn say(&self, text: &str) {
        let Some(socket) = &self.socket else { return };
        let sent = timeout(SENDING, socket.send(text.as_bytes())).await;
        if let Err(error) = sent.unwrap_or_else(|elapsed| Err(elapsed.into())) {
            tracing::debug!(%error, "the service manager cannot be told");
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = StdDatagram::unbound()?;
    socket.connect_addr(&address(name)?)?;
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

/// A path, or with `@` in front a name of the abstract space.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(name) => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    }
}

fn patience() -> String {
    format!("EXTEND_TIMEOUT_USEC={}\n", PATIENCE.as_micros())
}

fn monotonic_micros() -> u128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default().as_micros()
}

/// Fresh enough for a person.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// Several rounds of telling may get lost, or be late.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service manager that reads nothing for so long has other worries.
const SENDING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    async fn heard(name: &str, listener: StdDatagram) -> String {
        let supervisor =
            Supervisor { socket: Some(connect(OsStr::new(name)).unwrap()), watchdog: None };
        supervisor.ready("following app").await;
        let mut text = [0; 200];
        let length = listener.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn both_kinds_of_address_are_reached() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = StdDatagram::bind(&path).unwrap();
        let said = "READY=1\nSTATUS=following app\n";
        assert_eq!(heard(path.to_str().unwrap(), listener).await, said);
        #[cfg(target_os = "linux")]
        {
            let name = format!("rowcast-test-{}", std::process::id());
            let address = address(OsStr::new(&format!("@{name}"))).unwrap();
            let listener = StdDatagram::bind_addr(&address).unwrap();
            assert_eq!(heard(&format!("@{name}"), listener).await, said);
        }
    }

    #[tokio::test]
    async fn nobody_to_tell_is_no_fault() {
        Supervisor::default().ready("following app").await;
        let reloaded = Supervisor::default().while_reloading(async { 7 }).await;
        assert_eq!(reloaded, 7);
    }

    #[test]
    fn the_rhythm_is_half_of_what_the_watchdog_waits() {
        let rhythm = |watchdog| Supervisor { socket: None, watchdog }.rhythm();
        assert_eq!(rhythm(Some(Duration::from_secs(4))), Duration::from_secs(2));
        assert_eq!(rhythm(Some(Duration::from_secs(60))), STATUS_EVERY);
        assert_eq!(rhythm(None), STATUS_EVERY);
    }
}

//! A proxy that misbehaves on demand, in front of a server or of the daemon.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

pub struct Proxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    /// Counts the lines that were reset.
    resets: watch::Sender<usize>,
    accepting: AbortHandle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The line stays open and carries nothing, either way.
    Stalled,
    /// What the server says does not arrive.
    Mute,
    /// Every byte comes alone.
    Trickle,
    /// Connections are reset, and new ones too.
    Reset,
    /// The client is told that nothing more comes, while the server hears on.
    HalfClosed,
}

impl Proxy {
    pub async fn to(target: SocketAddr) -> Self {
        Self::cutting_first(target, usize::MAX).await
    }

    /// Of the first connection, only so many bytes of what the server says arrive, ever.
    pub async fn cutting_first(target: SocketAddr, bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (fault, watched) = watch::channel(Fault::None);
        let resets = watch::Sender::new(0);
        let counter = resets.clone();
        let accepting = tokio::spawn(async move {
            let mut most = bytes;
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, target, watched.clone(), counter.clone(), most));
                most = usize::MAX;
            }
        });
        Self { address, fault, resets, accepting: accepting.abort_handle() }
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Resets every line, and returns once that has happened to one, which may be a new one.
    pub async fn reset_one(&self) {
        let mut resets = self.resets.subscribe();
        self.set(Fault::Reset);
        let reset = timeout(DEADLINE, resets.changed()).await;
        reset.expect("somebody connects in time").expect("the proxy is here");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(
    client: TcpStream,
    target: SocketAddr,
    fault: watch::Receiver<Fault>,
    resets: watch::Sender<usize>,
    most: usize,
) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (client, server) = (Arc::new(client), Arc::new(server));
    let (mut reset, mut half_closed) = (fault.clone(), fault.clone());
    let close_half = async {
        if half_closed.wait_for(|fault| *fault == Fault::HalfClosed).await.is_ok() {
            let _ = socket2::SockRef::from(&*client).shutdown(std::net::Shutdown::Write);
        }
        std::future::pending::<()>().await;
    };
    let carried = async {
        tokio::select! {
            () = pipe(&client, &server, fault.clone(), None) => {}
            () = pipe(&server, &client, fault.clone(), Some(most)) => {}
            () = close_half => {}
        }
    };
    tokio::select! {
        () = carried => {}
        _ = reset.wait_for(|fault| *fault == Fault::Reset) => {
            // Without lingering, the end is a reset.
            for stream in [&client, &server] {
                let _ = socket2::SockRef::from(&**stream).set_linger(Some(Duration::ZERO));
            }
            drop((client, server));
            resets.send_modify(|resets| *resets += 1);
        }
    }
}

async fn pipe(
    from: &TcpStream,
    to: &TcpStream,
    mut fault: watch::Receiver<Fault>,
    mut from_server: Option<usize>,
) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let flows = |fault: &Fault| match fault {
            Fault::Stalled => false,
            Fault::Mute | Fault::HalfClosed => from_server.is_none(),
            Fault::None | Fault::Trickle | Fault::Reset => true,
        };
        if fault.wait_for(flows).await.is_err() || from.readable().await.is_err() {
            return;
        }
        if !flows(&fault.borrow()) {
            continue;
        }
        if from_server == Some(0) {
            std::future::pending::<()>().await;
        }
        let size = if *fault.borrow() == Fault::Trickle { 1 } else { buffer.len() };
        match from.try_read(&mut buffer[..size.min(from_server.unwrap_or(size))]) {
            Ok(0) => return,
            Ok(count) => {
                from_server = from_server.map(|left| left - count);
                if write_all(to, &buffer[..count]).await.is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Far beyond what a loaded machine needs.
const DEADLINE: Duration = Duration::from_secs(60);

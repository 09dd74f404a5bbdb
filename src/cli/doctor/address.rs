//! Who is at an address of this machine.
//!
//! In: where the daemon would listen, and where it would tell its health. Out: nobody, a daemon, somebody else.
//! Invariant: an answer within two seconds.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

#[derive(Debug, PartialEq, Eq)]
pub enum Occupant {
    Nobody,
    Ready,
    /// A daemon, with the word it has for its health.
    NotReady(String),
    Stranger,
    /// Nobody could be there.
    Refused(ErrorKind),
}

pub async fn occupant(listen: SocketAddr, told: SocketAddr) -> Occupant {
    match TcpListener::bind(listen).await {
        Ok(_free) => Occupant::Nobody,
        Err(error) if error.kind() == ErrorKind::AddrInUse => health(told).await,
        Err(error) => Occupant::Refused(error.kind()),
    }
}

async fn health(told: SocketAddr) -> Occupant {
    match ask(told, "/healthz").await.as_deref() {
        Some("alive") => match ask(told, "/readyz").await {
            Some(status) if status == "ready" => Occupant::Ready,
            Some(status) => Occupant::NotReady(status),
            None => Occupant::NotReady("silent".to_owned()),
        },
        _ => Occupant::Stranger,
    }
}

/// The status that the daemon's JSON names.
async fn ask(address: SocketAddr, path: &str) -> Option<String> {
    let answer = timeout(PATIENCE, request(reachable(address), path)).await.ok()?.ok()?;
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    Some(body.get("status")?.as_str()?.to_owned())
}

async fn request(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// An address that stands for all of them is asked on the loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

const PATIENCE: Duration = Duration::from_secs(1);

/// Of an answer of some strange server.
const MOST: u64 = 16 * 1024;

//! The PROXY header, with which a proxy says whose connection it passes on (HAProxy's specification, versions 1 and 2).
//!
//! In: a connection of a proxy that is trusted. Out: the client's address, and the connection at the first byte behind
//! the header. Invariant: not one byte more is read, since what follows belongs to HTTP.

use std::io;
use std::net::SocketAddr;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

#[derive(Debug, thiserror::Error)]
pub enum BadHeader {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    #[error("the PROXY header did not come in time")]
    Late,
    #[error("the PROXY header is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("the PROXY header cannot be read")]
    Broken,
}

/// `None` where the proxy speaks for itself, as in a health check, or does not know its client.
pub async fn read(stream: &mut TcpStream) -> Result<Option<SocketAddr>, BadHeader> {
    // No header of version 1 is shorter than that.
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        read_rest_of_v2(stream, &mut header).await?;
    } else if header.starts_with(b"PROXY ") {
        read_line(stream, &mut header).await?;
    } else {
        return Err(BadHeader::Missing);
    }
    source(&header)
}

async fn read_rest_of_v2(stream: &mut TcpStream, header: &mut Vec<u8>) -> Result<(), BadHeader> {
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed).await?;
    header.extend(fixed);
    let [_, _, high, low] = fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let begin = header.len();
    if begin + length > MAX_BYTES {
        return Err(BadHeader::TooLong);
    }
    header.resize(begin + length, 0);
    stream.read_exact(&mut header[begin..]).await?;
    Ok(())
}

/// Looks ahead, and takes what belongs to the line.
async fn read_line(stream: &mut TcpStream, header: &mut Vec<u8>) -> Result<(), BadHeader> {
    let mut ahead = [0; MAX_LINE_BYTES];
    while !header.ends_with(b"\n") {
        let room = MAX_LINE_BYTES - header.len();
        if room == 0 {
            return Err(BadHeader::TooLong);
        }
        let seen = stream.peek(&mut ahead[..room]).await?;
        if seen == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let end = ahead[..seen].iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(seen, |at| at + 1);
        stream.read_exact(&mut ahead[..taken]).await?;
        header.extend(&ahead[..taken]);
    }
    Ok(())
}

/// Of a whole header and nothing behind it.
fn source(header: &[u8]) -> Result<Option<SocketAddr>, BadHeader> {
    match ProxyHeader::parse(header, ParseConfig { include_tlvs: false, ..ParseConfig::default() })
    {
        Ok((parsed, length)) if length == header.len() => {
            Ok(parsed.proxied_address().map(|addresses| addresses.source))
        }
        _ => Err(BadHeader::Broken),
    }
}

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// "PROXY TCP6 " and the longest addresses and ports there are.
const MAX_LINE_BYTES: usize = 107;

/// Addresses, and what cloud providers and TLS add to them; the specification asks for 536 at least.
const MAX_BYTES: usize = 2048;

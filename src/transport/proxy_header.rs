//! The PROXY header, with which a proxy says whose connection it passes on (versions 1 and 2 of the specification).
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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;
    use proxy_header::ProxiedAddress;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// What a connection with these bytes says, which come in pieces, and what is left of them behind the header.
    fn hear(pieces: Vec<Vec<u8>>) -> (Result<Option<SocketAddr>, BadHeader>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut proxy = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let speak = async {
                for piece in pieces {
                    // The other side may have heard enough.
                    let _ = proxy.write_all(&piece).await;
                    tokio::task::yield_now().await;
                }
                let _ = proxy.shutdown().await;
            };
            let (header, ()) = tokio::join!(read(&mut stream), speak);
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            (header, rest)
        })
    }

    fn in_pieces(bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
        bytes.chunks(size).map(<[u8]>::to_vec).collect()
    }

    fn sockets() -> impl Strategy<Value = SocketAddr> {
        let ipv4 = any::<u32>().prop_map(|bits| IpAddr::from(Ipv4Addr::from(bits)));
        let ipv6 = any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from(bits)));
        (prop_oneof![ipv4, ipv6], any::<u16>()).prop_map(SocketAddr::from)
    }

    /// Bytes that look like a header for a while.
    fn nearly_headers() -> impl Strategy<Value = Vec<u8>> {
        let begin = prop_oneof![
            Just(b"".to_vec()),
            Just(b"PROXY ".to_vec()),
            Just(b"PROXY TCP4 1.2.3.4 ".to_vec()),
            Just(SIGNATURE.to_vec()),
            Just([SIGNATURE.as_slice(), &[0x21, 0x11, 0]].concat()),
            Just([SIGNATURE.as_slice(), &[0x21, 0x21, 0]].concat()),
        ];
        let rest = proptest::collection::vec(any::<u8>(), 0..300);
        (begin, rest).prop_map(|(begin, rest)| [begin, rest].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn a_header_is_read_to_its_last_byte_and_no_further(
            source in sockets(),
            version in 1..=2,
            rest in proptest::collection::vec(any::<u8>(), 0..100),
            size in 1_usize..80,
        ) {
            let destination = SocketAddr::new(source.ip(), 443);
            let header = ProxyHeader::with_address(ProxiedAddress::stream(source, destination));
            let mut bytes = Vec::new();
            match version {
                1 => header.encode_v1(&mut bytes).unwrap(),
                _ => header.encode_v2(&mut bytes).unwrap(),
            }
            bytes.extend(&rest);
            let (heard, left) = hear(in_pieces(&bytes, size));
            prop_assert_eq!(heard.unwrap(), Some(source));
            prop_assert_eq!(left, rest);
        }

        #[test]
        fn no_bytes_do_harm(bytes in nearly_headers(), size in 1_usize..80) {
            let (heard, left) = hear(in_pieces(&bytes, size));
            prop_assert!(left.len() <= bytes.len());
            if heard.is_ok() {
                prop_assert!(bytes.starts_with(SIGNATURE) || bytes.starts_with(b"PROXY "));
            }
        }

        #[test]
        fn whatever_the_parser_is_given_it_answers(bytes in nearly_headers()) {
            let _ = source(&bytes);
        }
    }
}

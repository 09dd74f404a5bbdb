//! The opening handshake of RFC 6455, by hand, so that the bare socket can be taken over.
//!
//! In: a request on its way through warp. Out: a [`Handshake`] to grant or a [`Refusal`] to send, and
//! after a grant an [`Upgraded`] socket. Invariant: bytes that the client sent early, and its seat under
//! the connection cap, go along with the socket.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine;
use base64::alphabet;
use base64::engine::{GeneralPurpose, general_purpose};
use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::accept::Seat;
use super::gate::AddressSeat;
use super::refusal::Refusal;

/// The subprotocol spoken here. A client may leave it out, but not offer others only.
pub const SUBPROTOCOL: &str = "rowcast.v1";

/// A request for a WebSocket with nothing wrong about it.
#[derive(Debug)]
pub struct Handshake {
    accept: HeaderValue,
    subprotocol: Option<HeaderValue>,
    on_upgrade: OnUpgrade,
    seat: Seat,
}

/// The socket, once the client has its 101.
#[derive(Debug)]
pub struct Upgraded {
    pub stream: TcpStream,
    /// What the client sent without waiting for the answer: to be read before the stream.
    pub early: Bytes,
    pub seat: Seat,
}

/// Judges the request. Needs the extensions that the accept loop gives it.
pub fn handshake() -> impl Filter<Extract = (Result<Handshake, Refusal>,), Error = Rejection> + Clone
{
    warp::method()
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::ext::get::<Seat>())
        .map(|method, headers, on_upgrade, seat| read(&method, &headers, on_upgrade, seat))
}

impl Handshake {
    /// Keeps a seat of this address too for as long as the socket lasts.
    #[must_use]
    pub fn of_address(self, address: Option<AddressSeat>) -> Self {
        Self { seat: self.seat.of_address(address), ..self }
    }

    /// The 101; `serve` gets the socket as a task of `tasks` as soon as that is written.
    pub fn grant<S, F>(self, tasks: &TaskTracker, serve: S) -> Response
    where
        S: FnOnce(Upgraded) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { accept, subprotocol, on_upgrade, seat } = self;
        tasks.spawn(async move {
            if let Some(upgraded) = take_over(on_upgrade, seat).await {
                serve(upgraded).await;
            }
        });
        switching_protocols(accept, subprotocol)
    }
}

fn read(
    method: &Method,
    headers: &HeaderMap,
    on_upgrade: Option<OnUpgrade>,
    seat: Seat,
) -> Result<Handshake, Refusal> {
    if method != Method::GET {
        return Err(Refusal::method_not_allowed());
    }
    // hyper gives an upgrade to a request of HTTP/1.1 that asks for one.
    let on_upgrade = on_upgrade.filter(|_| asks_for_websocket(headers));
    let on_upgrade = on_upgrade.ok_or_else(|| Refusal::upgrade_required(NO_UPGRADE))?;
    check_version(headers)?;
    check_no_body(headers)?;
    let accept = accept_key(sole(headers, &header::SEC_WEBSOCKET_KEY))?;
    let subprotocol = choose_subprotocol(headers)?;
    Ok(Handshake { accept, subprotocol, on_upgrade, seat })
}

fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let has = |name, wanted| items(headers, name).any(|item| item.eq_ignore_ascii_case(wanted));
    has(&header::CONNECTION, "upgrade") && has(&header::UPGRADE, "websocket")
}

fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    match sole(headers, &header::SEC_WEBSOCKET_VERSION) {
        Some("13") => Ok(()),
        _ => Err(Refusal::upgrade_required("only version 13 of WebSocket is spoken here")),
    }
}

/// A body would be taken for the first frames by one of two readers.
fn check_no_body(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_empty = headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0");
    if is_empty && !headers.contains_key(header::TRANSFER_ENCODING) {
        Ok(())
    } else {
        Err(Refusal::bad_request("a WebSocket handshake has no body"))
    }
}

/// RFC 6455 section 4.2.2: proves that the request was understood.
fn accept_key(key: Option<&str>) -> Result<HeaderValue, Refusal> {
    let key = key
        .filter(|key| KEY_ENCODING.decode(key).is_ok_and(|nonce| nonce.len() == NONCE_BYTES))
        .ok_or_else(|| Refusal::bad_request("Sec-WebSocket-Key must be 16 bytes in base64"))?;
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key.as_bytes());
    digest.update(HANDSHAKE_ID);
    let accept = general_purpose::STANDARD.encode(digest.finish());
    Ok(HeaderValue::try_from(accept).expect("base64 is made of visible characters"))
}

fn choose_subprotocol(headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
    if !headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        return Ok(None);
    }
    // A browser drops a connection that selects nothing of what it offered, and does not say why.
    if items(headers, &header::SEC_WEBSOCKET_PROTOCOL).any(|offered| offered == SUBPROTOCOL) {
        Ok(Some(HeaderValue::from_static(SUBPROTOCOL)))
    } else {
        Err(Refusal::bad_request("offer the subprotocol rowcast.v1, or none"))
    }
}

fn switching_protocols(accept: HeaderValue, subprotocol: Option<HeaderValue>) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(subprotocol) = subprotocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    response
}

async fn take_over(on_upgrade: OnUpgrade, seat: Seat) -> Option<Upgraded> {
    let upgraded = match on_upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(%error, "client left during the handshake");
            return None;
        }
    };
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
        tracing::error!("an upgraded connection is no TCP socket of the accept loop");
        return None;
    };
    // A copy, so that hyper's read buffer of several KiB does not live as long as the connection.
    let early = Bytes::copy_from_slice(&parts.read_buf);
    Some(Upgraded { stream: parts.io.into_inner(), early, seat })
}

/// The items of a header that is a list, over all its lines.
pub(super) fn items<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|item| !item.is_empty())
}

/// The value of a header that must stand there once.
fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).into_iter();
    let value = lines.next()?.to_str().ok()?.trim();
    lines.next().is_none().then_some(value)
}

const NO_UPGRADE: &str = "open this address as a WebSocket; \
    a proxy in between must speak HTTP/1.1 and pass on the headers Upgrade and Connection";

const HANDSHAKE_ID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const NONCE_BYTES: usize = 16;

/// The last character of a key holds four bits that count for nothing; some clients set them.
const KEY_ENCODING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    general_purpose::PAD.with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_standard_gives_the_answer_of_the_standard() {
        let accept = accept_key(Some("dGhlIHNhbXBsZSBub25jZQ==")).unwrap();
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn keys_that_are_no_16_bytes_in_base64_are_refused() {
        for bad in
            ["", "AAAA", "not base64 at all", "AAAAAAAAAAAAAAAAAAAAAAA=", "dGhlIHNhbXBsZSBub25jZQ"]
        {
            assert!(accept_key(Some(bad)).is_err(), "{bad}");
        }
        assert!(accept_key(None).is_err());
        assert!(accept_key(Some("abcdefghijklmnopqrstuv==")).is_ok(), "spare bits set");
    }

    #[test]
    fn our_subprotocol_is_selected_and_a_credential_never() {
        let choose = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(line));
            }
            choose_subprotocol(&headers).map(|chosen| chosen.is_some()).ok()
        };
        assert_eq!(choose(&[]), Some(false));
        assert_eq!(choose(&["rowcast.v1"]), Some(true));
        assert_eq!(choose(&["bearer.a.b.c, rowcast.v1"]), Some(true));
        assert_eq!(choose(&["other", "rowcast.v1"]), Some(true));
        assert_eq!(choose(&["bearer.a.b.c"]), None);
        assert_eq!(choose(&["rowcast.v2"]), None);
        assert_eq!(choose(&["ROWCAST.V1"]), None);
        assert_eq!(choose(&[""]), None);
    }

    #[test]
    fn upgrade_may_be_one_of_several_connection_options() {
        let asks = |connection: &'static str, upgrade: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONNECTION, HeaderValue::from_static(connection));
            headers.insert(header::UPGRADE, HeaderValue::from_static(upgrade));
            asks_for_websocket(&headers)
        };
        assert!(asks("Upgrade", "websocket"));
        assert!(asks("keep-alive, UPGRADE", "WebSocket"));
        assert!(!asks("keep-alive", "websocket"));
        assert!(!asks("upgraded", "websocket"));
        assert!(!asks("upgrade", "h2c"));
    }

    #[test]
    fn headers_that_must_stand_once_count_only_once() {
        let mut headers = HeaderMap::new();
        headers.append(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        assert!(check_version(&headers).is_ok());
        headers.append(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("8"));
        assert!(check_version(&headers).is_err());
        assert!(check_version(&HeaderMap::new()).is_err());
    }
}

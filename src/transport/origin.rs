//! Which pages may talk to the service: the `Origin` of a request against an allow-list, and CORS.
//!
//! In: the headers of a request. Out: a pass, a refusal or the answer to a preflight. Invariant: an origin
//! is compared as a whole; a request without one comes from no page and passes.

use std::sync::Arc;

use http::header::{self, HeaderName};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use warp::filters::BoxedFilter;
use warp::reject::Reject;
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection};

use super::refusal::Refusal;
use crate::telemetry::metrics::Observer;
use crate::telemetry::notice::Notice;
use crate::telemetry::refusals::Refused;

/// The pages of other origins that may talk to the service; the service's own always may.
#[derive(Clone, Debug, Default)]
pub struct Origins(Arc<[Origin]>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no origin: write scheme://host or scheme://host:port, such as https://app.example.com"
)]
pub struct BadOrigin(String);

impl Origins {
    pub fn parse<T: AsRef<str>>(entries: &[T]) -> Result<Self, BadOrigin> {
        let origins = entries
            .iter()
            .map(AsRef::as_ref)
            .map(|entry| Origin::parse(entry).ok_or_else(|| BadOrigin(entry.to_owned())));
        origins.collect::<Result<_, _>>().map(Self)
    }

    fn judge(&self, method: &Method, headers: &HeaderMap) -> Result<Admitted, Halted> {
        let Some(value) = sole(headers)? else {
            return Ok(Admitted { origin: None });
        };
        let origin = value.to_str().ok().and_then(Origin::parse).ok_or(Halted::Refused)?;
        if !self.0.contains(&origin) && !origin.is_own(headers) {
            return Err(Halted::Refused);
        }
        let is_preflight = method == Method::OPTIONS
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let value = value.clone();
        if is_preflight {
            Err(Halted::Preflight(value))
        } else {
            Ok(Admitted { origin: Some(value) })
        }
    }
}

/// `routes` for the origins that are allowed when a request arrives; preflights are answered here.
///
/// `routes` should have turned its rejections into responses, or a page may not read those.
pub fn guard(
    current: impl Fn() -> Origins + Clone + Send + Sync + 'static,
    observer: Observer,
    routes: BoxedFilter<(Response,)>,
) -> BoxedFilter<(Response,)> {
    warp::method()
        .and(warp::header::headers_cloned())
        .and_then(move |method: Method, headers: HeaderMap| {
            let verdict = current().judge(&method, &headers);
            async move { verdict.map_err(warp::reject::custom) }
        })
        .and(routes)
        .map(Admitted::share)
        .recover(move |rejection| std::future::ready(answer_halted(rejection, &observer)))
        .unify()
        .boxed()
}

/// A request that goes on to the routes, with the page it came from if it did.
#[derive(Debug)]
struct Admitted {
    origin: Option<HeaderValue>,
}

/// A request that ends here.
#[derive(Debug)]
enum Halted {
    Refused,
    Preflight(HeaderValue),
}

impl Reject for Halted {}

impl Admitted {
    fn share(self, mut response: Response) -> Response {
        allow(self.origin, &mut response);
        response
    }
}

fn answer_halted(rejection: Rejection, observer: &Observer) -> Result<Response, Rejection> {
    match rejection.find::<Halted>() {
        Some(Halted::Refused) => {
            observer.note(&Notice::Refused(Refused::Origin));
            Ok(Refusal::forbidden(REFUSED).into_response())
        }
        Some(Halted::Preflight(origin)) => Ok(preflight(origin.clone())),
        None => Err(rejection),
    }
}

/// No `Access-Control-Allow-Credentials`: the service knows no cookies.
fn preflight(origin: HeaderValue) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    allow(Some(origin), &mut response);
    response.headers_mut().extend(PREFLIGHT);
    response
}

fn allow(origin: Option<HeaderValue>, response: &mut Response) {
    let headers = response.headers_mut();
    // Said to those without an origin too, else a cache may hand their answer to a page.
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers
            .insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    }
}

/// The one `Origin` of a request, if any.
fn sole(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Halted> {
    let mut values = headers.get_all(header::ORIGIN).into_iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Halted::Refused),
    }
}

/// Scheme and host in lower case, and the port, also where it goes without saying.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    /// `null`, which sandboxed and local pages send, is no origin.
    fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let (scheme, authority) = (uri.scheme_str()?.to_ascii_lowercase(), uri.authority()?);
        let is_bare =
            matches!(uri.path(), "" | "/") && uri.query().is_none() && !text.contains('#');
        if !is_bare || authority.host().is_empty() {
            return None;
        }
        let (host, port) = host_and_port(authority, &scheme)?;
        Some(Self { scheme, host, port })
    }

    /// Whether the page was served by the host that it talks to now.
    fn is_own(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).into_iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let authority = Authority::try_from(host.as_bytes()).ok();
        let own = authority.and_then(|authority| host_and_port(&authority, &self.scheme));
        default_port(&self.scheme).is_some() && own == Some((self.host.clone(), self.port))
    }
}

/// `None` for what no origin has: a user, or a port that is no number.
fn host_and_port(authority: &Authority, scheme: &str) -> Option<(String, Option<u16>)> {
    let host = authority.host();
    let port = match authority.as_str().strip_prefix(host)? {
        "" => default_port(scheme),
        text => Some(text.strip_prefix(':')?.parse().ok()?),
    };
    Some((host.to_ascii_lowercase(), port))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

const REFUSED: &str =
    "this page's origin is not allowed: the service's allowed_origins must name it";

const PREFLIGHT: [(HeaderName, HeaderValue); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST")),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, last-event-id"),
    ),
    // Ten minutes: a changed allow-list reaches browsers soon.
    (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
];

#[cfg(test)]
mod tests;

//! Requests that are turned down: an HTTP status and `{"error":{"code":…,"message":…}}`.
//!
//! In: the reason. Out: a reply. Invariant: a refused credential is answered the same way whatever was
//! wrong with it; the reason is for the log.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{self, HeaderName};
use http::{HeaderValue, StatusCode};
use serde_json::json;
use warp::reply::{Reply, Response};

#[derive(Clone, Debug)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    headers: &'static [(HeaderName, HeaderValue)],
    retry_after: Option<Duration>,
}

impl Refusal {
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub fn unauthorized() -> Self {
        let message = "a valid credential is needed: get a new token and try again";
        Self {
            headers: &UNAUTHORIZED,
            ..Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
        }
    }

    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    pub fn not_found() -> Self {
        let message = "there is nothing here; clients connect to /v1/ws";
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub fn method_not_allowed() -> Self {
        let message = "a WebSocket is opened with GET";
        Self {
            headers: &ONLY_GET,
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        }
    }

    /// More than the client's share; when the next one is welcome.
    pub fn rate_limited(wait: Duration) -> Self {
        let message = "too many requests; wait before the next one";
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
        Self { retry_after: Some(wait), ..refusal }
    }

    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
        Self { retry_after: Some(UNAVAILABLE), ..refusal }
    }

    /// The request is none for a WebSocket of the version spoken here.
    pub fn upgrade_required(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            headers: &UPGRADE_REQUIRED,
            ..Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message)
        }
    }

    fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), headers: &[], retry_after: None }
    }
}

impl Reply for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": { "code": self.code, "message": self.message } });
        if let Some(wait) = self.retry_after {
            body["error"]["retry_after_ms"] = json!(wait.as_millis().max(1));
        }
        let mut response =
            warp::reply::with_status(warp::reply::json(&body), self.status).into_response();
        response.headers_mut().extend(self.headers.iter().cloned());
        if let Some(wait) = self.retry_after {
            // Whole seconds (RFC 9110 section 10.2.3), rounded up.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            let value = HeaderValue::from_str(&seconds.to_string());
            response.headers_mut().extend(value.ok().map(|value| (header::RETRY_AFTER, value)));
        }
        response
    }
}

const UNAVAILABLE: Duration = Duration::from_secs(1);

static UNAUTHORIZED: [(HeaderName, HeaderValue); 1] =
    [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];

static ONLY_GET: [(HeaderName, HeaderValue); 1] =
    [(header::ALLOW, HeaderValue::from_static("GET"))];

/// RFC 9110 section 15.5.22 and RFC 6455 section 4.4.
static UPGRADE_REQUIRED: [(HeaderName, HeaderValue); 3] = [
    (header::CONNECTION, HeaderValue::from_static("Upgrade")),
    (header::UPGRADE, HeaderValue::from_static("websocket")),
    (header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
];

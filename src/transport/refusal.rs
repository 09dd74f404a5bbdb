//! Requests that are turned down: an HTTP status and `{"error":{"code":…,"message":…}}`.
//!
//! In: the reason. Out: a reply of a route, or the bytes of one where there is no request yet. Invariant: a refused credential is answered the same way whatever was
//! wrong with it; the reason is for the log.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use warp::reply::{Reply, Response};

#[derive(Clone, Debug)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    headers: &'static [(HeaderName, HeaderValue)],
    /// When to come back.
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

    /// The request is none for a WebSocket of the version spoken here.
    pub fn upgrade_required(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            headers: &UPGRADE_REQUIRED,
            ..Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message)
        }
    }

    /// Somebody has had their share, and has the next of it after this time.
    pub fn rate_limited(message: impl Into<Cow<'static, str>>, wait: Duration) -> Self {
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
        Self { retry_after: Some(wait), ..refusal }
    }

    /// There is no room for anybody.
    pub fn unavailable(message: impl Into<Cow<'static, str>>, wait: Duration) -> Self {
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
        Self { retry_after: Some(wait), ..refusal }
    }

    /// The whole answer of HTTP/1.1, for a connection that ends with it.
    pub fn farewell(&self) -> Bytes {
        let body = self.body().to_string();
        let wait = self.retry_seconds().map(|seconds| format!("Retry-After: {seconds}\r\n"));
        Bytes::from(format!(
            "HTTP/1.1 {}\r\n{}Content-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.status,
            wait.unwrap_or_default(),
            body.len()
        ))
    }

    fn body(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(wait) = self.retry_after {
            error["retry_after_ms"] =
                u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1).into();
        }
        json!({ "error": error })
    }

    /// Rounded up: who comes back too early is refused again.
    fn retry_seconds(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }

    fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), headers: &[], retry_after: None }
    }
}

impl Reply for Refusal {
    fn into_response(self) -> Response {
        let body = warp::reply::json(&self.body());
        let mut response = warp::reply::with_status(body, self.status).into_response();
        response.headers_mut().extend(self.headers.iter().cloned());
        if let Some(seconds) = self.retry_seconds() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_farewell_is_a_whole_answer_and_says_when_to_come_back() {
        let refusal = Refusal::rate_limited("slowly", Duration::from_millis(1_200));
        let text = String::from_utf8(refusal.farewell().to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        let wanted =
            r#"{"error":{"code":"rate_limited","message":"slowly","retry_after_ms":1200}}"#;
        assert_eq!(body, wanted);
    }
}

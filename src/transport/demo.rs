//! The demo's page and what it asks for. These routes exist in `rowcast demo` only.
//!
//! In: the files of `demo/`, embedded, and a [`Desk`] that knows the answers. Out: [`ExtraRoutes`]. Invariant: the
//! page needs nothing from another host, and may not: its policy names this one only.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header;
use serde::Deserialize;
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection};

use super::ExtraRoutes;
use super::refusal::Refusal;

/// What the page wants to know or do.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub enum Question {
    /// Who there is, each with a token.
    Config,
    /// The rows as they are now.
    Rows { user: String },
    /// Runs one statement.
    Write { user: String, op: String },
}

/// Answers in JSON, or says what is wrong.
pub trait Desk: Send + Sync + 'static {
    fn answer(&self, question: Question) -> Answer<'_>;
}

pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>>;

pub fn routes(desk: Arc<dyn Desk>) -> ExtraRoutes {
    let page = warp::path::end().map(|| file("text/html; charset=utf-8", PAGE));
    let style = warp::path!("demo.css").map(|| file("text/css; charset=utf-8", STYLE));
    let script = warp::path!("demo.js").map(|| file("text/javascript; charset=utf-8", SCRIPT));
    let files = warp::get().and(page.or(style).unify().or(script).unify());
    files.or(questions(desk)).unify().boxed()
}

fn questions(desk: Arc<dyn Desk>) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    let config = warp::path!("demo" / "config").and(warp::get()).map(|| Question::Config);
    let rows = warp::path!("demo" / "rows")
        .and(warp::get())
        .and(warp::query())
        .map(|Whose { user }| Question::Rows { user });
    let write = warp::path!("demo" / "write")
        .and(warp::post())
        .and(warp::body::content_length_limit(MAX_BODY_BYTES))
        .and(warp::body::json())
        .map(|What { user, op }| Question::Write { user, op });
    config.or(rows).unify().or(write).unify().then(move |question| {
        let desk = Arc::clone(&desk);
        async move {
            match desk.answer(question).await {
                Ok(body) => file("application/json", body),
                Err(message) => Refusal::bad_request(message).into_response(),
            }
        }
    })
}

#[derive(Deserialize)]
struct Whose {
    user: String,
}

#[derive(Deserialize)]
struct What {
    user: String,
    op: String,
}

fn file(kind: &'static str, body: impl Into<Bytes>) -> Response {
    let headers = [
        (header::CONTENT_TYPE.as_str(), kind),
        (header::CACHE_CONTROL.as_str(), "no-store"),
        (header::CONTENT_SECURITY_POLICY.as_str(), POLICY),
        (header::X_CONTENT_TYPE_OPTIONS.as_str(), "nosniff"),
        (header::REFERRER_POLICY.as_str(), "no-referrer"),
    ];
    let mut response = Response::new(body.into().into());
    for (name, value) in headers {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    response
}

const PAGE: &str = include_str!("../../demo/index.html");
const STYLE: &str = include_str!("../../demo/demo.css");
const SCRIPT: &str = include_str!("../../demo/demo.js");

/// Not every browser counts a WebSocket to the same host as `'self'`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
    connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Two short words.
const MAX_BODY_BYTES: u64 = 1024;

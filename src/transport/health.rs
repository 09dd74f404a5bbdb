//! How the daemon is, for load balancers, supervisors and Prometheus.
//!
//! In: [`Health`], what was counted. Out: `/healthz`, `/readyz`, `/metrics`. Invariant: alive says that the process
//! answers; ready says that a client sent here now gets every change.

use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::json;
use tokio::sync::watch;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::{Reply, Response};

use crate::hub::Hub;
use crate::lifecycle::{Health, Told};
use crate::telemetry::metrics::Observer;

/// What the operator's routes stand on.
#[derive(Clone)]
pub struct Operations {
    pub health: watch::Receiver<Health>,
    pub hub: Hub,
    pub observer: Observer,
}

pub fn routes(operations: &Operations) -> BoxedFilter<(Response,)> {
    let Operations { health, hub, observer } = operations.clone();
    let alive = warp::path!("healthz")
        .and(warp::get())
        .map(|| warp::reply::json(&json!({ "status": "alive" })).into_response());
    let ready = warp::path!("readyz").and(warp::get()).map(move || readiness(&health.borrow()));
    let metrics = warp::path!("metrics").and(warp::get()).then(move || {
        let (hub, observer) = (hub.clone(), observer.clone());
        async move { in_text_format(observer.render(hub.vitals().await.unwrap_or_default())) }
    });
    alive.or(ready).unify().or(metrics).unify().boxed()
}

fn in_text_format(metrics: String) -> Response {
    warp::reply::with_header(metrics, CONTENT_TYPE, prometheus::TEXT_FORMAT).into_response()
}

fn degraded(told: Told) -> (StatusCode, serde_json::Value) {
    let body = json!({ "status": "degraded", "reason": told.text() });
    (StatusCode::SERVICE_UNAVAILABLE, body)
}

fn readiness(health: &Health) -> Response {
    let (status, body) = match health {
        Health::Ready => (StatusCode::OK, json!({ "status": "ready" })),
        Health::Starting => (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "starting" })),
        // The cause may name servers and users; it is in the log.
        Health::Degraded(_, told) => degraded(*told),
        Health::Refused(_) => degraded(Told::Away),
        Health::Draining => (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "draining" })),
    };
    warp::reply::with_status(warp::reply::json(&body), status).into_response()
}

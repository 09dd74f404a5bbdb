//! How the daemon is, for load balancers and supervisors.
//!
//! In: [`Health`]. Out: `/healthz` and `/readyz`. Invariant: alive says that the process answers; ready says that a
//! client sent here now gets every change.

use http::StatusCode;
use serde_json::json;
use tokio::sync::watch;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::{Reply, Response};

use crate::lifecycle::Health;

pub fn routes(health: watch::Receiver<Health>) -> BoxedFilter<(Response,)> {
    let alive = warp::path!("healthz")
        .and(warp::get())
        .map(|| warp::reply::json(&json!({ "status": "alive" })).into_response());
    let ready = warp::path!("readyz").and(warp::get()).map(move || readiness(&health.borrow()));
    alive.or(ready).unify().boxed()
}

fn readiness(health: &Health) -> Response {
    let (status, body) = match health {
        Health::Ready => (StatusCode::OK, json!({ "status": "ready" })),
        Health::Starting => (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "starting" })),
        Health::Degraded(_) | Health::Refused(_) => {
            // The cause may name servers and users; it is in the log.
            let reason = "the database is away";
            (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "degraded", "reason": reason }))
        }
        Health::Draining => (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "draining" })),
    };
    warp::reply::with_status(warp::reply::json(&body), status).into_response()
}

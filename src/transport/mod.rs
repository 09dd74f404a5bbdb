//! Sockets and HTTP: warp lives here and nowhere else.
//!
//! In: connections. Out: sessions, and answers about the daemon's health. Invariant: a request is served only once
//! its origin is allowed, its address and user have not had their share, and its credential, if it has one, is good.

pub mod accept;
pub mod credentials;
pub mod demo;
pub mod descriptors;
pub mod gate;
pub mod health;
pub mod origin;
pub mod proxies;
pub mod proxy_header;
pub mod refusal;
pub mod tickets;
pub mod upgrade;
pub mod websocket;

use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderMap;
use tokio_util::task::TaskTracker;
use warp::filters::BoxedFilter;
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection};

use crate::domain::principal::Principal;
use crate::session::Services;
use accept::Peer;
use credentials::CredentialRefusal;
use gate::{COME_BACK, Gate};
use health::Operations;
use origin::Origins;
use refusal::Refusal;
use upgrade::Handshake;

/// Everything the routes stand on.
#[derive(Clone)]
pub struct Routes {
    pub services: Arc<Services>,
    pub origins: Arc<ArcSwap<Origins>>,
    pub gate: Arc<Gate>,
    /// `None` where they have an address of their own.
    pub operations: Option<Operations>,
    /// The tasks of upgraded sockets.
    pub sockets: TaskTracker,
}

/// Routes of a composition's own, such as the demo's page. What they reject goes on to the routes here.
pub type ExtraRoutes = BoxedFilter<(Response,)>;

/// What a browser page or a service asks for.
pub fn public(routes: &Routes, extra: Option<ExtraRoutes>) -> BoxedFilter<(Response,)> {
    let socket = websocket_route(routes).or(tickets::route(&routes.services)).unify().boxed();
    let own = match &routes.operations {
        Some(operations) => socket.or(health::routes(operations)).unify().boxed(),
        None => socket,
    };
    let all = match extra {
        Some(extra) => extra.or(own).unify().boxed(),
        None => own,
    };
    let answered = admitted(&routes.gate).and(all).recover(not_served).unify().boxed();
    let origins = Arc::clone(&routes.origins);
    origin::guard(
        move || Origins::clone(&origins.load()),
        routes.services.observer.clone(),
        answered,
    )
}

/// Lets a request pass that is no attempt too many of a client behind a proxy.
fn admitted(gate: &Arc<Gate>) -> BoxedFilter<()> {
    let gate = Arc::clone(gate);
    warp::ext::get::<Peer>()
        .and(warp::header::headers_cloned())
        .and_then(move |Peer(peer): Peer, headers: HeaderMap| {
            let admitted = gate.request(peer, &headers);
            async move { admitted.map_err(|refusal| warp::reject::custom(TurnedDown(refusal))) }
        })
        .untuple_one()
        .boxed()
}

#[derive(Debug)]
struct TurnedDown(Refusal);

impl warp::reject::Reject for TurnedDown {}

/// What only the operator asks for, on an address of its own.
pub fn private(operations: &Operations) -> BoxedFilter<(Response,)> {
    health::routes(operations).recover(not_served).unify().boxed()
}

fn websocket_route(routes: &Routes) -> BoxedFilter<(Response,)> {
    let routes = routes.clone();
    warp::path!("v1" / "ws")
        .and(upgrade::handshake())
        .and(warp::ext::get::<Peer>())
        .and(warp::header::headers_cloned())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .then(move |handshake, peer, headers: HeaderMap, query: String| {
            let routes = routes.clone();
            async move {
                let opened = open(&routes, handshake, peer, &headers, &query).await;
                opened.unwrap_or_else(Reply::into_response)
            }
        })
        .boxed()
}

async fn open(
    routes: &Routes,
    handshake: Result<Handshake, Refusal>,
    Peer(peer): Peer,
    headers: &HeaderMap,
    query: &str,
) -> Result<Response, Refusal> {
    let handshake = handshake?.of_address(routes.gate.upgrade(peer, headers)?);
    let services = Arc::clone(&routes.services);
    let principal = principal(&services, headers, query)
        .await
        .map_err(|refusal| refusal.told(&services.observer))?;
    let seat = services
        .seat_of(principal.as_ref())
        .map_err(|_full| Refusal::rate_limited("this user has too many connections", COME_BACK))?;
    let sockets = routes.sockets.clone();
    Ok(handshake.grant(&routes.sockets, move |upgraded| async move {
        // A task of its own, as the one that led here is large and short-lived.
        if let Some(socket) = websocket::open(upgraded, services, principal, seat).await {
            sockets.spawn(socket.serve());
        }
    }))
}

/// Who the request speaks for; `None` where a first message has to say so.
async fn principal(
    services: &Services,
    headers: &HeaderMap,
    query: &str,
) -> Result<Option<Principal>, CredentialRefusal> {
    match credentials::offered(headers, query)? {
        Some(offered) => {
            Ok(Some(services.admission.identify(&offered.token, offered.place).await?))
        }
        None => Ok(services.admission.anonymous()),
    }
}

async fn not_served(rejection: Rejection) -> Result<Response, Infallible> {
    if let Some(TurnedDown(refusal)) = rejection.find() {
        return Ok(refusal.clone().into_response());
    }
    if rejection.is_not_found() {
        return Ok(Refusal::not_found().into_response());
    }
    tracing::debug!(?rejection, "request rejected");
    Ok(Refusal::bad_request("this request is not understood here").into_response())
}

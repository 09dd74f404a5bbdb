//! `POST /v1/tickets`: a credential for a URL, which ends up in logs and histories.
//!
//! In: a request with a token. Out: a ticket that stands for it, once and for seconds. Invariant: nothing but a good
//! token gets one, within its user's share of messages.

use std::sync::Arc;

use http::HeaderMap;
use http::header;
use serde_json::json;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::{Reply, Response};

use super::credentials::{self, CredentialRefusal};
use super::refusal::Refusal;
use crate::domain::principal::Principal;
use crate::session::Services;
use crate::telemetry::notice::Notice;
use crate::telemetry::refusals::Refused;

pub fn route(services: &Arc<Services>) -> BoxedFilter<(Response,)> {
    let services = Arc::clone(services);
    warp::path!("v1" / "tickets")
        .and(warp::post())
        .and(warp::header::headers_cloned())
        .then(move |headers: HeaderMap| {
            let services = Arc::clone(&services);
            async move { issue(&services, &headers).await.unwrap_or_else(Reply::into_response) }
        })
        .boxed()
}

async fn issue(services: &Services, headers: &HeaderMap) -> Result<Response, Refusal> {
    let principal =
        holder(services, headers).await.map_err(|refusal| refusal.told(&services.observer))?;
    let user = principal.user.as_deref().unwrap_or_default();
    services.share.load().take(user).map_err(|wait| {
        services.observer.note(&Notice::Refused(Refused::Messages));
        Refusal::rate_limited("this user asks too often; wait before the next one", wait)
    })?;
    let issued = services.admission.issue_ticket(&principal).await;
    let (ticket, life) =
        issued.map_err(|refusal| CredentialRefusal::from(refusal).told(&services.observer))?;
    let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
    let body = warp::reply::json(&json!({ "ticket": ticket, "expires_in_ms": life }));
    let no_store = warp::reply::with_header(body, header::CACHE_CONTROL, "no-store");
    Ok(no_store.into_response())
}

/// In a URL or a subprotocol there is no need for one.
async fn holder(services: &Services, headers: &HeaderMap) -> Result<Principal, CredentialRefusal> {
    let offered = credentials::offered(headers, "")?.ok_or(CredentialRefusal::Missing)?;
    Ok(services.admission.identify_token(&offered.token, offered.place).await?)
}

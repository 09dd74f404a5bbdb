//! Whom the question is about.
//!
//! In: a token, or a user with claims. Out: a [`Principal`], or the step that refused it. Invariant: a token counts as
//! it would on a connection, revocations included.

use std::time::SystemTime;

use serde_json::{Map, Value};
use tokio_postgres::Client;

use super::Args;
use super::steps::Steps;
use crate::admission::Revocations;
use crate::auth::{Authenticator, Place};
use crate::cli::Failure;
use crate::config::{AuthConfig, Config};
use crate::domain::principal::Principal;
use crate::postgres::diagnosis;

pub async fn principal(
    args: &Args,
    config: &Config,
    client: &Client,
    steps: &mut Steps,
) -> Result<Option<Principal>, Failure> {
    let revocations = Revocations::default();
    revocations.add(diagnosis::revocations(client).await?);
    match &args.token {
        Some(token) => of_token(token, args.user.as_deref(), config, &revocations, steps),
        None => of_claims(args, &config.auth, &revocations, steps).map(Some),
    }
}

fn of_token(
    token: &str,
    user: Option<&str>,
    config: &Config,
    revocations: &Revocations,
    steps: &mut Steps,
) -> Result<Option<Principal>, Failure> {
    let verified =
        Authenticator::new(&config.auth)?.verify(token, Place::Header, SystemTime::now());
    let principal = match verified {
        Ok(principal) => principal,
        Err(refusal) => {
            steps.no("token", &format!("is refused: {refusal}"));
            return Ok(None);
        }
    };
    let held_by = principal.user.as_deref().unwrap_or_default();
    if user.is_some_and(|user| user != held_by) {
        steps.no("token", &format!("is that of user {held_by}"));
        return Ok(None);
    }
    if revocations.cover(&principal) {
        steps.no("token", "was revoked");
        return Ok(None);
    }
    let until = principal.expires_at.map(humantime::format_rfc3339_seconds);
    let until = until.map_or_else(String::new, |until| format!(", until {until}"));
    steps.note("token", &format!("is good, for user {held_by}{until}"));
    Ok(Some(principal))
}

fn of_claims(
    args: &Args,
    auth: &AuthConfig,
    revocations: &Revocations,
    steps: &mut Steps,
) -> Result<Principal, Failure> {
    let user = args.user.clone().unwrap_or_default();
    let mut principal = Principal {
        claims: args.claims.clone().unwrap_or_default(),
        user: Some(user.as_str().into()),
        ..Principal::default()
    };
    match principal.claim(&auth.user_claim).map(text) {
        Some(named) if named != user => {
            let message = format!("--claims are those of user {named}, and --user is {user}");
            return Err(Failure::new(message).next("leave one of the two out, or make them agree"));
        }
        Some(_) => {}
        None => _ = principal.claims.insert(auth.user_claim.clone(), user.clone().into()),
    }
    principal.role = principal.claim(&auth.role_claim).and_then(Value::as_str).map(Into::into);
    steps.note("claims", &told(&principal.claims));
    if revocations.cover(&principal) {
        steps.note(
            "revoked",
            "tokens of this user issued up to then count no longer; --token tells of one",
        );
    }
    Ok(principal)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn told(claims: &Map<String, Value>) -> String {
    let pairs = claims.iter().map(|(name, value)| format!("{name} = {value}"));
    pairs.collect::<Vec<_>>().join(", ")
}

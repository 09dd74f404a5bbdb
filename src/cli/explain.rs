//! `rowcast explain`: why a user gets a channel, or does not.
//!
//! In: a user, a channel, perhaps a token and an event's id. Out: the steps of the decision and one sentence. Invariant:
//! each verdict comes from the code that decides in service; here it is only told.

mod event;
mod policies;
mod sources;
mod steps;
mod subject;

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio_postgres::Client;

use super::{Failure, Settings, print};
use crate::access::{Access, Function, Rights, Verdict};
use crate::config::Config;
use crate::domain::channel::Pattern;
use crate::domain::policy::Action;
use crate::domain::principal::Principal;
use crate::postgres::authorize::Authorize;
use crate::postgres::connect::Target;
use crate::telemetry::metrics::Observer;
use steps::{Answer, Steps};

/// Say why a user gets a channel, or does not
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Whom it is about
    #[arg(long, value_name = "ID", required_unless_present = "token")]
    user: Option<String>,

    /// A channel, or a pattern such as orders:*
    #[arg(long, value_name = "CHANNEL")]
    channel: String,

    /// What the user's token says, as a JSON object
    #[arg(long, value_name = "JSON", conflicts_with = "token", value_parser = object)]
    claims: Option<Map<String, Value>>,

    /// The user's token itself, which is checked as well
    #[arg(long, value_name = "JWT")]
    token: Option<String>,

    /// The id of an event, as another client got it
    #[arg(long, value_name = "EVENT")]
    id: Option<String>,

    /// As a JSON object with the steps
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args, settings: &Settings) -> Result<(), Failure> {
    let loaded = settings.load()?;
    super::config::vet(&loaded)?;
    let target = Target::parse(loaded.config.database.url.expose())?;
    let client = target.connect_spawned().await?;
    crate::postgres::migrations::check(&client).await?;
    let question = Question { args: &args, config: &loaded.config, client: &client, target };
    let answer = question.answer().await?;
    let colour = super::doctor::wants_colour();
    print(&if args.json { answer.as_json()? } else { answer.as_text(colour) })?;
    if answer.gets {
        return Ok(());
    }
    Err(Failure::new("the answer is no").next("each step marked ✗ says why"))
}

struct Question<'a> {
    args: &'a Args,
    config: &'a Config,
    client: &'a Client,
    target: Target,
}

impl Question<'_> {
    async fn answer(&self) -> Result<Answer, Failure> {
        let mut steps = Steps::default();
        let named = self.args.user.clone();
        let Some(pattern) = form(&self.args.channel, &mut steps) else {
            return Ok(self.conclude(steps, named.as_deref()));
        };
        let principal = subject::principal(self.args, self.config, self.client, &mut steps).await?;
        let Some(principal) = principal else {
            return Ok(self.conclude(steps, named.as_deref()));
        };
        self.access(&principal, &pattern, &mut steps).await;
        let user = principal.user.as_deref();
        let sources = sources::examine(self.client, &pattern, &mut steps).await?;
        match &self.args.id {
            Some(id) => event::examine(self, id, &pattern, user, &mut steps).await?,
            None => sources::recent(self.client, &pattern, user, sources, &mut steps).await?,
        }
        Ok(self.conclude(steps, user))
    }

    /// Asks the one door, then says what it went by.
    async fn access(&self, principal: &Principal, pattern: &Pattern, steps: &mut Steps) {
        let function = self.config.authorize.function.as_ref();
        let pool = self.target.pool(1);
        let asked = function.map(|name| Authorize::new(pool.clone(), name.clone()));
        let asked = asked.map(|authorize| {
            Function::new(authorize, self.config.authorize.cache, Observer::default())
        });
        let access = Access::new(self.config.policies.clone(), asked, Arc::<Rights>::default());
        let judgement = access.judge(principal, vec![pattern.clone()], Action::Subscribe).await;
        let verdict =
            judgement.verdicts.first().map_or(Verdict::Undecided, |(_, verdict)| *verdict);
        let is_open = policies::explain(self.config, principal, pattern, steps);
        if let (true, Some(name)) = (is_open, function) {
            let trouble = match verdict {
                Verdict::Undecided => Authorize::new(pool, name.clone())
                    .ask(&claims(principal), &[&pattern.to_string()], Action::Subscribe.name())
                    .await
                    .err()
                    .map(|error| error.to_string()),
                _ => None,
            };
            told_by_function(name, verdict, trouble, steps);
        }
    }

    fn conclude(&self, steps: Steps, user: Option<&str>) -> Answer {
        let what = match &self.args.id {
            Some(_) => format!("this event on {}", self.args.channel),
            None => self.args.channel.clone(),
        };
        steps.conclude(user, &what)
    }
}

fn form(channel: &str, steps: &mut Steps) -> Option<Pattern> {
    match Pattern::parse(channel) {
        Ok(pattern) if pattern.is_reserved() => {
            steps.no("channel", "belongs to the service, as all names do that begin with rowcast");
            None
        }
        Ok(pattern) => {
            let kind = match &pattern {
                Pattern::Exact(_) => "a channel".to_owned(),
                Pattern::Below(prefix) => format!("every channel below {prefix}"),
            };
            steps.note("channel", &kind);
            Some(pattern)
        }
        Err(error) => {
            steps.no("channel", &format!("is none: {error}"));
            None
        }
    }
}

fn told_by_function(name: &str, verdict: Verdict, trouble: Option<String>, steps: &mut Steps) {
    match (verdict, trouble) {
        (Verdict::Allowed, _) => steps.yes(name, "says yes"),
        (Verdict::Forbidden, _) => steps.no(name, "says no, or null"),
        (Verdict::Undecided, Some(trouble)) => {
            steps.no(name, &format!("cannot be asked: {trouble}"));
        }
        (Verdict::Undecided, None) => {
            steps.no(name, "gave no answer the first time, and one the second");
        }
    }
}

fn claims(principal: &Principal) -> String {
    Value::Object(principal.claims.clone()).to_string()
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}

const EXAMPLES: &str = "\
Examples:
  rowcast explain --user 7 --channel orders:42
  rowcast explain --user 7 --claims '{\"org_id\": 9}' --channel 'orders:9:*'
  rowcast explain --token \"$TOKEN\" --channel orders:42 --id AbC… --json";

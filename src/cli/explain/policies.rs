//! What each policy says, and why.
//!
//! In: the policies as written, a principal, a pattern. Out: steps. Invariant: whether a policy matches is asked of the
//! very code that decides, one part of the policy at a time.

use serde_json::{Map, Value};

use super::steps::Steps;
use crate::config::Config;
use crate::domain::channel::Pattern;
use crate::domain::policy::{Action, Policies, RawPolicy};
use crate::domain::principal::Principal;

/// Tells the steps; whether the application's function is asked behind them.
pub fn explain(
    config: &Config,
    principal: &Principal,
    pattern: &Pattern,
    steps: &mut Steps,
) -> bool {
    let case = Case { principal, pattern, role_claim: &config.auth.role_claim };
    if case.is_own_channel() {
        steps.yes("own channel", "is everybody's to have");
        return false;
    }
    for (index, policy) in config.policy.iter().enumerate() {
        let name = format!("policy {} ({})", index + 1, policy.channel);
        match case.judge(policy) {
            Outcome::Passed(why) => steps.note(&name, &why),
            Outcome::Allowed if config.authorize.function.is_some() => {
                steps.note(&name, "allows it, and the function has the last word");
                return true;
            }
            Outcome::Allowed => {
                steps.yes(&name, "allows it");
                return false;
            }
            Outcome::Refused(why) => {
                steps.no(&name, &why);
                return false;
            }
        }
    }
    if !config.policy.is_empty() {
        steps.no("policies", "have none that allows it");
        return false;
    }
    if pattern.is_below_user() {
        steps.no("own channel", "is another user's, which only a policy can open");
        return false;
    }
    if config.authorize.function.is_none() {
        steps.no("policies", "are none, and there is no authorize.function");
    }
    config.authorize.function.is_some()
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It is not meant; the next one is asked.
    Passed(String),
    Allowed,
    Refused(String),
}

struct Case<'a> {
    principal: &'a Principal,
    pattern: &'a Pattern,
    role_claim: &'a str,
}

impl Case<'_> {
    fn is_own_channel(&self) -> bool {
        self.is_granted(Vec::new())
    }

    fn judge(&self, policy: &RawPolicy) -> Outcome {
        if let Some((claim, wanted)) = policy.when.iter().find(|when| !self.holds(when)) {
            return Outcome::Passed(self.unlike(claim, wanted));
        }
        let allows = policy.allow.iter().any(|action| action == Action::Subscribe.name());
        let without_condition = RawPolicy { when: Map::new(), ..policy.clone() };
        let open = RawPolicy { allow: allow(), ..without_condition.clone() };
        let closed = RawPolicy { allow: Vec::new(), ..without_condition };
        let allowed = policy.allow.join(", ");
        match (self.is_granted(vec![open]), allows) {
            (true, true) => Outcome::Allowed,
            (true, false) => Outcome::Refused(format!("covers it and allows only: {allowed}")),
            (false, false) if !self.is_granted(vec![closed, self.everything(Map::new())]) => {
                Outcome::Refused(format!("covers a part of it and allows only: {allowed}"))
            }
            (false, _) => Outcome::Passed(self.elsewhere(&policy.channel)),
        }
    }

    fn holds(&self, (claim, wanted): &(&String, &Value)) -> bool {
        let when = Map::from_iter([(self.claim_name(claim).to_owned(), (*wanted).clone())]);
        self.is_granted(vec![self.everything(when)])
    }

    /// In a policy, `role` stands for the claim that is configured to hold it.
    fn claim_name<'b>(&'b self, claim: &'b str) -> &'b str {
        if claim == "role" { self.role_claim } else { claim }
    }

    /// A policy for exactly what is asked.
    fn everything(&self, when: Map<String, Value>) -> RawPolicy {
        RawPolicy { channel: self.pattern.to_string(), allow: allow(), when }
    }

    fn is_granted(&self, policies: Vec<RawPolicy>) -> bool {
        let policies = Policies::parse(policies).unwrap_or_default();
        policies.decide(self.principal, self.pattern, Action::Subscribe).is_ok()
    }

    fn unlike(&self, claim: &str, wanted: &Value) -> String {
        let name = self.claim_name(claim);
        match self.principal.claim(name) {
            Some(value) => format!("is for {name} = {wanted}, and here it is {value}"),
            None => format!("is for {name} = {wanted}, and there is no such claim"),
        }
    }

    /// With what its claims stand for.
    fn elsewhere(&self, channel: &str) -> String {
        let holes = channel.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        let values: Vec<String> = holes
            .map(|claim| match self.principal.claim(claim) {
                Some(value) => format!("{{{claim}}} is {value}"),
                None => format!("there is no claim {claim}"),
            })
            .collect();
        match values.as_slice() {
            [] => "does not cover it".to_owned(),
            values => format!("does not cover it: {}", values.join(", ")),
        }
    }
}

fn allow() -> Vec<String> {
    vec![Action::Subscribe.name().to_owned()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn principal() -> Principal {
        let claims =
            json!({ "sub": "7", "org_id": 9, "teams": ["red"], "app": { "role": "staff" } });
        let claims = claims.as_object().cloned().unwrap_or_default();
        Principal { user: Some("7".into()), claims, ..Principal::default() }
    }

    fn explained(policies: &str, channel: &str) -> (Config, crate::cli::explain::steps::Answer) {
        let text = format!("auth.role_claim = \"app.role\"\n{policies}");
        let loaded = crate::config::Sources::default().load_text(&text);
        let config = loaded.unwrap_or_else(|faults| panic!("{faults}")).config;
        let mut steps = Steps::default();
        explain(&config, &principal(), &Pattern::parse(channel).unwrap(), &mut steps);
        (config, steps.conclude(Some("7"), channel))
    }

    /// The last sentence is the one that decides.
    #[test]
    fn the_explanation_ends_as_the_decision_does() {
        let policies = r#"
            policy = [
                { channel = "orders:{org_id}:*", allow = ["subscribe"], when = { role = ["admin"] } },
                { channel = "orders:{org_id}:secret", allow = ["broadcast"] },
                { channel = "orders:{org_id}:*", allow = ["subscribe"], when = { role = ["staff"] } },
                { channel = "team:{teams}", allow = ["subscribe"] },
                { channel = "room:{no_such}", allow = ["subscribe"] },
            ]"#;
        for (channel, said) in [
            ("user:7", "own channel"),
            ("user:8", "have none"),
            ("orders:9:1", "policy 3"),
            ("orders:9:secret", "policy 2 (orders:{org_id}:secret) covers it and allows only"),
            ("orders:9:*", "policy 2 (orders:{org_id}:secret) covers a part"),
            ("orders:8:1", "have none"),
            ("team:red", "policy 4"),
            ("team:*", "have none"),
            ("room:1", "have none"),
        ] {
            let (config, answer) = explained(policies, channel);
            let pattern = Pattern::parse(channel).unwrap();
            let decided = config.policies.decide(&principal(), &pattern, Action::Subscribe);
            assert_eq!(answer.gets, decided.is_ok(), "{channel}: {answer:?}");
            assert!(answer.sentence.contains(said), "{channel}: {}", answer.sentence);
        }
    }

    #[test]
    fn a_policy_that_is_passed_says_why() {
        let policies = r#"policy = [
            { channel = "a", allow = ["subscribe"], when = { role = "admin" } },
            { channel = "orders:{org_id}", allow = ["subscribe"] },
            { channel = "x:{missing}", allow = ["subscribe"] }]"#;
        let (_, answer) = explained(policies, "a");
        let why: Vec<&str> = answer.steps.iter().map(|step| step.why.as_str()).collect();
        assert!(why[0].contains("app.role = \"admin\", and here it is \"staff\""), "{why:?}");
        assert!(why[1].contains("{org_id} is 9") && why[2].contains("no claim missing"), "{why:?}");
    }
}

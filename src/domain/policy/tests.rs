//! What the policies promise, by example and against a naive model.

#![allow(clippy::needless_pass_by_value, reason = "json!(…) is written in the argument")]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::channel::Channel;

fn policies(tables: Value) -> Policies {
    Policies::parse(raw(tables)).unwrap()
}

/// `[channel, actions, when]` each, or less.
fn raw(tables: Value) -> Vec<RawPolicy> {
    let table = |table: &Value| RawPolicy {
        channel: table[0].as_str().unwrap().to_owned(),
        allow: match table.get(1) {
            Some(names) => {
                names.as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_owned()).collect()
            }
            None => vec!["subscribe".to_owned()],
        },
        when: table.get(2).and_then(Value::as_object).cloned().unwrap_or_default(),
    };
    tables.as_array().unwrap().iter().map(table).collect()
}

fn alice(claims: Value) -> Principal {
    Principal {
        user: Some("alice".into()),
        claims: claims.as_object().unwrap().clone(),
        ..Principal::default()
    }
}

fn may(policies: &Policies, principal: &Principal, pattern: &str) -> bool {
    policies.decide(principal, &Pattern::parse(pattern).unwrap(), Action::Subscribe).is_ok()
}

#[track_caller]
fn check(tables: Value, claims: Value, granted: &[&str], refused: &[&str]) {
    let policies = policies(tables);
    let principal = alice(claims);
    for pattern in granted {
        assert!(may(&policies, &principal, pattern), "{pattern} should be granted");
    }
    for pattern in refused {
        assert!(!may(&policies, &principal, pattern), "{pattern} should be refused");
    }
}

#[test]
fn nothing_is_granted_without_a_policy_but_the_own_channel() {
    check(json!([]), json!({}), &["user:alice"], &["orders", "user:bob", "user:*", "user:alice:*"]);
}

#[test]
fn a_final_star_covers_everything_below_and_the_wildcard_itself() {
    let refused = ["orders", "orders2:1", "other", "other:*"];
    check(
        json!([["orders:*"]]),
        json!({}),
        &["orders:1", "orders:1:2", "orders:*", "orders:1:*"],
        &refused,
    );
}

#[test]
fn an_inner_star_is_exactly_one_segment() {
    let granted = ["doc:1:edit", "doc:x:edit"];
    let refused = ["doc:edit", "doc:1:2:edit", "doc:1", "doc:*", "doc:1:*", "doc:1:edit:more"];
    check(json!([["doc:*:edit"]]), json!({}), &granted, &refused);
    check(json!([["a:*:*"]]), json!({}), &["a:b:c", "a:b:*"], &["a:b", "a:*"]);
}

#[test]
fn a_claim_stands_for_its_own_value_only() {
    let claims = json!({ "org_id": 7, "app": { "team": "red" } });
    let tables = json!([["orders:{org_id}:*"], ["team-{app.team}"]]);
    let refused = ["orders:8:1", "orders:*", "orders:7", "team-blue", "team-"];
    check(tables, claims, &["orders:7:1", "orders:7:*", "team-red"], &refused);
}

#[test]
fn a_claim_that_is_no_part_of_a_segment_matches_nothing() {
    for value in
        [json!("a:b"), json!("*"), json!(""), json!("a b"), json!(null), json!({}), json!([])]
    {
        let refused = ["orders:a", "orders:a:b", "orders:*", "orders:b", "orders:null"];
        check(json!([["orders:{org}"]]), json!({ "org": value }), &[], &refused);
        check(json!([["orders:{org}:*"]]), json!({ "org": value }), &[], &refused);
    }
}

#[test]
fn a_list_claim_matches_any_of_its_members() {
    let claims = json!({ "orgs": ["a", "b", "x:y"], "roles": ["staff", "beta"] });
    check(
        json!([["org:{orgs}"]]),
        claims.clone(),
        &["org:a", "org:b"],
        &["org:c", "org:x:y", "org:*"],
    );
    check(
        json!([["x", ["subscribe"], { "roles": ["beta", "gamma"] }]]),
        claims.clone(),
        &["x"],
        &[],
    );
    check(json!([["x", ["subscribe"], { "roles": "admin" }]]), claims, &[], &["x"]);
}

#[test]
fn when_compares_values_and_types() {
    let when = json!([["x", ["subscribe"], { "level": 3, "app.org": ["a", "b"] }]]);
    check(when.clone(), json!({ "level": 3, "app": { "org": "b" } }), &["x"], &[]);
    for claims in [json!({ "level": "3", "app": { "org": "b" } }), json!({ "level": 3 }), json!({})]
    {
        check(when.clone(), claims, &[], &["x"]);
    }
}

#[test]
fn the_first_match_decides_for_every_action() {
    let policies = policies(json!([["a:1", ["broadcast"]], ["a:*", ["subscribe", "broadcast"]]]));
    let decide = |text: &str, action| {
        policies.decide(&alice(json!({})), &Pattern::parse(text).unwrap(), action)
    };
    assert_eq!(decide("a:1", Action::Broadcast), Ok(Grant { policy: Some(0) }));
    assert_eq!(decide("a:1", Action::Subscribe), Err(Denial));
    assert_eq!(decide("a:2", Action::Subscribe), Ok(Grant { policy: Some(1) }));
    assert_eq!(decide("a:2", Action::Presence), Err(Denial));
}

#[test]
fn a_wildcard_does_not_get_round_an_earlier_refusal() {
    check(
        json!([["a:secret", []], ["a:*"]]),
        json!({}),
        &["a:open", "a:b:*"],
        &["a:secret", "a:*"],
    );
    check(
        json!([["a:x:*", []], ["*"]]),
        json!({}),
        &["a:open", "b:*"],
        &["a:x:1", "a:*", "a:x:*", "a:x:y:*"],
    );
}

#[test]
fn a_star_alone_is_everything_but_users_and_the_service() {
    let refused = ["user:bob", "user:*", "user:bob:*", "rowcast", "rowcast:x", "rowcast_x:*"];
    check(json!([["*"]]), json!({}), &["a", "a:b", "a:*", "users:1", "user"], &refused);
}

#[test]
fn channels_of_users_are_given_by_name_only() {
    let claims = json!({ "kind": "user" });
    for template in ["*:*", "{kind}:*", "{kind}:bob", "*:bob"] {
        check(json!([[template]]), claims.clone(), &[], &["user:bob", "user:*"]);
    }
    check(json!([["user:*"]]), claims.clone(), &["user:bob", "user:*", "user:bob:x"], &[]);
    check(json!([["user:bob"]]), claims, &["user:bob"], &["user:carol", "user:*"]);
}

#[test]
fn the_own_channel_is_for_listening() {
    let policies = Policies::default();
    let own = Pattern::parse("user:alice").unwrap();
    for action in [Action::Broadcast, Action::Presence] {
        assert_eq!(policies.decide(&alice(json!({})), &own, action), Err(Denial));
    }
}

#[test]
fn nobody_in_particular_gets_what_asks_for_no_claim() {
    let policies = policies(
        json!([["news"], ["org:{org}"], ["staff", ["subscribe"], { "role": "staff" }], ["chat:*"]]),
    );
    let anonymous = Principal {
        claims: json!({ "org": "a", "role": "staff" }).as_object().unwrap().clone(),
        ..Principal::anonymous()
    };
    assert!(may(&policies, &anonymous, "news") && may(&policies, &anonymous, "chat:*"));
    for pattern in ["org:a", "staff", "user:alice"] {
        assert!(!may(&policies, &anonymous, pattern), "{pattern}");
    }
}

#[test]
fn every_mistake_is_reported_with_its_table_and_field() {
    let tables = json!([
        ["a::b"], ["{", []], ["{}"], ["a{b}}"], ["or*"], ["rowcast:x"], ["ä"], [""],
        ["fine", ["listen"]], ["fine", [], { "role": [] }],
    ]);
    let faults = Policies::parse(raw(tables)).unwrap_err();
    let found: Vec<_> = faults.iter().map(|fault| (fault.index, fault.field)).collect();
    let mut expected: Vec<_> = (0..8).map(|index| (index, "channel")).collect();
    expected.extend([(8, "allow"), (9, "when")]);
    assert_eq!(found, expected);
}

/// The rules once more, by brute force over concrete channels: segments are compared as text, claims are
/// put in beforehand, wildcards are counted out.
fn naive(tables: &[RawPolicy], claims: &[(&str, &str)], channel: &str) -> bool {
    let names: Vec<&str> = channel.split(':').collect();
    for table in tables {
        let filled = claims
            .iter()
            .fold(table.channel.clone(), |t, (k, v)| t.replace(&format!("{{{k}}}"), v));
        let wanted: Vec<&str> = filled.split(':').collect();
        let open = wanted.last() == Some(&"*");
        let length = if open { names.len() >= wanted.len() } else { names.len() == wanted.len() };
        let same = wanted.iter().zip(&names).all(|(want, name)| *want == "*" || want == name);
        let kept = names.len() < 2 || names[0] != "user" || table.channel.starts_with("user:");
        if length && same && kept {
            return table.allow.contains(&"subscribe".to_owned());
        }
    }
    false
}

fn all_channels() -> Vec<String> {
    let words = ["a", "b", "user", "7"];
    let longer = |names: &[String]| -> Vec<String> {
        names.iter().flat_map(|name| words.map(|word| format!("{name}:{word}"))).collect()
    };
    let one = words.map(str::to_owned).to_vec();
    let (two, three, four) = (longer(&one), longer(&longer(&one)), longer(&longer(&longer(&one))));
    [one, two, three, four].concat()
}

fn template() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "user", "7", "*", "{org}", "{who}"]);
    prop::collection::vec(segment, 1..4).prop_map(|segments| segments.join(":"))
}

fn tables() -> impl Strategy<Value = Vec<RawPolicy>> {
    let table = (template(), any::<bool>()).prop_map(|(channel, yes)| RawPolicy {
        channel,
        allow: if yes { vec!["subscribe".to_owned()] } else { Vec::new() },
        ..RawPolicy::default()
    });
    prop::collection::vec(table, 0..5)
}

proptest! {
    #[test]
    fn decisions_are_those_of_the_naive_model(tables in tables()) {
        let policies = Policies::parse(tables.clone()).unwrap();
        let principal = alice(json!({ "org": 7, "who": "user" }));
        let claims = [("org", "7"), ("who", "user")];
        let channels = all_channels();
        for channel in &channels {
            let expected = naive(&tables, &claims, channel);
            prop_assert_eq!(may(&policies, &principal, channel), expected, "{}", channel);
        }
        for prefix in channels.iter().filter(|channel| channel.split(':').count() < 3) {
            let pattern = Pattern::parse(&format!("{prefix}:*")).unwrap();
            if policies.decide(&principal, &pattern, Action::Subscribe).is_ok() {
                for channel in channels.iter().filter(|c| pattern.covers(&Channel::parse(c).unwrap())) {
                    prop_assert!(naive(&tables, &claims, channel), "{} by {}", channel, pattern);
                }
            }
        }
    }
}

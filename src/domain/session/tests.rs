//! What a session decides, input by input.

use super::*;

const HEARTBEAT: Duration = Duration::from_secs(25);

fn now() -> Now {
    Now { instant: Instant::now(), clock: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) }
}

fn after(now: Now, seconds: u64) -> Now {
    let passed = Duration::from_secs(seconds);
    Now { instant: now.instant + passed, clock: now.clock + passed }
}

fn ana(now: Now, life: u64) -> Principal {
    Principal {
        user: Some("ana".into()),
        expires_at: Some(now.clock + Duration::from_secs(life)),
        ..Principal::default()
    }
}

fn session(principal: Option<Principal>, now: Now) -> Session {
    let options = Options {
        heartbeat: HEARTBEAT,
        auth_timeout: Duration::from_secs(10),
        subscriptions: 2,
        max_message_bytes: 65536,
        leeway: Duration::from_secs(5),
    };
    Session::new("s".into(), options.into(), principal, now).0
}

fn ask(session: &mut Session, body: ClientMessage, now: Now) -> Vec<Effect> {
    session.handle(Input::Request(Ok(Request { reference: None, body })), now)
}

fn to(channel: &str) -> Subscribe {
    Subscribe {
        pattern: Pattern::parse(channel).unwrap(),
        after: None,
        history: None,
        compact: false,
    }
}

fn judge(session: &mut Session, channel: &str, allowed: bool, now: Now) -> Vec<Effect> {
    let verdict = if allowed { Verdict::Allowed } else { Verdict::Forbidden };
    session
        .handle(Input::Judged { reference: None, subscribe: to(channel), verdict, judged: 0 }, now)
}

fn code(effects: &[Effect]) -> Option<ErrorCode> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send(ServerMessage::Refused(refusal)) => Some(refusal.code),
        _ => None,
    })
}

#[test]
fn a_credential_of_the_request_is_welcomed_at_once() {
    let now = now();
    let options = session(None, now).options;
    let (_, effects) = Session::new("s".into(), options, Some(ana(now, 60)), now);
    assert!(matches!(
        &effects[..],
        [Effect::Identify(_), Effect::Send(ServerMessage::Welcome { .. })]
    ));
}

#[test]
fn nothing_but_auth_and_ping_is_heard_before_auth() {
    let now = now();
    let mut session = session(None, now);
    let effects = ask(&mut session, ClientMessage::Subscribe(to("a")), now);
    assert_eq!(code(&effects), Some(ErrorCode::Unauthorized));
    assert!(matches!(
        &ask(&mut session, ClientMessage::Auth { token: "t".into() }, now)[..],
        [Effect::Verify { .. }]
    ));
}

#[test]
fn a_connection_that_never_says_who_it_is_ends() {
    let now = now();
    let mut session = session(None, now);
    assert_eq!(session.deadline(), after(now, 10).instant);
    let effects = session.handle(Input::Tick, after(now, 10));
    assert_eq!(effects, [Effect::Close(CloseReason::Unauthorized)]);
}

#[test]
fn a_refused_token_ends_the_connection() {
    let now = now();
    let mut session = session(Some(ana(now, 60)), now);
    let effects = session.handle(Input::Verified { reference: None, principal: None }, now);
    assert_eq!(effects, [Effect::Close(CloseReason::Unauthorized)]);
    assert_eq!(ask(&mut session, ClientMessage::Ping, now), []);
}

#[test]
fn subscriptions_are_judged_and_counted() {
    let now = now();
    let mut session = session(Some(ana(now, 60)), now);
    let effects = ask(&mut session, ClientMessage::Subscribe(to("a")), now);
    assert!(matches!(&effects[..], [Effect::Authorize { .. }]));
    assert_eq!(code(&judge(&mut session, "a", false, now)), Some(ErrorCode::Forbidden));
    for channel in ["a", "b"] {
        let effects = judge(&mut session, channel, true, now);
        assert!(matches!(&effects[..], [Effect::Subscribe { .. }]));
    }
    let third = ask(&mut session, ClientMessage::Subscribe(to("c")), now);
    assert_eq!(code(&third), Some(ErrorCode::TooManySubscriptions));
    let again = ask(&mut session, ClientMessage::Subscribe(to("b")), now);
    assert!(matches!(&again[..], [Effect::Authorize { .. }]), "replacing is no third one");
}

#[test]
fn a_new_token_of_the_same_user_has_every_subscription_reviewed() {
    let now = now();
    let mut session = session(Some(ana(now, 60)), now);
    judge(&mut session, "a", true, now);
    let verified = Input::Verified { reference: None, principal: Some(ana(now, 600)) };
    let effects = session.handle(verified, now);
    let pattern = Pattern::parse("a").unwrap();
    assert_eq!(effects.last(), Some(&Effect::Review(vec![pattern.clone()])));

    let verdicts = vec![(pattern.clone(), Verdict::Forbidden)];
    let refused = Input::Reviewed { verdicts, judged: 3 };
    let effects = session.handle(refused, now);
    assert_eq!(effects.first(), Some(&Effect::Unsubscribe(pattern)));
    assert_eq!(code(&effects), Some(ErrorCode::Forbidden));
}

#[test]
fn a_token_of_somebody_else_changes_nothing() {
    let now = now();
    let mut session = session(Some(ana(now, 60)), now);
    let ben = Principal { user: Some("ben".into()), ..Principal::default() };
    let verified = Input::Verified { reference: None, principal: Some(ben) };
    assert_eq!(code(&session.handle(verified, now)), Some(ErrorCode::Unauthorized));
    assert_eq!(session.user().as_deref(), Some("ana"));
}

#[test]
fn the_end_of_a_token_is_announced_once_and_enforced() {
    let now = now();
    let mut session = session(Some(ana(now, 40)), now);
    assert_eq!(session.deadline(), after(now, 10).instant);
    let effects = session.handle(Input::Tick, after(now, 10));
    assert_eq!(effects, [send(ServerMessage::TokenExpiring { in_ms: 35_000 })]);
    assert_eq!(session.handle(Input::Tick, after(now, 11)), []);
    session.heard(after(now, 40));
    let effects = session.handle(Input::Tick, after(now, 45));
    assert_eq!(effects, [Effect::Close(CloseReason::Unauthorized)]);
}

#[test]
fn two_silent_heartbeats_end_the_connection_and_a_pong_keeps_it() {
    let start = now();
    let mut session = session(Some(Principal::anonymous()), start);
    assert_eq!(session.handle(Input::Tick, after(start, 25)), [Effect::Ping]);
    session.heard(after(start, 26));
    assert_eq!(session.handle(Input::Tick, after(start, 50)), [Effect::Ping]);
    let effects = session.handle(Input::Tick, after(start, 76));
    assert_eq!(effects, [Effect::Close(CloseReason::NoHeartbeat)]);
}

#[test]
fn ten_unreadable_frames_in_a_minute_end_the_connection() {
    let start = now();
    let mut session = session(Some(ana(start, 600)), start);
    let mut bad = |second: u64| {
        let refusal = Refusal::new(None, ErrorCode::BadMessage, "");
        let input = Input::Request(Err(BadRequest { unreadable: true, refusal }));
        session.handle(input, after(start, second))
    };
    for _ in 0..9 {
        assert_eq!(code(&bad(0)), Some(ErrorCode::BadMessage));
    }
    for _ in 0..9 {
        bad(61);
    }
    assert_eq!(bad(62).last(), Some(&Effect::Close(CloseReason::ProtocolErrors)));
}

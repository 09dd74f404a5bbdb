//! Holds `docs/protocol.md`, the fixtures and the code together.
//!
//! Every JSON example of the page is a file of `tests/fixtures/native`, and every file is on the page. What a client
//! sends is decoded by the code, what the service sends is made by it, and both must say what the file says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use rowcast::domain::channel::{Channel, Pattern};
use rowcast::domain::close::CloseReason;
use rowcast::domain::event::Event;
use rowcast::domain::message::{
    ClientMessage, ErrorCode, Reference, Refusal, Request, ResetReason, ServerMessage, Subscribe,
    SystemEvent,
};
use rowcast::domain::policy::Verdict;
use rowcast::domain::principal::Principal;
use rowcast::domain::session::{Effect, Input, Now, Options, Session};
use rowcast::protocol::Wire;
use rowcast::protocol::native::Native;
use serde_json::{Value, json};

#[test]
fn the_examples_of_the_page_are_the_fixtures() {
    let fixtures: BTreeSet<String> = fixtures().into_values().collect();
    let examples: BTreeSet<String> = examples(&page()).into_iter().collect();
    let missing: Vec<_> = fixtures.difference(&examples).collect();
    let strange: Vec<_> = examples.difference(&fixtures).collect();
    assert!(missing.is_empty(), "not on the page: {missing:#?}");
    assert!(strange.is_empty(), "no fixture holds this: {strange:#?}");
}

#[test]
fn every_fixture_is_read_or_written_by_the_code() {
    let known: BTreeSet<_> =
        client_messages().into_keys().chain(server_messages().into_keys()).collect();
    let files: BTreeSet<_> = fixtures().into_keys().collect();
    assert_eq!(files, known.into_iter().map(str::to_owned).collect());
}

#[test]
fn what_a_client_sends_is_understood_as_the_page_says() {
    for (name, expected) in client_messages() {
        let decoded = Native.decode(&fixture(name)).map_err(|bad| bad.refusal.code);
        assert_eq!(decoded, expected, "{name}");
    }
}

#[test]
fn what_the_service_sends_is_what_the_page_shows() {
    for (name, frame) in server_messages() {
        let sent: Value = serde_json::from_slice(text(&frame)).unwrap();
        let shown: Value = serde_json::from_str(&fixture(name)).unwrap();
        assert_eq!(sent, shown, "{name}");
    }
}

#[test]
fn a_change_is_written_with_the_digits_the_database_printed() {
    for (name, digits) in [
        ("server_change_insert", r#""total": 12345678901234567890.10"#),
        ("server_change_update", r#""total": 99.90"#),
    ] {
        let frame = &server_messages()[name];
        assert!(str::from_utf8(text(frame)).unwrap().contains(digits), "{name}");
        assert!(fixture(name).contains(digits), "{name}");
    }
}

#[test]
fn each_option_that_is_not_offered_is_refused_also_when_it_comes_alone() {
    let all: serde_json::Map<String, Value> =
        serde_json::from_str(&fixture("client_subscribe_options")).unwrap();
    let options =
        all.iter().filter(|(name, _)| !["type", "ref", "channel"].contains(&name.as_str()));
    let mut count = 0;
    for (name, value) in options {
        let mut request = json!({ "type": "subscribe", "channel": "orders" });
        request[name] = value.clone();
        let code = Native.decode(&request.to_string()).unwrap_err().refusal.code;
        assert_eq!(code, ErrorCode::Unavailable, "{name}");
        count += 1;
    }
    assert_eq!(count, 7);
}

#[test]
fn the_page_lists_every_code_of_errors_resets_and_closes() {
    let page = page();
    let row = |first: &str| page.lines().any(|line| line.starts_with(&format!("| {first} |")));
    for code in ERROR_CODES {
        assert!(row(&format!("`{}`", code.as_str())), "{code:?}");
    }
    for reason in RESET_REASONS {
        assert!(row(&format!("`{}`", reason.as_str())), "{reason:?}");
    }
    for event in [SystemEvent::Degraded, SystemEvent::Recovered, SystemEvent::Draining] {
        assert!(row(&format!("`{}`", event.as_str())), "{event:?}");
    }
    for reason in CLOSE_REASONS {
        let (code, text) = (reason.code(), reason.text());
        assert!(row(&format!("{code} | {text}")), "{code} {text}");
    }
}

fn client_messages() -> BTreeMap<&'static str, Result<Request, ErrorCode>> {
    let request = |reference, body| Ok(Request { reference: Some(reference), body });
    let asking = |channel, after: Option<&str>| Subscribe {
        pattern: pattern(channel),
        after: after.map(str::to_owned),
        history: None,
        compact: false,
    };
    let subscribe = |channel, after| ClientMessage::Subscribe(asking(channel, after));
    let token = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbmEifQ.c2lnbmF0dXJl".to_owned();
    BTreeMap::from([
        ("client_auth", request(number(1), ClientMessage::Auth { token })),
        ("client_subscribe", request(number(2), subscribe("orders:42", None))),
        ("client_subscribe_wildcard", request(name("all-orders"), subscribe("orders:*", None))),
        ("client_subscribe_after", request(number(3), subscribe("orders:42", Some(INSERTED)))),
        (
            "client_subscribe_compact",
            request(
                number(12),
                ClientMessage::Subscribe(Subscribe {
                    compact: true,
                    ..asking("orders:*", Some(INSERTED))
                }),
            ),
        ),
        (
            "client_subscribe_history",
            request(
                number(13),
                ClientMessage::Subscribe(Subscribe {
                    history: Some(20),
                    ..asking("orders:42", None)
                }),
            ),
        ),
        ("client_subscribe_options", Err(ErrorCode::Unavailable)),
        (
            "client_unsubscribe",
            request(number(5), ClientMessage::Unsubscribe { pattern: pattern("orders:42") }),
        ),
        ("client_ping", request(number(6), ClientMessage::Ping)),
        ("client_broadcast", Err(ErrorCode::Unavailable)),
        ("client_presence", Err(ErrorCode::Unavailable)),
        ("client_read", Err(ErrorCode::Unavailable)),
        ("client_unknown", Err(ErrorCode::UnknownType)),
        ("client_bad_channel", Err(ErrorCode::BadChannel)),
    ])
}

fn server_messages() -> BTreeMap<&'static str, Bytes> {
    let session = |session: &str, user: Option<&str>| ServerMessage::Welcome {
        session: session.into(),
        user: user.map(Into::into),
        heartbeat_ms: 25_000,
        max_message_bytes: 65_536,
    };
    let subscribed = |reference, channel, position: Option<&str>, (recovered, replayed)| {
        ServerMessage::Subscribed {
            reference: Some(reference),
            pattern: pattern(channel),
            position: position.map(Into::into),
            recovered,
            replayed,
        }
    };
    let live = (true, 0);
    let degraded = SystemEvent::Degraded;
    let messages = [
        ("server_welcome", session("mQ3uCHnVn2xq", Some("ana"))),
        ("server_welcome_anonymous", session("Jc0S8tWb1l4K", None)),
        (
            "server_ok_auth",
            ServerMessage::Authenticated { reference: Some(number(1)), user: Some("ana".into()) },
        ),
        ("server_ok_subscribe", subscribed(number(2), "orders:42", Some(DELETED), live)),
        ("server_ok_subscribe_first", subscribed(name("all-orders"), "orders:*", None, live)),
        ("server_ok_resumed", subscribed(number(3), "orders:42", Some(INSERTED), (true, 2))),
        ("server_ok_not_recovered", subscribed(number(3), "orders:42", Some(DELETED), (false, 0))),
        (
            "server_ok_unsubscribe",
            ServerMessage::Unsubscribed {
                reference: Some(number(5)),
                pattern: pattern("orders:42"),
            },
        ),
        ("server_pong", ServerMessage::Pong { reference: Some(number(6)) }),
        ("server_error_unavailable", answer_to("client_broadcast")),
        ("server_error_unknown_type", answer_to("client_unknown")),
        ("server_error_bad_channel", answer_to("client_bad_channel")),
        ("server_error_forbidden", forbidden("client_subscribe")),
        (
            "server_error_rate_limited",
            ServerMessage::Refused(
                Refusal::new(None, ErrorCode::RateLimited, RATE_LIMITED).retry_after(600),
            ),
        ),
        (
            "server_reset",
            ServerMessage::Reset { pattern: pattern("orders:*"), reason: ResetReason::Epoch },
        ),
        (
            "server_lagged",
            ServerMessage::Lagged {
                pattern: pattern("orders:42"),
                position: Some(INSERTED.into()),
            },
        ),
        ("server_token_expiring", ServerMessage::TokenExpiring { in_ms: 35_000 }),
        (
            "server_system",
            ServerMessage::System {
                event: degraded,
                message: degraded.message(),
                at: "2026-11-20T10:30:00.123456Z".into(),
            },
        ),
    ];
    let messages = messages.into_iter().map(|(name, message)| (name, Native.message(&message)));
    messages.chain(changes()).collect()
}

fn changes() -> [(&'static str, Bytes); 7] {
    let shipped = r#"{"id": 42, "status": "shipped", "total": 99.90, "user_id": "ana"}"#;
    let open = r#"{"id": 42, "status": "open", "total": 99.90, "user_id": "ana"}"#;
    let many_digits =
        r#"{"id": 42, "status": "open", "total": 12345678901234567890.10, "user_id": "ana"}"#;
    let insert = Event {
        key: json_text(r#"{"id": 42}"#),
        row: json_text(many_digits),
        ..event(INSERTED, "insert", "2026-11-20T10:30:00.123456Z")
    };
    let update = Event {
        key: json_text(r#"{"id": 42}"#),
        row: json_text(shipped),
        old: json_text(open),
        changed: Some(["status".into()].into()),
        user: Some("ana".into()),
        origin: Some("0d5c1f2e".into()),
        ..event("AbTbgZYIAd4FAAABAAAC231zSu_6hyw", "update", "2026-11-20T10:30:01.000002Z")
    };
    let delete = Event {
        key: json_text(r#"{"id": 42}"#),
        old: json_text(r#"{"id": 42}"#),
        ..event(DELETED, "delete", "2026-11-20T10:30:02.500000Z")
    };
    let truncate =
        event("AbTbgZYIAeIFAAABAAAGxtTP2F57By0", "truncate", "2026-11-20T10:30:03.000000Z");
    let truncated = Event {
        key: json_text(r#"{"id": 43}"#),
        truncated: true,
        ..event("AbTbgZYIAeMFAAABAAAH30ceOIAFqAo", "insert", "2026-11-20T10:30:04.000000Z")
    };
    let emitted = Event {
        table: None,
        row: json_text(r#"{"pct": 40}"#),
        ..event("AbTbgZYIAeEFAAABAAAFe1fnjnt-fgA", "progress", "2026-11-20T10:30:05.000000Z")
    };
    let unlogged = Event {
        table: Some("public.cursors".into()),
        key: json_text(r#"{"id": 9}"#),
        row: json_text(r#"{"id": 9, "line": 3}"#),
        changed: Some(["line".into()].into()),
        ..event("n.2a", "update", "2026-11-20T10:30:06.000000Z")
    };
    [
        ("server_change_insert", change(&insert, "orders:42")),
        ("server_change_update", change(&update, "orders:42")),
        ("server_change_delete", change(&delete, "orders:42")),
        ("server_change_truncate", change(&truncate, "orders")),
        ("server_change_truncated", change(&truncated, "orders:43")),
        ("server_change_emitted", change(&emitted, "doc:9")),
        ("server_change_unlogged", change(&unlogged, "cursors:9")),
    ]
}

fn event(token: &str, op: &str, at: &str) -> Event {
    Event {
        token: token.into(),
        logged: None,
        at: at.into(),
        table: Some("public.orders".into()),
        op: op.into(),
        channels: Box::default(),
        audience: None,
        key: None,
        row: None,
        old: None,
        changed: None,
        user: None,
        origin: None,
        truncated: false,
    }
}

fn change(event: &Event, channel: &str) -> Bytes {
    Native.change(event, &event.token, &Channel::parse(channel).unwrap())
}

/// What the code itself answers to a message that it refuses.
fn answer_to(client_message: &str) -> ServerMessage {
    ServerMessage::Refused(Native.decode(&fixture(client_message)).unwrap_err().refusal)
}

/// What a session answers to a subscription that no policy allows.
fn forbidden(client_message: &str) -> ServerMessage {
    let request = Native.decode(&fixture(client_message)).unwrap();
    let ClientMessage::Subscribe(subscribe) = request.body else { panic!("no subscribe") };
    let now = Now { instant: Instant::now(), clock: SystemTime::now() };
    let options = Options {
        heartbeat: Duration::from_secs(25),
        auth_timeout: Duration::from_secs(10),
        subscriptions: 200,
        max_message_bytes: 65_536,
        leeway: Duration::from_secs(5),
    };
    let (mut session, _) =
        Session::new("s".into(), Arc::new(options), Some(Principal::anonymous()), now);
    let refusal = Input::Judged {
        reference: request.reference,
        subscribe,
        verdict: Verdict::Forbidden,
        judged: 0,
    };
    match session.handle(refusal, now).pop() {
        Some(Effect::Send(message)) => message,
        other => panic!("{other:?} is no answer"),
    }
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

fn number(number: i64) -> Reference {
    Reference::Number(number)
}

fn name(name: &str) -> Reference {
    Reference::Text(name.into())
}

#[expect(clippy::unnecessary_wraps, reason = "each caller fills an optional part of an event")]
fn json_text(text: &str) -> Option<Box<str>> {
    Some(text.into())
}

/// The payload of a frame: behind a head of 2 bytes, or of 4 from 126 bytes on (RFC 6455 section 5.2).
fn text(frame: &[u8]) -> &[u8] {
    match frame[1] {
        126 => &frame[4..],
        length => {
            assert!(length < 126, "an example is never that long");
            &frame[2..]
        }
    }
}

/// The fixtures by name, without the line break at their end.
fn fixtures() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/native");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap().trim_end().to_owned())
        })
        .collect()
}

fn fixture(name: &str) -> String {
    fixtures()
        .remove(name)
        .unwrap_or_else(|| panic!("tests/fixtures/native/{name}.json is missing"))
}

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md")).unwrap()
}

fn examples(page: &str) -> Vec<String> {
    let blocks = page.split("```json\n").skip(1);
    blocks.map(|rest| rest.split("\n```").next().unwrap_or_default().to_owned()).collect()
}

const INSERTED: &str = "AbTbgZYIAd0FAAABAAABqe2OzinPG4w";
const DELETED: &str = "AbTbgZYIAd8FAAACAAADRLxl2Oi77Ak";
const RATE_LIMITED: &str = "this user sends too many messages; wait before the next one";

const ERROR_CODES: [ErrorCode; 12] = [
    ErrorCode::BadMessage,
    ErrorCode::UnknownType,
    ErrorCode::BadChannel,
    ErrorCode::BadFilter,
    ErrorCode::Unauthorized,
    ErrorCode::Forbidden,
    ErrorCode::NotSubscribed,
    ErrorCode::TooManySubscriptions,
    ErrorCode::RateLimited,
    ErrorCode::MessageTooBig,
    ErrorCode::Unavailable,
    ErrorCode::Internal,
];

const RESET_REASONS: [ResetReason; 5] = [
    ResetReason::Pruned,
    ResetReason::Epoch,
    ResetReason::NotLogged,
    ResetReason::BadPosition,
    ResetReason::Unavailable,
];

const CLOSE_REASONS: [CloseReason; 12] = [
    CloseReason::GoingAway,
    CloseReason::Restart { retry_after_ms: 1250 },
    CloseReason::TooSlow,
    CloseReason::NoHeartbeat,
    CloseReason::RateLimited,
    CloseReason::Binary,
    CloseReason::TooBig,
    CloseReason::BrokenFraming,
    CloseReason::BrokenText,
    CloseReason::ProtocolErrors,
    CloseReason::Unauthorized,
    CloseReason::Revoked,
];

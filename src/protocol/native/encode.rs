//! Messages of the service as `rowcast.v1` JSON.
//!
//! In: [`ServerMessage`]s and [`Event`]s. Out: JSON text. Invariant: an event's JSON parts are copied, not parsed.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::domain::channel::Channel;
use crate::domain::event::Event;
use crate::domain::message::{Reference, Refusal, ServerMessage};

/// A `change` message for one of the event's channels.
pub fn change(event: &Event, id: &str, channel: &Channel) -> String {
    let mut out = String::with_capacity(256 + event.weight());
    // A channel, a token and a time hold no character that JSON escapes.
    let _ = write!(out, r#"{{"type":"change","channel":"{channel}","id":"{id}""#);
    text(&mut out, "table", event.table.as_deref());
    text(&mut out, "op", Some(&event.op));
    raw(&mut out, "key", event.key.as_deref());
    raw(&mut out, "row", event.row.as_deref());
    raw(&mut out, "old", event.old.as_deref());
    if let Some(changed) = &event.changed {
        raw(&mut out, "changed", Some(&json!(changed).to_string()));
    }
    let _ = write!(out, r#","at":"{}""#, event.at);
    text(&mut out, "user", event.user.as_deref());
    text(&mut out, "origin", event.origin.as_deref());
    if event.truncated {
        raw(&mut out, "truncated", Some("true"));
    }
    out.push('}');
    out
}

fn text(out: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        let _ = write!(out, r#","{name}":{}"#, Value::from(value));
    }
}

fn raw(out: &mut String, name: &str, json: Option<&str>) {
    if let Some(json) = json {
        let _ = write!(out, r#","{name}":{json}"#);
    }
}

pub fn message(message: &ServerMessage) -> Value {
    match message {
        ServerMessage::Welcome { session, user, heartbeat_ms, max_message_bytes } => json!({
            "type": "welcome",
            "session": session,
            "user": user,
            "heartbeat_ms": heartbeat_ms,
            "max_message_bytes": max_message_bytes,
            "server": SERVER,
        }),
        ServerMessage::Authenticated { reference, user } => {
            reply("ok", reference.as_ref(), json!({ "user": user }))
        }
        ServerMessage::Subscribed { reference, pattern, position, recovered, replayed } => {
            let body = json!({
                "channel": pattern.to_string(),
                "position": position,
                "recovered": recovered,
                "replayed": replayed,
            });
            reply("ok", reference.as_ref(), body)
        }
        ServerMessage::Unsubscribed { reference, pattern } => {
            reply("ok", reference.as_ref(), json!({ "channel": pattern.to_string() }))
        }
        ServerMessage::Refused(refusal) => error(refusal),
        ServerMessage::Lagged { pattern, position } => json!({
            "type": "lagged",
            "channel": pattern.to_string(),
            "position": position,
        }),
        ServerMessage::Reset { pattern, reason } => json!({
            "type": "reset",
            "channel": pattern.to_string(),
            "reason": reason.as_str(),
        }),
        ServerMessage::TokenExpiring { in_ms } => {
            json!({ "type": "token_expiring", "in_ms": in_ms })
        }
        ServerMessage::System { event, message, at } => json!({
            "type": "system",
            "event": event.as_str(),
            "message": message,
            "at": at,
        }),
        ServerMessage::Pong { reference } => reply("pong", reference.as_ref(), json!({})),
    }
}

fn error(refusal: &Refusal) -> Value {
    let mut body = json!({ "code": refusal.code.as_str(), "message": refusal.message });
    if let Some(channel) = &refusal.channel {
        body["channel"] = json!(channel);
    }
    if let Some(ms) = refusal.retry_after_ms {
        body["retry_after_ms"] = json!(ms);
    }
    reply("error", refusal.reference.as_ref(), body)
}

fn reply(kind: &str, reference: Option<&Reference>, mut body: Value) -> Value {
    body["type"] = json!(kind);
    match reference {
        Some(Reference::Number(number)) => body["ref"] = json!(number),
        Some(Reference::Text(text)) => body["ref"] = json!(text),
        None => {}
    }
    body
}

const SERVER: &str = concat!("rowcast/", env!("CARGO_PKG_VERSION"));

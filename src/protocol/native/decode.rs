//! Requests of clients, as they are written in `rowcast.v1` JSON.
//!
//! In: the text of one frame. Out: a [`Request`], or the refusal that answers it. Invariant: a field that is
//! understood but not offered is refused, never ignored: a client that asked for a filter must not get every row.

use serde_json::{Map, Value};

use crate::domain::channel::Pattern;
use crate::domain::message::{
    BadRequest, ClientMessage, ErrorCode, Reference, Refusal, Request, Subscribe,
};

pub fn request(text: &str) -> Result<Request, BadRequest> {
    let fields: Map<String, Value> = serde_json::from_str(text).map_err(|_| unreadable())?;
    let reference = reference(&fields)?;
    let body = body(&fields).map_err(|refusal| BadRequest {
        unreadable: false,
        refusal: Refusal { reference: reference.clone(), ..refusal },
    })?;
    Ok(Request { reference, body })
}

fn body(fields: &Map<String, Value>) -> Result<ClientMessage, Refusal> {
    match required(fields, "type")? {
        "auth" => Ok(ClientMessage::Auth { token: required(fields, "token")?.to_owned() }),
        "subscribe" => subscribe(fields).map(ClientMessage::Subscribe),
        "unsubscribe" => Ok(ClientMessage::Unsubscribe { pattern: pattern(fields)? }),
        "ping" => Ok(ClientMessage::Ping),
        known @ ("broadcast" | "presence" | "read") => Err(not_offered(known)),
        unknown => Err(Refusal::new(
            None,
            ErrorCode::UnknownType,
            format!("unknown type {}; this server understands {TYPES}", quoted(unknown)),
        )),
    }
}

fn subscribe(fields: &Map<String, Value>) -> Result<Subscribe, Refusal> {
    let pattern = pattern(fields)?;
    if let Some(option) = NOT_OFFERED.iter().find(|option| is_asked(fields, option)) {
        return Err(not_offered(option).on(pattern.to_string()));
    }
    let after = optional(fields, "after")?.map(str::to_owned);
    Ok(Subscribe { pattern, after, history: history(fields)?, compact: flag(fields, "compact")? })
}

fn pattern(fields: &Map<String, Value>) -> Result<Pattern, Refusal> {
    let text = required(fields, "channel")?;
    Pattern::parse(text).map_err(|error| {
        Refusal::new(None, ErrorCode::BadChannel, error.to_string()).on(shortened(text))
    })
}

fn reference(fields: &Map<String, Value>) -> Result<Option<Reference>, BadRequest> {
    match fields.get("ref") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.len() <= MAX_REF_BYTES => {
            return Ok(Some(Reference::Text(text.as_str().into())));
        }
        Some(Value::Number(number)) => {
            if let Some(number) = number.as_i64() {
                return Ok(Some(Reference::Number(number)));
            }
        }
        Some(_) => {}
    }
    let message = format!("ref is an integer or a string of at most {MAX_REF_BYTES} bytes");
    let refusal = Refusal::new(None, ErrorCode::BadMessage, message);
    Err(BadRequest { unreadable: false, refusal })
}

fn required<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a str, Refusal> {
    optional(fields, name)?
        .ok_or_else(|| Refusal::new(None, ErrorCode::BadMessage, format!("{name} is missing")))
}

fn optional<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => {
            Err(Refusal::new(None, ErrorCode::BadMessage, format!("{name} must be a string")))
        }
    }
}

fn history(fields: &Map<String, Value>) -> Result<Option<u16>, Refusal> {
    match fields.get("history") {
        None | Some(Value::Null | Value::Bool(false)) => return Ok(None),
        Some(Value::Number(number)) => {
            let asked = number.as_u64().and_then(|asked| u16::try_from(asked).ok());
            if let Some(asked) = asked.filter(|asked| *asked <= MAX_HISTORY) {
                return Ok((asked > 0).then_some(asked));
            }
        }
        Some(_) => {}
    }
    let message = format!("history is a number of events, at most {MAX_HISTORY}");
    Err(Refusal::new(None, ErrorCode::BadMessage, message))
}

fn flag(fields: &Map<String, Value>, name: &str) -> Result<bool, Refusal> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => {
            let message = format!("{name} is true or false");
            Err(Refusal::new(None, ErrorCode::BadMessage, message))
        }
    }
}

/// `null` and `false` ask for nothing.
fn is_asked(fields: &Map<String, Value>, name: &str) -> bool {
    !matches!(fields.get(name), None | Some(Value::Null | Value::Bool(false)))
}

fn not_offered(what: &str) -> Refusal {
    Refusal::new(None, ErrorCode::Unavailable, format!("{what} is not offered by this server"))
}

fn unreadable() -> BadRequest {
    let message = "send one JSON object a text frame, such as {\"type\":\"ping\"}";
    let refusal = Refusal::new(None, ErrorCode::BadMessage, message);
    BadRequest { unreadable: true, refusal }
}

fn quoted(text: &str) -> Value {
    Value::from(shortened(text))
}

/// An echo never makes an answer longer than the question deserves.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

const TYPES: &str = "auth, subscribe, unsubscribe and ping";

/// Options of `subscribe` that the protocol names and this server does not have.
const NOT_OFFERED: [&str; 7] =
    ["snapshot", "filter", "fields", "device", "conflate", "throttle_ms", "presence"];

const MAX_REF_BYTES: usize = 128;

const MAX_HISTORY: u16 = 1000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(text: &str) -> ErrorCode {
        request(text).unwrap_err().refusal.code
    }

    #[test]
    fn a_request_is_read_with_its_reference() {
        let read = request(r#"{"type":"subscribe","ref":7,"channel":"orders:*","extra":[]}"#);
        let body = ClientMessage::Subscribe(Subscribe {
            pattern: Pattern::parse("orders:*").unwrap(),
            after: None,
            history: None,
            compact: false,
        });
        assert_eq!(read, Ok(Request { reference: Some(Reference::Number(7)), body }));
    }

    #[test]
    fn only_what_is_no_object_counts_as_unreadable() {
        for text in ["", "[]", "1", "{", "null", "\"x\""] {
            assert!(request(text).unwrap_err().unreadable, "{text}");
        }
        for text in ["{}", r#"{"type":1}"#, r#"{"type":"ping","ref":{}}"#] {
            let bad = request(text).unwrap_err();
            assert_eq!(
                (bad.unreadable, bad.refusal.code),
                (false, ErrorCode::BadMessage),
                "{text}"
            );
        }
    }

    #[test]
    fn each_fault_has_its_code() {
        assert_eq!(code(r#"{"type":"dance"}"#), ErrorCode::UnknownType);
        assert_eq!(code(r#"{"type":"subscribe","channel":"a b"}"#), ErrorCode::BadChannel);
        assert_eq!(code(r#"{"type":"subscribe"}"#), ErrorCode::BadMessage);
        for wrong in [r#""history":1001"#, r#""history":-1"#, r#""history":"3""#, r#""compact":1"#]
        {
            let text = format!(r#"{{"type":"subscribe","channel":"a",{wrong}}}"#);
            assert_eq!(code(&text), ErrorCode::BadMessage, "{wrong}");
        }
        assert_eq!(
            code(r#"{"type":"subscribe","channel":"a","filter":"x=eq.1"}"#),
            ErrorCode::Unavailable
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_request_or_a_refusal(text in ".{0,200}") {
            let _ = request(&text);
        }
    }
}

//! What a notify-only watch sends: the event itself, in the payload of the notification.
//!
//! In: payloads of the NOTIFY channel. Out: [`Payload`]s. Invariant: nothing unsigned is believed, because any
//! role of the database may notify any channel (PostgreSQL has no rights on channels).

use aws_lc_rs::{constant_time, digest};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::channel::Channel;
use crate::domain::event::Event;

#[derive(Debug, PartialEq)]
pub struct Payload {
    pub xid: i64,
    pub id: i64,
    /// `None` where it was too large; it waits in the log.
    pub event: Option<Box<Event>>,
}

/// Reads `1`, the 32 hexadecimal digits of the signature, and the JSON that was signed.
pub fn read(
    payload: &str,
    key: &[u8],
    token: impl Fn(i64) -> Box<str>,
) -> Result<Payload, BadPayload> {
    let rest = payload.strip_prefix('1').ok_or(BadPayload::Form)?;
    let (signature, json) = rest.split_at_checked(MAC_DIGITS).ok_or(BadPayload::Form)?;
    if !is_signed(json, signature, key) {
        return Err(BadPayload::Signature);
    }
    let body: Body<'_> = serde_json::from_str(json).map_err(|_| BadPayload::Form)?;
    let xid = number(body.xid)?;
    if let Some(id) = body.parked {
        return Ok(Payload { xid, id: number(Some(id))?, event: None });
    }
    let id = number(body.id.map(|raw| raw.get().trim_matches('"')))?;
    Ok(Payload { xid, id, event: Some(body.event(token(id))?.into()) })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPayload {
    #[error("a notification that is none of ours")]
    Form,
    #[error("a notification that is not signed with this database's key")]
    Signature,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    parked: Option<&'a str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    xid: Option<&'a str>,
    at: Option<Box<str>>,
    table: Option<Box<str>>,
    op: Option<Box<str>>,
    channels: Option<Vec<Box<str>>>,
    users: Option<Box<[Box<str>]>>,
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow)]
    row: Option<&'a RawValue>,
    #[serde(borrow)]
    old: Option<&'a RawValue>,
    changed: Option<Box<[Box<str>]>>,
    user: Option<Box<str>>,
    origin: Option<Box<str>>,
    #[serde(default)]
    truncated: Option<bool>,
}

impl Body<'_> {
    fn event(self, token: Box<str>) -> Result<Event, BadPayload> {
        let json = |part: Option<&RawValue>| part.map(|raw| Box::from(raw.get()));
        let channels = self.channels.unwrap_or_default();
        Ok(Event {
            token,
            logged: None,
            at: self.at.ok_or(BadPayload::Form)?,
            table: self.table,
            op: self.op.ok_or(BadPayload::Form)?,
            channels: channels.iter().filter_map(|name| Channel::parse(name).ok()).collect(),
            audience: self.users,
            key: json(self.key),
            row: json(self.row),
            old: json(self.old),
            changed: self.changed,
            user: self.user,
            origin: self.origin,
            truncated: self.truncated.unwrap_or_default(),
        })
    }
}

fn number(text: Option<impl AsRef<str>>) -> Result<i64, BadPayload> {
    text.and_then(|text| text.as_ref().parse().ok()).ok_or(BadPayload::Form)
}

/// The nested hash that the capture function makes with the server's own `sha256()`.
fn is_signed(json: &str, signature: &str, key: &[u8]) -> bool {
    let hash = |parts: [&[u8]; 2]| {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(part);
        }
        context.finish()
    };
    let outer = hash([key, hash([key, json.as_bytes()]).as_ref()]);
    let expected = outer.as_ref()[..MAC_DIGITS / 2].iter().fold(String::new(), |mut hex, byte| {
        use std::fmt::Write;
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    constant_time::verify_slices_are_equal(expected.as_bytes(), signature.as_bytes()).is_ok()
}

const MAC_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"key";

    /// select encode(substr(sha256('key' || sha256('key' || '{}')), 1, 16), 'hex'), as psql printed it.
    #[test]
    fn an_unsigned_or_changed_payload_is_not_believed() {
        let token = |_| Box::from("t");
        assert_eq!(read("", KEY, token), Err(BadPayload::Form));
        assert_eq!(read("{}", KEY, token), Err(BadPayload::Form));
        assert_eq!(read("1ä", KEY, token), Err(BadPayload::Form));
        let forged = format!("1{}{{}}", "0".repeat(32));
        assert_eq!(read(&forged, KEY, token), Err(BadPayload::Signature));
    }
}

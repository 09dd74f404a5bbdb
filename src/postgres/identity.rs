//! Which database this is, and the tokens that are good for it.
//!
//! In: the server's system identifier and time line, the key that the installation made. Out: positions as
//! text that a client can hand back to any node. Invariant: a token of another database, of another time line or
//! with a changed byte is told apart from a good one.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio_postgres::Client;

use crate::domain::position::{Batch, Position, read_varint, write_varint};
use crate::domain::snapshot::Snapshot;

/// What a change of the time line means for positions of before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EpochPolicy {
    /// They mean nothing any more: the new primary may lack commits of the old one.
    #[default]
    Strict,
    /// They go on: replication is synchronous.
    Trust,
}

pub struct Identity {
    policy: EpochPolicy,
    epoch: Epoch,
    key: hmac::Key,
    notify_key: Box<[u8]>,
}

/// Transaction ids mean something only within one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    pub system: u64,
    pub database: u32,
    pub timeline: u32,
}

impl Identity {
    pub async fn read(client: &Client, policy: EpochPolicy) -> Result<Self, tokio_postgres::Error> {
        let row = client.query_one(QUERY, &[]).await?;
        let (system, database, timeline): (i64, u32, i32) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let epoch =
            Epoch { system: system.cast_unsigned(), database, timeline: timeline.cast_unsigned() };
        Ok(Self::new(policy, epoch, row.try_get(3)?))
    }

    pub fn new(policy: EpochPolicy, epoch: Epoch, key: &[u8]) -> Self {
        let signing = hmac::Key::new(hmac::HMAC_SHA256, key);
        Self { policy, epoch, key: signing, notify_key: key.into() }
    }

    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether positions of this epoch still mean what they did.
    pub fn continues(&self, known: Epoch) -> bool {
        known.system_tag() == self.epoch.system_tag() && self.reaches_back_to(known.timeline.into())
    }

    fn reaches_back_to(&self, timeline: u64) -> bool {
        let own = u64::from(self.epoch.timeline);
        match self.policy {
            EpochPolicy::Strict => timeline == own,
            EpochPolicy::Trust => timeline <= own,
        }
    }

    /// What notify-only payloads are signed with.
    pub const fn notify_key(&self) -> &[u8] {
        &self.notify_key
    }

    /// What only holders of the key could have put on this text, for uses of its own.
    pub fn seal(&self, text: &[u8]) -> hmac::Tag {
        // No position begins like this.
        hmac::sign(&self.key, &[b"ticket", text].concat())
    }

    /// Makes the tokens of one batch, whose snapshots they share.
    pub fn tokens(&self, before: &Snapshot, upto: &Snapshot) -> Tokens<'_> {
        let mut prefix = vec![VERSION];
        write_varint(&mut prefix, self.epoch.system_tag());
        write_varint(&mut prefix, u64::from(self.epoch.timeline));
        Batch::new(before, upto).write(&mut prefix);
        Tokens { key: &self.key, prefix }
    }

    /// The position that a token names.
    pub fn position(&self, token: &str) -> Result<Position, TokenError> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| TokenError::Unreadable)?;
        let (body, mac) = bytes.split_last_chunk::<MAC_BYTES>().ok_or(TokenError::Unreadable)?;
        let mut rest = body.strip_prefix(&[VERSION]).ok_or(TokenError::Unreadable)?;
        let system = read_varint(&mut rest).ok_or(TokenError::Unreadable)?;
        let timeline = read_varint(&mut rest).ok_or(TokenError::Unreadable)?;
        let expected = &hmac::sign(&self.key, body);
        if system != self.epoch.system_tag() || !self.reaches_back_to(timeline) {
            return Err(TokenError::OtherEpoch);
        }
        if aws_lc_rs::constant_time::verify_slices_are_equal(&expected.as_ref()[..MAC_BYTES], mac)
            .is_err()
        {
            return Err(TokenError::Unreadable);
        }
        Position::read(rest).ok_or(TokenError::Unreadable)
    }
}

impl Epoch {
    /// Enough of the two identifiers to tell one database from another, be it a copy in the same cluster.
    const fn system_tag(self) -> u64 {
        let mixed = self.system ^ (self.database as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 32)) & 0xffff_ffff
    }
}

pub struct Tokens<'a> {
    key: &'a hmac::Key,
    prefix: Vec<u8>,
}

impl Tokens<'_> {
    /// The token of the position behind the event with this log id.
    pub fn behind(&self, last: i64) -> Box<str> {
        let mut bytes = Vec::with_capacity(self.prefix.len() + 10 + MAC_BYTES);
        bytes.extend_from_slice(&self.prefix);
        write_varint(&mut bytes, last.cast_unsigned());
        let mac = hmac::sign(self.key, &bytes);
        bytes.extend_from_slice(&mac.as_ref()[..MAC_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes).into()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("not an event id of this service")]
    Unreadable,
    #[error("an event id of another database or time line")]
    OtherEpoch,
}

/// The time line comes from the WAL position, as in [`super::connect::TIMELINE`].
const QUERY: &str = "\
select (pg_control_system()).system_identifier,
       (select oid from pg_database where datname = current_database()),
       ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int,
       identity.key
  from rowcast.identity";

const VERSION: u8 = 1;

/// A token names a place, not a right, so guessing one gains nothing; this many bytes stop chance and play.
const MAC_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::position::tests::any_position;

    fn identity(system: u64, timeline: u32) -> Identity {
        Identity::new(EpochPolicy::Strict, Epoch { system, database: 5, timeline }, &[7; 32])
    }

    fn token(identity: &Identity) -> Box<str> {
        let before = "740:745:741,743".parse().unwrap();
        let upto = "743:750:743".parse().unwrap();
        identity.tokens(&before, &upto).behind(123_456)
    }

    #[test]
    fn a_token_names_its_position_and_is_short() {
        let identity = identity(7_443_215_532_215_001_234, 1);
        let token = token(&identity);
        let position = identity.position(&token).unwrap();
        assert_eq!((position.last, position.upto.to_string().as_str()), (123_456, "743:750:743"));
        assert!((20..=48).contains(&token.len()), "{token} has {} characters", token.len());
    }

    proptest! {
        #[test]
        fn every_position_survives_as_a_token_of_bounded_length(position in any_position()) {
            let identity = identity(1, 1);
            let tokens = identity.tokens(&position.before, &position.upto);
            let token = tokens.behind(position.last);
            prop_assert_eq!(identity.position(&token), Ok(position));
            prop_assert!(token.len() <= 400);
        }

        #[test]
        fn any_text_is_a_position_or_an_error(text in ".{0,80}") {
            prop_assert!(identity(1, 1).position(&text).is_err());
        }
    }

    #[test]
    fn a_token_of_another_database_or_time_line_is_told_apart() {
        let token = token(&identity(1, 1));
        assert_eq!(identity(2, 1).position(&token), Err(TokenError::OtherEpoch));
        assert_eq!(identity(1, 2).position(&token), Err(TokenError::OtherEpoch));
    }

    #[test]
    fn trusted_a_later_time_line_goes_on_where_the_earlier_one_was() {
        let trusting = |timeline| Identity { policy: EpochPolicy::Trust, ..identity(1, timeline) };
        assert!(trusting(2).position(&token(&identity(1, 1))).is_ok());
        assert!(trusting(2).continues(identity(1, 1).epoch()));
        assert!(!identity(1, 2).continues(identity(1, 1).epoch()));
        for other in [identity(1, 3), identity(2, 1)] {
            assert_eq!(trusting(2).position(&token(&other)), Err(TokenError::OtherEpoch));
            assert!(!trusting(2).continues(other.epoch()));
        }
    }

    #[test]
    fn a_changed_character_anywhere_is_noticed() {
        let identity = identity(1, 1);
        let token = token(&identity);
        for at in 0..token.len() {
            let mut bytes = token.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(identity.position(&changed).is_err(), "{changed}");
        }
        assert_eq!(identity.position(""), Err(TokenError::Unreadable));
    }
}

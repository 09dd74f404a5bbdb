//! Which keys a token's signature is checked with.
//!
//! In: the keys that there are, and what the token's header says. Out: the few to try, and what it means when none of
//! them fits. Invariant: a token that names a key is checked with that key only, and no key is used with an algorithm
//! that is not its own.

use jsonwebtoken::Algorithm;

use super::TokenRefusal;
use super::header::Header;
use super::key::Key;

/// Every key that counts now.
pub(super) struct Keys<'a> {
    pub configured: &'a [Key],
    pub issuer: Option<Published<'a>>,
}

/// What the issuer publishes.
pub(super) struct Published<'a> {
    pub keys: &'a [Key],
    /// What its keys may be used with, whichever it publishes next.
    pub algorithms: &'a [Algorithm],
}

pub(super) struct Choice<'a> {
    pub keys: Vec<&'a Key>,
    /// Why the token is refused if none of `keys` signed it.
    pub otherwise: TokenRefusal,
}

impl<'a> Keys<'a> {
    pub fn choose(&self, header: &Header) -> Result<Choice<'a>, TokenRefusal> {
        if !self.know(header.algorithm) {
            return Err(TokenRefusal::Algorithm);
        }
        match &header.key_id {
            Some(id) => self.named(id, header.algorithm).unwrap_or_else(|| Ok(self.stray(header))),
            None => Ok(self.anonymous(header)),
        }
    }

    fn know(&self, algorithm: Algorithm) -> bool {
        self.configured.iter().any(|key| key.suits(algorithm))
            || self.issuer.as_ref().is_some_and(|issuer| issuer.algorithms.contains(&algorithm))
    }

    /// The key of this id; the operator's word counts more than the issuer's. `None` where there is none.
    fn named(&self, id: &str, algorithm: Algorithm) -> Option<Result<Choice<'a>, TokenRefusal>> {
        let sets = [self.configured, self.published()];
        let set = sets.into_iter().find(|keys| keys.iter().any(|key| key.is_named(id)))?;
        // An issuer may give two keys of different kinds one id (RFC 7517 section 4.5).
        let key = set.iter().find(|key| key.is_named(id) && key.suits(algorithm));
        Some(
            key.ok_or(TokenRefusal::Algorithm)
                .map(|key| Choice { keys: vec![key], otherwise: TokenRefusal::Signature }),
        )
    }

    /// The token names a key that nobody has, or does not have yet.
    fn stray(&self, header: &Header) -> Choice<'a> {
        let mut keys = self.unnamed(header.algorithm);
        let published = self.published().iter().filter(|key| key.id.is_none());
        keys.extend(sole(published.filter(|key| key.suits(header.algorithm))));
        let final_word = self.issuer.is_none() && !keys.is_empty();
        let otherwise = if final_word { TokenRefusal::Signature } else { TokenRefusal::UnknownKey };
        Choice { keys, otherwise }
    }

    /// The token names no key.
    fn anonymous(&self, header: &Header) -> Choice<'a> {
        let mut keys = self.unnamed(header.algorithm);
        let published: Vec<_> =
            self.published().iter().filter(|key| key.suits(header.algorithm)).collect();
        if let [key] = published[..] {
            keys.push(key);
        }
        let otherwise = match (published.len(), &keys[..]) {
            (2.., _) => TokenRefusal::NoKeyId,
            (0, _) if self.issuer.is_some() => TokenRefusal::UnknownKey,
            (_, []) => TokenRefusal::UnknownKey,
            _ => TokenRefusal::Signature,
        };
        Choice { keys, otherwise }
    }

    fn unnamed(&self, algorithm: Algorithm) -> Vec<&'a Key> {
        let keys = self.configured.iter();
        keys.filter(|key| key.id.is_none() && key.suits(algorithm)).collect()
    }

    fn published(&self) -> &'a [Key] {
        self.issuer.as_ref().map_or(&[], |issuer| issuer.keys)
    }
}

/// The only one, if it is the only one.
fn sole<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}

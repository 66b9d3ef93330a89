//! The key that a server asks for, and the rule for callers' own idempotency keys.
//!
//! Must never show the key, log it, or compare it in a time that depends on what was sent.

use std::fmt;

use axum::http::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::errors::Refused;
use crate::query::Query;

/// Characters that a key must have at least.
pub const KEY_CHARS: usize = 32;

/// Carries the key, if the query does not.
const KEY_HEADER: &str = "x-functions-key";

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The key of a server: whoever has it may do everything. It hides itself in debug output.
#[derive(Clone)]
pub struct Key(String);

/// A text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadKey {
    /// It could be guessed.
    Short,
    /// It could not stand in a header.
    Unprintable,
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(f, "the key is too short: give it at least {KEY_CHARS} random characters (`openssl rand -hex 32` makes some)"),
            Self::Unprintable => f.write_str("the key must be of visible ASCII characters, without blanks (`openssl rand -hex 32` makes one)"),
        }
    }
}

impl std::error::Error for BadKey {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl Eq for Key {}

impl Key {
    /// Checks that a text can be a key.
    ///
    /// # Errors
    /// [`BadKey`] says what it lacks.
    pub fn new(text: impl Into<String>) -> Result<Self, BadKey> {
        let text = text.into();
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(BadKey::Unprintable);
        }
        if text.len() < KEY_CHARS { Err(BadKey::Short) } else { Ok(Self(text)) }
    }

    /// For links only.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// True if a request carries this key, in the query (`code`) or in a header.
    pub(crate) fn opens(&self, query: &Query, headers: &HeaderMap) -> bool {
        let header = headers.get(KEY_HEADER).and_then(|value| value.to_str().ok());
        query.text("code").is_some_and(|sent| self.is(sent)) || header.is_some_and(|sent| self.is(sent))
    }

    fn is(&self, sent: &str) -> bool {
        // Digests have one length, whatever was sent.
        Sha256::digest(self.0.as_bytes()).as_slice().ct_eq(Sha256::digest(sent.as_bytes()).as_slice()).into()
    }
}

/// The key that a caller sent along, in the query or in a header.
pub(crate) fn sent_code(query: &Query, headers: &HeaderMap) -> Option<String> {
    let header = || headers.get(KEY_HEADER).and_then(|value| value.to_str().ok()).filter(|sent| !sent.is_empty());
    query.filled("code").or_else(header).map(ToOwned::to_owned)
}

/// The key under which a caller repeats a request, if it sent one.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()));
    text.map(Some).ok_or_else(|| Refused::Argument("An Idempotency-Key has 1 to 255 visible ASCII characters, without blanks.".to_owned()))
}

/// Bytes that follow from texts alone: no two lists of texts give the same.
pub(crate) fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_key_is_long_and_visible_and_never_shown() {
        assert_eq!(Key::new("short").unwrap_err(), BadKey::Short);
        assert_eq!(Key::new(format!("{TEXT} ")).unwrap_err(), BadKey::Unprintable);
        assert_eq!(format!("{:?}", Key::new(TEXT).unwrap()), "Key(..)");
    }

    #[test]
    fn the_key_opens_from_the_query_or_the_header_and_nothing_else_does() {
        let key = Key::new(TEXT).unwrap();
        let with = |value: &str| HeaderMap::from_iter([(axum::http::HeaderName::from_static(KEY_HEADER), value.parse().unwrap())]);
        assert!(key.opens(&Query::parse(Some(&format!("Code={TEXT}"))), &HeaderMap::new()));
        assert!(key.opens(&Query::default(), &with(TEXT)));
        for wrong in ["", "0", &TEXT[1..], &format!("{TEXT}0"), &TEXT.to_uppercase()] {
            assert!(!key.opens(&Query::parse(Some(&format!("code={wrong}"))), &with(wrong)), "{wrong}");
        }
        assert!(!key.opens(&Query::default(), &HeaderMap::new()));
    }

    #[test]
    fn a_code_is_taken_from_the_query_first_and_an_empty_one_is_none() {
        let headers = HeaderMap::from_iter([(axum::http::HeaderName::from_static(KEY_HEADER), "b".parse().unwrap())]);
        assert_eq!(sent_code(&Query::parse(Some("code=a%2B")), &headers).as_deref(), Some("a+"));
        assert_eq!(sent_code(&Query::parse(Some("code=")), &headers).as_deref(), Some("b"));
        assert_eq!(sent_code(&Query::default(), &HeaderMap::new()), None);
    }

    #[test]
    fn an_idempotency_key_is_1_to_255_visible_characters() {
        let read = |value: &str| {
            let headers = HeaderMap::from_iter([(axum::http::HeaderName::from_static(IDEMPOTENCY_KEY), value.parse().unwrap())]);
            idempotency_key(&headers).map(|key| key.map(ToOwned::to_owned))
        };
        assert_eq!(read("a-1").unwrap().as_deref(), Some("a-1"));
        assert!(read(&"x".repeat(255)).is_ok());
        for bad in ["", "a b", &"x".repeat(256)] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(idempotency_key(&HeaderMap::new()).unwrap().is_none());
    }

    #[test]
    fn the_border_between_two_texts_counts() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }
}

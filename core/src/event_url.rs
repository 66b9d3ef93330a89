//! Signed URLs for people outside: whoever has one may raise one event of one instance, until it expires, and nothing else.
//!
//! A signature is HMAC-SHA256 over instance, life, event name and expiry. Must never: read a clock, show the secret, or say of a forged
//! signature more than that it is forged.

use std::fmt::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::ids::{Incarnation, InstanceId};
use crate::time::Timestamp;

/// Bytes that a secret must have at least.
pub const SECRET_BYTES: usize = 32;

/// Longest name of an event, in characters, that a URL can be made for.
pub const EVENT_NAME_CHARS: usize = 256;

/// What separates these signatures from any other use of the same secret.
const DOMAIN: &[u8] = b"durable event url 1\n";

const MICROS: i64 = 1_000_000;

/// Makes and checks signed URLs: where they lead, and the secret that signs them.
#[derive(Clone)]
pub struct EventUrls {
    base: String,
    /// Keyed with the secret, and fed nothing yet.
    mac: Hmac<Sha256>,
}

impl fmt::Debug for EventUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventUrls({})", self.base)
    }
}

/// A URL that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventUrlError {
    /// The secret could be guessed.
    #[error("the secret of event URLs has {0} bytes: give it at least {min} random ones", min = SECRET_BYTES)]
    ShortSecret(usize),
    /// The app was given no secret.
    #[error("this app makes no event URLs: give it a secret with `AppBuilder::event_urls`, or run it on a host that does")]
    NotConfigured,
    /// The name cannot be a part of a path.
    #[error("an event of this name cannot have a URL: 1 to {max} characters, no `/`", max = EVENT_NAME_CHARS)]
    EventName,
}

/// Why a URL raises nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventUrlRefused {
    /// The signature is not ours, or something of the URL was changed.
    #[error("the signature does not fit this URL")]
    Forged,
    /// Its time is over.
    #[error("this URL has expired")]
    Expired,
}

/// What a URL says of itself, as it came in.
#[derive(Debug, Clone, Copy)]
pub struct Claimed<'a> {
    /// The id of the instance.
    pub instance: &'a str,
    /// The name of the event, in any letter case.
    pub event: &'a str,
    /// The query parameter `expires`.
    pub expires: &'a str,
    /// The query parameter `life`.
    pub life: &'a str,
    /// The query parameter `sig`.
    pub signature: &'a str,
}

impl EventUrls {
    /// URLs below `base_url` (scheme, authority and, if the server lives below one, a path), signed with this secret.
    ///
    /// # Errors
    /// [`EventUrlError::ShortSecret`] below [`SECRET_BYTES`].
    pub fn new(base_url: impl Into<String>, secret: impl Into<Vec<u8>>) -> Result<Self, EventUrlError> {
        let secret = secret.into();
        if secret.len() < SECRET_BYTES {
            return Err(EventUrlError::ShortSecret(secret.len()));
        }
        let mac = Hmac::new_from_slice(&secret).map_err(|_| EventUrlError::ShortSecret(secret.len()))?;
        let base: String = base_url.into();
        Ok(Self { base: base.trim_end_matches('/').to_owned(), mac })
    }

    /// The URL that raises `event` of this life of an instance until `expires` (rounded up to a whole second).
    ///
    /// # Errors
    /// [`EventUrlError::EventName`].
    pub fn url(&self, instance: &InstanceId, life: Incarnation, event: &str, expires: Timestamp) -> Result<String, EventUrlError> {
        if event.is_empty() || event.contains('/') || event.chars().nth(EVENT_NAME_CHARS).is_some() {
            return Err(EventUrlError::EventName);
        }
        let expires = seconds(expires);
        let signature = URL_SAFE_NO_PAD.encode(self.mac(instance.as_str(), life, event, expires).finalize().into_bytes());
        let (base, instance, event) = (&self.base, encode(instance.as_str()), encode(event));
        Ok(format!("{base}/api/events/{instance}/{event}?expires={expires}&life={life}&sig={signature}"))
    }

    /// Checks a URL, and says which life of the instance it is for. The signature is compared in constant time.
    ///
    /// # Errors
    /// [`EventUrlRefused`]; that it has expired is only said of a URL that is ours.
    pub fn check(&self, url: Claimed<'_>, now: Timestamp) -> Result<Incarnation, EventUrlRefused> {
        let life = life(url.life).ok_or(EventUrlRefused::Forged)?;
        let expires: i64 = url.expires.parse().map_err(|_| EventUrlRefused::Forged)?;
        let signature = URL_SAFE_NO_PAD.decode(url.signature).map_err(|_| EventUrlRefused::Forged)?;
        self.mac(url.instance, life, url.event, expires).verify_slice(&signature).map_err(|_| EventUrlRefused::Forged)?;
        if now.0 >= expires.saturating_mul(MICROS) { Err(EventUrlRefused::Expired) } else { Ok(life) }
    }

    fn mac(&self, instance: &str, life: Incarnation, event: &str, expires: i64) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(DOMAIN);
        // Everything before the name has a known length, so that no two URLs are the same bytes.
        mac.update(&(instance.len() as u64).to_be_bytes());
        mac.update(instance.as_bytes());
        mac.update(&life.0);
        mac.update(&expires.to_be_bytes());
        mac.update(event.to_lowercase().as_bytes());
        mac
    }
}

/// Whole seconds since 1970, rounded up.
const fn seconds(at: Timestamp) -> i64 {
    at.0.div_euclid(MICROS) + if at.0.rem_euclid(MICROS) == 0 { 0 } else { 1 }
}

/// Reads the 16 hex digits of a life.
fn life(text: &str) -> Option<Incarnation> {
    let well_formed = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    well_formed.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(|life| Incarnation(life.to_be_bytes()))
}

/// Percent-encodes everything but letters, digits, `-`, `_`, `.` and `~`.
fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, b| {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(b));
        } else {
            // Writing to a String never fails.
            let _ = write!(out, "%{b:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Incarnation = Incarnation([0xab; 8]);

    fn urls(secret: u8) -> EventUrls {
        EventUrls::new("https://host.example/", vec![secret; 32]).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * MICROS)
    }

    /// The parts of a URL, of an instance and event that need no encoding.
    fn parts(url: &str) -> Claimed<'_> {
        let (path, query) = url.strip_prefix("https://host.example/api/events/").unwrap().split_once('?').unwrap();
        let (instance, event) = path.split_once('/').unwrap();
        let mut values = query.split('&').map(|pair| pair.split_once('=').unwrap().1);
        let mut next = || values.next().unwrap();
        Claimed { instance, event, expires: next(), life: next(), signature: next() }
    }

    #[test]
    fn a_url_holds_until_it_expires_and_for_any_letter_case_of_the_event() {
        let url = urls(1).url(&InstanceId::new("a-1").unwrap(), LIFE, "Approve", Timestamp(at(100).0 - 1)).unwrap();
        let claimed = parts(&url);
        assert_eq!((claimed.instance, claimed.event, claimed.expires, claimed.life), ("a-1", "Approve", "100", "abababababababab"));
        assert_eq!(urls(1).check(Claimed { event: "APPROVE", ..claimed }, Timestamp(at(100).0 - 1)), Ok(LIFE));
        assert_eq!(urls(1).check(claimed, at(100)), Err(EventUrlRefused::Expired));
    }

    #[test]
    fn a_changed_part_or_another_secret_is_a_forgery() {
        let url = urls(1).url(&InstanceId::new("a").unwrap(), LIFE, "Go", at(100)).unwrap();
        let claimed = parts(&url);
        for changed in [
            Claimed { instance: "b", ..claimed },
            Claimed { event: "Gone", ..claimed },
            Claimed { expires: "101", ..claimed },
            Claimed { expires: "soon", ..claimed },
            Claimed { life: "ababababababab00", ..claimed },
            Claimed { life: "+bababababababab", ..claimed },
            Claimed { signature: "", ..claimed },
            Claimed { signature: &claimed.signature[1..], ..claimed },
            Claimed { signature: "not base64!", ..claimed },
            // The border between instance and name cannot be moved.
            Claimed { instance: "", event: "aGo", ..claimed },
        ] {
            assert_eq!(urls(1).check(changed, at(0)), Err(EventUrlRefused::Forged), "{changed:?}");
        }
        assert_eq!(urls(2).check(claimed, at(0)), Err(EventUrlRefused::Forged));
    }

    #[test]
    fn a_short_secret_is_refused_and_no_secret_is_shown() {
        assert_eq!(EventUrls::new("http://x", [1; 31]).unwrap_err(), EventUrlError::ShortSecret(31));
        assert_eq!(format!("{:?}", urls(77)), "EventUrls(https://host.example)");
    }

    #[test]
    fn names_are_encoded_and_one_that_no_path_can_hold_has_no_url() {
        let url = |event: &str| urls(1).url(&InstanceId::new("a b:é").unwrap(), LIFE, event, at(9));
        assert!(url("Go on+").unwrap().contains("/api/events/a%20b%3A%C3%A9/Go%20on%2B?"));
        for bad in ["", "a/b", &"x".repeat(257)] {
            assert_eq!(url(bad), Err(EventUrlError::EventName));
        }
    }
}

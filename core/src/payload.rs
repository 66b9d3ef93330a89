//! Payloads: inputs, outputs, event data, custom status. Encoded once where they enter, decoded once where they are read.
//!
//! Everything between (engine, stores, other instances) passes the bytes on and must never look inside.

use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode, Encoder};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits;

/// The stored form of one JSON value: what the app's [`PayloadCodec`] made of its text. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Payload(Bytes);

impl Payload {
    /// Wraps bytes that already are in stored form.
    #[must_use]
    pub const fn from_stored(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The stored form.
    #[must_use]
    pub const fn stored(&self) -> &Bytes {
        &self.0
    }

    /// Size in stored form, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True for the zero-byte payload, which no codec produces from a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if text.len() <= 200 => f.write_str(text),
            _ => write!(f, "<{} bytes>", self.0.len()),
        }
    }
}

impl<C> Encode<C> for Payload {
    fn encode<W: minicbor::encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Payload {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Ok(Self(Bytes::copy_from_slice(d.bytes()?)))
    }
}

/// A payload that cannot be written or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PayloadError {
    /// The value does not become JSON, or is too large.
    #[error("{what} cannot be stored: {why}")]
    Encode {
        /// Which value, for example "the input of activity `quote`".
        what: String,
        /// What the JSON library says.
        why: String,
    },
    /// The stored JSON does not fit the type that the code asks for.
    #[error("{what} does not fit the type that is asked for: {why}")]
    Decode {
        /// Which value.
        what: String,
        /// What the JSON library says.
        why: String,
    },
    /// The codec cannot read the stored form (another key, another codec, damage).
    #[error("{what} cannot be read by this app's payload codec: {why}")]
    Stored {
        /// Which value.
        what: String,
        /// What the codec says.
        why: String,
    },
}

/// Turns JSON text into its stored form and back, for compression or encryption.
///
/// `encode` must be deterministic: a turn that is run again must make the same bytes (an encrypting codec derives its nonce from the text).
/// Text is handed back exactly as it was sent.
pub trait PayloadCodec: Send + Sync + 'static {
    /// From JSON text to the stored form.
    ///
    /// # Errors
    /// A sentence on why the text cannot be stored.
    fn encode(&self, text: Bytes) -> Result<Bytes, String>;
    /// From the stored form back to the JSON text.
    ///
    /// # Errors
    /// A sentence on why the bytes cannot be read.
    fn decode(&self, stored: &Bytes) -> Result<Bytes, String>;
}

/// The default codec: the stored form is the text itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainJson;

impl PayloadCodec for PlainJson {
    fn encode(&self, text: Bytes) -> Result<Bytes, String> {
        Ok(text)
    }
    fn decode(&self, stored: &Bytes) -> Result<Bytes, String> {
        Ok(stored.clone())
    }
}

/// Writes a value through the codec. `what` names it in errors.
pub(crate) fn encode<T: Serialize + ?Sized>(codec: &dyn PayloadCodec, value: &T, what: &str) -> Result<Payload, PayloadError> {
    let text = serde_json::to_vec(value).map_err(|e| PayloadError::Encode { what: what.to_owned(), why: e.to_string() })?;
    let depth = json_depth(&text);
    if depth > limits::PAYLOAD_DEPTH {
        let why = format!("it is nested {depth} deep, more than the {} that are allowed: readers of JSON would give up on it", limits::PAYLOAD_DEPTH);
        return Err(PayloadError::Encode { what: what.to_owned(), why });
    }
    let stored = codec.encode(text.into()).map_err(|why| PayloadError::Encode { what: what.to_owned(), why })?;
    if stored.len() > limits::PAYLOAD_BYTES {
        let why = format!("it has {} bytes, more than the {} that are allowed", stored.len(), limits::PAYLOAD_BYTES);
        return Err(PayloadError::Encode { what: what.to_owned(), why });
    }
    Ok(Payload(stored))
}

/// How deep arrays and objects are nested in what is known to be JSON.
#[must_use]
pub fn json_depth(json: &[u8]) -> usize {
    let (mut now, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                now += 1;
                deepest = deepest.max(now);
            }
            b']' | b'}' if !in_string => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Reads a value through the codec. `what` names it in errors.
///
/// Some clients encode a value twice, so that a JSON string holding JSON arrives. The value as sent is tried first; if it does not fit
/// and is a string, the JSON inside it is tried, and an empty string counts as no value (`null`).
pub(crate) fn decode<T: DeserializeOwned>(codec: &dyn PayloadCodec, payload: &Payload, what: &str) -> Result<T, PayloadError> {
    let text = codec.decode(&payload.0).map_err(|why| PayloadError::Stored { what: what.to_owned(), why })?;
    let outer = match serde_json::from_slice(&text) {
        Ok(value) => return Ok(value),
        Err(e) => e,
    };
    if let Ok(inner) = serde_json::from_slice::<String>(&text) {
        let inner = if inner.trim().is_empty() { "null" } else { &inner };
        if let Ok(value) = serde_json::from_str(inner) {
            return Ok(value);
        }
    }
    Err(PayloadError::Decode { what: what.to_owned(), why: outer.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: DeserializeOwned>(text: &'static str) -> Result<T, PayloadError> {
        decode(&PlainJson, &Payload(Bytes::from_static(text.as_bytes())), "x")
    }

    #[test]
    fn a_value_encoded_twice_is_read_as_the_value_inside_only_if_it_does_not_fit_as_sent() {
        assert_eq!(read::<Vec<u8>>("\"[1,2]\"").unwrap(), [1, 2]);
        assert_eq!(read::<String>("\"[1,2]\"").unwrap(), "[1,2]");
        assert_eq!(read::<Option<u8>>("\"\"").unwrap(), None);
        assert_eq!(read::<Option<u8>>("\"7\"").unwrap(), Some(7));
        assert!(read::<u8>("\"x\"").unwrap_err().to_string().contains("does not fit"));
    }

    fn nested(depth: usize) -> serde_json::Value {
        (0..depth).fold(serde_json::Value::Null, |inner, _| serde_json::json!([inner]))
    }

    #[test]
    fn a_value_that_readers_would_give_up_on_is_not_written() {
        assert_eq!(json_depth(br#"{"a[{\"[\\": [1, {"b": "]["}], "c": [[]]}"#), 3);
        assert!(encode(&PlainJson, &nested(limits::PAYLOAD_DEPTH), "x").is_ok());
        let refused = encode(&PlainJson, &nested(limits::PAYLOAD_DEPTH + 1), "the output").unwrap_err().to_string();
        assert!(refused.starts_with("the output cannot be stored: it is nested 125 deep"), "{refused}");
    }
}

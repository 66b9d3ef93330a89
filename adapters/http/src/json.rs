//! JSON text: checked where it enters, and shown exactly as it was sent.
//!
//! Must never re-format: numbers keep their digits, objects their order and white space.

use std::fmt;

use bytes::Bytes;
use durable::{json_depth, limits};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Checks that bytes are one JSON value that can be read again later, inside an answer too: UTF-8, not too deep, no broken escapes.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    std::str::from_utf8(bytes).map_err(|e| format!("the text is not UTF-8: {e}"))?;
    serde_json::from_slice::<Readable>(bytes).map_err(|e| e.to_string())?;
    let (depth, most) = (json_depth(bytes), limits::INPUT_DEPTH);
    if depth > most { Err(format!("the value is nested {depth} deep, more than the {most} that are allowed")) } else { Ok(()) }
}

/// Any value that the JSON library can read as a whole. Unlike `serde::de::IgnoredAny` it looks into strings, numbers and depth.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// Stored JSON text, to be shown. Text that is not JSON is shown as a JSON string, blank text as an empty one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct JsonText(Option<Bytes>);

impl JsonText {
    /// `null`.
    pub const fn null() -> Self {
        Self(None)
    }

    pub const fn new(text: Bytes) -> Self {
        Self(Some(text))
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(bytes) = &self.0 else { return serializer.serialize_unit() };
        let text = String::from_utf8_lossy(bytes);
        match serde_json::from_str::<&RawValue>(&text) {
            Ok(raw) => raw.serialize(serializer),
            Err(_) if text.trim().is_empty() => serializer.serialize_str(""),
            Err(_) => serializer.serialize_str(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &'static str) -> String {
        serde_json::to_string(&JsonText::new(Bytes::from_static(text.as_bytes()))).unwrap()
    }

    #[test]
    fn what_passes_the_check_can_be_read_later() {
        for text in ["null", " {\"a\": [1, 2.50, \"x\\n\", true]} ", "\"\"", "123456789012345678901234567890"] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let most = limits::INPUT_DEPTH;
        assert!(check(nested(most).as_bytes()).is_ok() && check(nested(most + 1).as_bytes()).is_err());
        // The deepest place of an answer: the result of an event in the history of an instance.
        let shown = format!("{{\"historyEvents\": [{{\"Result\": {}}}]}}", nested(limits::PAYLOAD_DEPTH));
        assert!(serde_json::from_str::<serde_json::Value>(&shown).is_ok());
        assert!(check(nested(1_000_000).as_bytes()).unwrap_err().contains("recursion limit"));
    }

    #[test]
    fn what_is_not_json_is_refused_with_the_place() {
        for text in ["", "{", "{\"a\":}", "1 2", "'a'", "\"\\ud800\"", "1e999", "NaN"] {
            assert!(check(text.as_bytes()).is_err(), "{text}");
        }
        assert!(check(b"\"\xff\"").unwrap_err().contains("UTF-8"));
        assert!(check(b"{\n\"a\":}").unwrap_err().contains("line 2"));
    }

    #[test]
    fn text_is_shown_as_it_was_sent() {
        assert_eq!(shown("{\"b\": 1.50,  \"a\":12345678901234567890123}"), "{\"b\": 1.50,  \"a\":12345678901234567890123}");
        assert_eq!(shown("not json"), "\"not json\"");
        assert_eq!(shown("  "), "\"\"");
        assert_eq!(serde_json::to_string(&JsonText::null()).unwrap(), "null");
    }
}

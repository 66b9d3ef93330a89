//! A row: two keys, a tag that changes with every change, and properties.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value as Json};

/// The value of a property. What else the service knows is read as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// Bytes.
    Binary(Bytes),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

/// A row, or some of its properties.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entity {
    /// Its partition key.
    pub partition: String,
    /// Its row key.
    pub row: String,
    /// Its tag, if it was read.
    pub tag: String,
    values: BTreeMap<String, Value>,
}

impl Entity {
    /// A row without properties.
    #[must_use]
    pub fn new(partition: impl Into<String>, row: impl Into<String>) -> Self {
        Self { partition: partition.into(), row: row.into(), ..Self::default() }
    }

    /// With this property.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a property.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// All properties.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// A property that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A property that is a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.values.get(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// True if the property is there and says yes.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.values.get(name), Some(Value::Flag(true)))
    }

    /// A property that is bytes.
    #[must_use]
    pub fn binary(&self, name: &str) -> Option<&Bytes> {
        match self.values.get(name) {
            Some(Value::Binary(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// What it takes in the body of a request, about.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        let value = |value: &Value| match value {
            Value::Text(text) => text.len() * 6,
            Value::Binary(bytes) => bytes.len().div_ceil(3) * 4,
            Value::Number(_) | Value::Flag(_) => 24,
        };
        let values: usize = self.values.iter().map(|(name, found)| 2 * name.len() + 40 + value(found)).sum();
        values + self.partition.len() + self.row.len() + 64
    }

    /// As it is sent.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut json = Map::new();
        json.insert("PartitionKey".to_owned(), self.partition.as_str().into());
        json.insert("RowKey".to_owned(), self.row.as_str().into());
        for (name, value) in &self.values {
            let (value, kind) = match value {
                Value::Text(text) => (Json::from(text.as_str()), None),
                Value::Flag(flag) => (Json::from(*flag), None),
                Value::Number(number) => (Json::from(number.to_string()), Some("Edm.Int64")),
                Value::Binary(bytes) => (Json::from(BASE64_STANDARD.encode(bytes)), Some("Edm.Binary")),
            };
            json.insert(name.clone(), value);
            if let Some(kind) = kind {
                json.insert(format!("{name}@odata.type"), kind.into());
            }
        }
        Json::Object(json).to_string().into_bytes()
    }

    /// From an answer. None if it makes no sense.
    pub(super) fn from_json(json: Json) -> Option<Self> {
        let Json::Object(json) = json else { return None };
        let kind = |name: &str| json.get(&format!("{name}@odata.type")).and_then(Json::as_str);
        let mut entity = Self::default();
        for (name, value) in &json {
            let text = value.as_str();
            match (name.as_str(), text) {
                ("PartitionKey", Some(text)) => text.clone_into(&mut entity.partition),
                ("RowKey", Some(text)) => text.clone_into(&mut entity.row),
                ("odata.etag", Some(text)) => text.clone_into(&mut entity.tag),
                (name, _) if name.contains("odata.") => {}
                (name, _) => {
                    let value = match (kind(name), value, text) {
                        (_, Json::Null, _) => continue,
                        (_, Json::Bool(flag), _) => Value::Flag(*flag),
                        (Some("Edm.Int64"), _, Some(text)) => Value::Number(text.parse().ok()?),
                        (Some("Edm.Binary"), _, Some(text)) => Value::Binary(BASE64_STANDARD.decode(text).ok()?.into()),
                        (_, _, Some(text)) => Value::Text(text.to_owned()),
                        (_, number, None) => number.as_i64().map_or_else(|| Value::Text(number.to_string()), Value::Number),
                    };
                    entity.values.insert(name.to_owned(), value);
                }
            }
        }
        Some(entity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_as_it_was_sent() {
        let entity = Entity::new("p'", "r").with("a", "tü\"x").with("b", i64::MIN).with("c", true).with("d", vec![0, 255, 7]);
        let json = serde_json::from_slice(&entity.to_json()).unwrap();
        assert_eq!(Entity::from_json(json).unwrap(), entity);
        assert!(entity.to_json().len() <= entity.wire_bytes());
    }

    #[test]
    fn what_the_service_adds_is_told_apart() {
        let json = br#"{"odata.metadata":"m","odata.etag":"W/\"x\"","PartitionKey":"p","RowKey":"r","n":5,"i":"7","i@odata.type":"Edm.Int64","z":null,
            "Timestamp@odata.type":"Edm.DateTime","Timestamp":"2026-01-01T00:00:00Z","f":1.5}"#;
        let entity = Entity::from_json(serde_json::from_slice(json).unwrap()).unwrap();
        assert_eq!((entity.tag.as_str(), entity.number("n"), entity.number("i"), entity.text("f")), ("W/\"x\"", Some(5), Some(7), Some("1.5")));
        assert_eq!((entity.text("Timestamp"), entity.values().count()), (Some("2026-01-01T00:00:00Z"), 4));
        for bad in [r#"[]"#, r#"{"b":"*","b@odata.type":"Edm.Binary"}"#, r#"{"i":"x","i@odata.type":"Edm.Int64"}"#] {
            assert!(Entity::from_json(serde_json::from_str(bad).unwrap()).is_none(), "{bad}");
        }
    }
}

//! Reading and writing attributes, and how many bytes an item is billed for.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;

/// The attributes of an item.
pub(super) type Attrs = HashMap<String, AttributeValue>;

/// A text.
pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number.
pub(super) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Bytes.
pub(super) fn binary(value: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

/// What stands in an item, or does not stand there at all.
pub(super) fn flag() -> AttributeValue {
    number(1)
}

/// The keys of a row.
pub(super) fn key(pk: &str, sk: &str) -> Attrs {
    HashMap::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))])
}

/// Takes bytes out of an item.
pub(super) fn take_binary(attrs: &mut Attrs, name: &str) -> Option<Bytes> {
    match attrs.remove(name) {
        Some(AttributeValue::B(blob)) => Some(blob.into_inner().into()),
        _ => None,
    }
}

/// Takes a list out of an item.
pub(super) fn take_list(attrs: &mut Attrs, name: &str) -> Vec<AttributeValue> {
    match attrs.remove(name) {
        Some(AttributeValue::L(list)) => list,
        _ => Vec::new(),
    }
}

/// A number in an item.
pub(super) fn number_in(attrs: &Attrs, name: &str) -> Option<i64> {
    attrs.get(name)?.as_n().ok()?.parse().ok()
}

/// A text in an item.
pub(super) fn text_in<'a>(attrs: &'a Attrs, name: &str) -> Option<&'a str> {
    attrs.get(name)?.as_s().ok().map(String::as_str)
}

/// How many bytes an item counts for: names and values, and something for what is nested.
pub(super) fn size(attrs: &Attrs) -> usize {
    attrs.iter().map(|(name, value)| name.len() + size_of_value(value)).sum()
}

fn size_of_value(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::B(blob) => blob.as_ref().len(),
        AttributeValue::L(list) => 3 + list.iter().map(|v| 1 + size_of_value(v)).sum::<usize>(),
        AttributeValue::M(map) => 3 + map.iter().map(|(name, v)| 1 + name.len() + size_of_value(v)).sum::<usize>(),
        _ => 1,
    }
}

/// Write units for an item of so many bytes.
pub(super) fn write_units(bytes: usize) -> f64 {
    bytes.div_ceil(1024).max(1) as f64
}

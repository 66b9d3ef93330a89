//! What a row and a transaction may be at most. The emulator takes more than the service, so this is where it is noticed.

use std::collections::HashSet;

use super::entity::{Entity, Value};
use super::{Change, If};
use crate::storage::{Refusal, SendError};

/// Bytes in one binary property.
pub const BINARY_BYTES: usize = 64 * 1024;
/// Units of UTF-16 in one text property.
const TEXT_UNITS: usize = 32 * 1024;
/// Bytes in one row.
const ROW_BYTES: usize = 1024 * 1024;
/// Properties beside the two keys and the time.
const PROPERTIES: usize = 252;
/// Characters in the name of a property.
const NAME_CHARS: usize = 255;
/// Units of UTF-16 in a key.
const KEY_UNITS: usize = 512;
/// Operations in one transaction.
pub const OPERATIONS: usize = 100;
/// Bytes in one transaction, with all that stands around the rows.
pub const REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// More than the service takes, or something else than it takes. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TooMuch {
    /// A row.
    #[error("row {0} has {1} bytes, a row has {ROW_BYTES} at most")]
    Row(String, usize),
    /// A property.
    #[error("property {0} is too long: bytes are {BINARY_BYTES} at most, text {TEXT_UNITS} units of UTF-16")]
    Property(String),
    /// Properties.
    #[error("row {0} has {1} properties, a row has {PROPERTIES} at most")]
    Properties(String, usize),
    /// The name of a property.
    #[error("{0:?} cannot be the name of a property: ASCII letters, digits and '_', {NAME_CHARS} at most, not a digit first")]
    Name(String),
    /// A key.
    #[error("{0:?} cannot be a key: {KEY_UNITS} units of UTF-16 at most, without '/', '\\', '#', '?', '%' and control characters")]
    Key(String),
    /// Operations.
    #[error("a transaction of {0} operations cannot be: one has 1 to {OPERATIONS}")]
    Operations(usize),
    /// Rows of several partitions.
    #[error("a transaction is for one partition, not for {0:?} and {1:?}")]
    Partitions(String, String),
    /// The same row twice.
    #[error("a transaction changes row {0:?} twice")]
    Twice(String),
    /// A request.
    #[error("a transaction has {0} bytes, one has {REQUEST_BYTES} at most")]
    Request(usize),
    /// The name of a table.
    #[error("{0:?} cannot be the name of a table: 3 to 63 ASCII letters and digits, a letter first")]
    TableName(String),
    /// A tag.
    #[error("{0:?} cannot be the tag of a row")]
    Tag(String),
}

impl From<TooMuch> for SendError {
    fn from(error: TooMuch) -> Self {
        Self::Refused(Refusal { status: 400, code: "TooMuch".to_owned(), message: error.to_string(), index: None })
    }
}

/// Checks the name of a table.
pub(super) fn check_table_name(name: &str) -> Result<(), TooMuch> {
    let fits = (3..=63).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric()) && name.as_bytes()[0].is_ascii_alphabetic();
    if fits { Ok(()) } else { Err(TooMuch::TableName(name.to_owned())) }
}

/// Checks a key.
pub(super) fn check_key(key: &str) -> Result<(), TooMuch> {
    let bad = |c: char| matches!(c, '/' | '\\' | '#' | '?' | '%') || c.is_control();
    if key.encode_utf16().count() > KEY_UNITS || key.contains(bad) { Err(TooMuch::Key(key.to_owned())) } else { Ok(()) }
}

/// Checks what is to be sent together.
pub(super) fn check(changes: &[Change]) -> Result<(), TooMuch> {
    if changes.is_empty() || changes.len() > OPERATIONS {
        return Err(TooMuch::Operations(changes.len()));
    }
    let (first, mut rows) = (changes[0].keys().0, HashSet::new());
    for change in changes {
        let (partition, row) = change.keys();
        if partition != first {
            return Err(TooMuch::Partitions(first.to_owned(), partition.to_owned()));
        }
        if !rows.insert(row) {
            return Err(TooMuch::Twice(row.to_owned()));
        }
        check_key(partition)?;
        check_key(row)?;
        if let Some(If::Tag(tag)) = change.condition()
            && (tag.is_empty() || tag == "*" || tag.chars().any(char::is_control))
        {
            return Err(TooMuch::Tag(tag.clone()));
        }
        change.entity().map_or(Ok(()), check_entity)?;
    }
    Ok(())
}

fn check_entity(entity: &Entity) -> Result<(), TooMuch> {
    // As the service counts it.
    let mut bytes = 4 + 2 * (entity.partition.encode_utf16().count() + entity.row.encode_utf16().count());
    let count = entity.values().count();
    if count > PROPERTIES {
        return Err(TooMuch::Properties(entity.row.clone(), count));
    }
    for (name, value) in entity.values() {
        let letters = name.len() <= NAME_CHARS && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !letters || name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
            return Err(TooMuch::Name(name.to_owned()));
        }
        let (length, most) = match value {
            Value::Text(text) => (4 + 2 * text.encode_utf16().count(), 4 + 2 * TEXT_UNITS),
            Value::Binary(bytes) => (4 + bytes.len(), 4 + BINARY_BYTES),
            Value::Number(_) => (8, 8),
            Value::Flag(_) => (1, 1),
        };
        if length > most {
            return Err(TooMuch::Property(name.to_owned()));
        }
        bytes += 8 + 2 * name.len() + length;
    }
    if bytes > ROW_BYTES { Err(TooMuch::Row(entity.row.clone(), bytes)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: usize) -> Change {
        Change::Insert(Entity::new("p", n.to_string()))
    }

    fn with(name: &str, value: impl Into<Value>) -> Result<(), TooMuch> {
        check(&[Change::Insert(Entity::new("p", "r").with(name, value))])
    }

    #[test]
    fn a_row_has_a_mebibyte_at_most() {
        let filled = |last: usize| {
            let full = (0..15).fold(Entity::new("p", "r"), |row, n| row.with(&format!("p{n:02}"), vec![0; BINARY_BYTES]));
            check(&[Change::Insert(full.with("p15", vec![0; last]))])
        };
        let rest = ROW_BYTES - (4 + 4) - 15 * (8 + 6 + 4 + BINARY_BYTES) - (8 + 6 + 4);
        assert_eq!(filled(rest), Ok(()));
        assert!(matches!(filled(rest + 1), Err(TooMuch::Row(_, bytes)) if bytes == ROW_BYTES + 1));
    }

    #[test]
    fn a_property_has_sixty_four_kibibytes_at_most() {
        assert_eq!(with("a", vec![0; BINARY_BYTES]), Ok(()));
        assert_eq!(with("a", vec![0; BINARY_BYTES + 1]), Err(TooMuch::Property("a".to_owned())));
        assert_eq!(with("a", "é".repeat(TEXT_UNITS)), Ok(()));
        // Each of these takes two units.
        assert_eq!(with("a", "🦀".repeat(TEXT_UNITS / 2)), Ok(()));
        assert_eq!(with("a", "🦀".repeat(TEXT_UNITS / 2 + 1)), Err(TooMuch::Property("a".to_owned())));
    }

    #[test]
    fn a_row_has_so_many_properties_at_most() {
        let full = (0..PROPERTIES).fold(Entity::new("p", "r"), |row, n| row.with(&format!("p{n}"), true));
        assert_eq!(check(&[Change::Insert(full.clone())]), Ok(()));
        assert!(matches!(check(&[Change::Insert(full.with("more", true))]), Err(TooMuch::Properties(_, 253))));
    }

    #[test]
    fn names_of_properties_are_words() {
        assert_eq!(with(&"a".repeat(NAME_CHARS), true), Ok(()));
        for name in ["", "1a", "a-b", "ü", &"a".repeat(NAME_CHARS + 1)] {
            assert_eq!(with(name, true), Err(TooMuch::Name(name.to_owned())), "{name}");
        }
    }

    #[test]
    fn keys_are_short_and_hold_nothing_forbidden() {
        for good in ["", "a'b", "ä ö", &"k".repeat(KEY_UNITS), &"🦀".repeat(KEY_UNITS / 2)] {
            assert_eq!(check_key(good), Ok(()), "{good}");
        }
        for bad in ["a/b", "a\\b", "a#", "?", "50%", "a\u{1f}", "a\u{7f}", "a\u{9f}", &"k".repeat(KEY_UNITS + 1), &"🦀".repeat(KEY_UNITS / 2 + 1)] {
            assert!(check_key(bad).is_err(), "{bad:?}");
            assert!(check(&[Change::Delete("p".to_owned(), bad.to_owned(), If::Exists)]).is_err(), "{bad:?}");
            assert!(check(&[Change::Insert(Entity::new(bad, "r"))]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_transaction_has_a_hundred_operations_at_most() {
        assert_eq!(check(&(0..OPERATIONS).map(row).collect::<Vec<_>>()), Ok(()));
        assert_eq!(check(&(0..=OPERATIONS).map(row).collect::<Vec<_>>()), Err(TooMuch::Operations(101)));
        assert_eq!(check(&[]), Err(TooMuch::Operations(0)));
    }

    #[test]
    fn a_transaction_is_for_one_partition_and_for_each_row_once() {
        let other = Change::Insert(Entity::new("q", "1"));
        assert!(matches!(check(&[row(0), other]), Err(TooMuch::Partitions(..))));
        let again = Change::Delete("p".to_owned(), "0".to_owned(), If::Exists);
        assert_eq!(check(&[row(0), row(1), again]), Err(TooMuch::Twice("0".to_owned())));
    }

    #[test]
    fn a_tag_is_never_taken_for_any() {
        for tag in ["", "*", "a\r\nb"] {
            assert!(check(&[Change::Delete("p".to_owned(), "r".to_owned(), If::Tag(tag.to_owned()))]).is_err(), "{tag:?}");
        }
    }

    #[test]
    fn tables_have_names_of_letters_and_digits() {
        for good in ["abc", "A12", &"t".repeat(63)] {
            assert_eq!(check_table_name(good), Ok(()));
        }
        for bad in ["", "ab", "1ab", "a-b", "täble", &"t".repeat(64)] {
            assert!(check_table_name(bad).is_err(), "{bad}");
        }
    }
}

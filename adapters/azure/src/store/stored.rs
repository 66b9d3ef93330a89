//! What is too large for its own row stands in rows beside it, in parts; its row names them.
//!
//! Each attempt to write such rows uses a nonce of its own. So no two writers ever share a row, and whoever removes rows that nothing names
//! can take nothing from anybody.

use std::collections::HashMap;

use bytes::Bytes;
use durable::ids::Incarnation;
use durable::ports::{StoreError, StoreResult};
pub(super) use durable_host::stores::nonce;
use futures_util::future::try_join_all;

use super::{TableStore, keys};
use crate::table::Entity;

/// Bytes up to which something stands in its own row.
pub(super) const HERE: usize = 60 * 1024;
/// Bytes in one property of a row of parts, and properties in one row: what a row may have, less room for its keys.
const PROPERTY: usize = 60 * 1024;
const PROPERTIES: usize = 14;
/// Bytes in one row of parts.
const PART: usize = PROPERTY * PROPERTIES;

/// Bytes that stand in a property, or are named there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stored {
    Here(Bytes),
    Spilled(Spilled),
}

/// Bytes that stand in rows of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spilled {
    pub nonce: String,
    pub bytes: usize,
}

impl Stored {
    /// Leaves bytes where they are, or makes rows of them if there are too many.
    pub(super) fn place(bytes: Bytes, (pk, life): (&str, Incarnation), nonce: String, rows: &mut Vec<Entity>) -> Self {
        if bytes.len() <= HERE {
            return Self::Here(bytes);
        }
        for part in 0..bytes.len().div_ceil(PART) {
            let of_row = bytes.slice(part * PART..bytes.len().min((part + 1) * PART));
            let mut row = Entity::new(pk, keys::payload(life, &nonce, part));
            for (n, start) in (0..of_row.len()).step_by(PROPERTY).enumerate() {
                row.set(&property(n), of_row.slice(start..of_row.len().min(start + PROPERTY)));
            }
            rows.push(row);
        }
        Self::Spilled(Spilled { nonce, bytes: bytes.len() })
    }

    /// As it stands in a property: a byte that tells which it is, then the bytes, or their name.
    pub(super) fn property(&self) -> Vec<u8> {
        match self {
            Self::Here(bytes) => [&[0], &bytes[..]].concat(),
            Self::Spilled(spilled) => [&[1], spilled.name().as_bytes()].concat(),
        }
    }

    /// From a property. None if nothing is stored.
    pub(super) fn read(property: Option<&Bytes>) -> StoreResult<Option<Self>> {
        let Some(property) = property else { return Ok(None) };
        match property.split_first() {
            None => Ok(None),
            Some((0, _)) => Ok(Some(Self::Here(property.slice(1..)))),
            Some((1, name)) => {
                let spilled = std::str::from_utf8(name).ok().and_then(Spilled::read);
                spilled.map(|spilled| Some(Self::Spilled(spilled))).ok_or_else(|| StoreError::Damaged(format!("{name:?} names no rows")))
            }
            Some((kind, _)) => Err(StoreError::Damaged(format!("a property is of kind {kind}, which this build does not know"))),
        }
    }

    /// The rows, if there are any.
    pub(super) const fn spilled(&self) -> Option<&Spilled> {
        match self {
            Self::Here(_) => None,
            Self::Spilled(spilled) => Some(spilled),
        }
    }
}

impl Spilled {
    /// Names it.
    pub(super) fn name(&self) -> String {
        format!("{}:{}", self.nonce, self.bytes)
    }

    /// From its name.
    pub(super) fn read(name: &str) -> Option<Self> {
        let (nonce, bytes) = name.split_once(':')?;
        Some(Self { nonce: nonce.to_owned(), bytes: bytes.parse().ok()? })
    }

    /// Keys of its rows.
    pub(super) fn rows(&self, life: Incarnation) -> impl Iterator<Item = String> + '_ {
        (0..self.bytes.div_ceil(PART)).map(move |part| keys::payload(life, &self.nonce, part))
    }
}

fn property(n: usize) -> String {
    format!("y{n:02}")
}

/// Bytes that have been read from rows of their own, by their nonces.
#[derive(Debug, Default)]
pub(super) struct Fetched(HashMap<String, Bytes>);

impl Fetched {
    /// The bytes, wherever they stand. None if rows are gone: then what names them has changed since it was read.
    pub(super) fn bytes(&self, stored: &Stored) -> Option<Bytes> {
        match stored {
            Stored::Here(bytes) => Some(bytes.clone()),
            Stored::Spilled(spilled) => self.0.get(&spilled.nonce).cloned(),
        }
    }
}

impl TableStore {
    /// Reads what stands in rows of its own. What is not whole is left out.
    pub(super) async fn fetch(&self, operation: &'static str, pk: &str, life: Incarnation, wanted: Vec<&Spilled>) -> StoreResult<Fetched> {
        let one = |spilled: Spilled| async move {
            let prefix = keys::payload_prefix(life, &spilled.nonce);
            let rows = self.range(operation, pk, (&prefix, &keys::behind(&prefix)), None).await?;
            let mut all = Vec::with_capacity(spilled.bytes);
            for row in &rows {
                (0..PROPERTIES).map_while(|n| row.binary(&property(n))).for_each(|bytes| all.extend_from_slice(bytes));
            }
            StoreResult::Ok((all.len() == spilled.bytes).then(|| (spilled.nonce, Bytes::from(all))))
        };
        let mut fetched = Fetched::default();
        for some in wanted.chunks(super::AT_A_TIME) {
            let found = try_join_all(some.iter().map(|spilled| one((*spilled).clone()))).await?;
            fetched.0.extend(found.into_iter().flatten());
        }
        Ok(fetched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Change;

    #[test]
    fn what_stands_in_a_property_comes_back() {
        for stored in [Stored::Here(Bytes::new()), Stored::Here(vec![7; HERE].into()), Stored::Spilled(Spilled { nonce: nonce(), bytes: 99 })] {
            assert_eq!(Stored::read(Some(&stored.property().into())).unwrap(), Some(stored));
        }
        assert_eq!(Stored::read(None).unwrap(), None);
        assert_eq!(Stored::read(Some(&Bytes::new())).unwrap(), None);
        for bad in [&b"\x01x"[..], b"\x01x:y", b"\x02"] {
            assert!(Stored::read(Some(&Bytes::copy_from_slice(bad))).is_err());
        }
    }

    #[test]
    fn something_large_is_cut_into_rows_that_the_service_takes() {
        let bytes: Bytes = (0..PART * 2 + PROPERTY + 5).map(|n| n as u8).collect::<Vec<_>>().into();
        let (life, mut rows) = (Incarnation([1; 8]), Vec::new());
        let stored = Stored::place(bytes.clone(), ("p", life), "n".to_owned(), &mut rows);
        let Stored::Spilled(spilled) = stored else { panic!("it stands where it was") };
        assert_eq!(rows.iter().map(|row| row.row.clone()).collect::<Vec<_>>(), spilled.rows(life).collect::<Vec<_>>());
        let whole: Vec<u8> = rows.iter().flat_map(|row| (0..PROPERTIES).map_while(|n| row.binary(&property(n)))).flatten().copied().collect();
        assert!(whole == bytes);
        // Three of them go into one request.
        assert!(rows.iter().map(|row| Change::Insert(row.clone()).wire_bytes()).sum::<usize>() < 4 * 1024 * 1024);
    }
}

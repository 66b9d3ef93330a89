//! What is too large for the header's item stands in rows of its own, in parts; the item names them.
//!
//! Each attempt to write such rows uses a nonce of its own. So no two writers ever share a row, and whoever removes rows that nothing names
//! can take nothing from anybody.

use bytes::Bytes;
use durable::ids::Incarnation;
use durable::ports::{StoreError, StoreResult};
pub(super) use durable_host::stores::nonce;

use aws_sdk_dynamodb::types::AttributeValue;

use super::DynamoStore;
use super::attrs::{self, Attrs, binary, text, text_in};
use super::capacity::Operation;
use super::keys;

/// Bytes in one row: what a row may have (400 KB), less room for its keys.
pub(super) const PART: usize = 350 * 1024;

/// Bytes that stand in the item itself, or are named there.
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
    /// Leaves bytes where they are, or makes rows of them if there are more than `most`.
    pub(super) fn place(bytes: Bytes, most: usize, (pk, life): (&str, Incarnation), nonce: String, rows: &mut Vec<Attrs>) -> Self {
        if bytes.len() <= most {
            return Self::Here(bytes);
        }
        for (part, chunk) in bytes.chunks(PART).enumerate() {
            let mut row = attrs::key(pk, &keys::payload(life, &nonce, part));
            row.insert("y".to_owned(), binary(chunk));
            rows.push(row);
        }
        Self::Spilled(Spilled { nonce, bytes: bytes.len() })
    }

    /// As it stands in an item.
    pub(super) fn attribute(&self) -> AttributeValue {
        match self {
            Self::Here(bytes) => binary(bytes.to_vec()),
            Self::Spilled(spilled) => text(format!("{}:{}", spilled.nonce, spilled.bytes)),
        }
    }

    /// From an item.
    pub(super) fn read(attribute: AttributeValue) -> StoreResult<Self> {
        match attribute {
            AttributeValue::B(blob) => Ok(Self::Here(blob.into_inner().into())),
            AttributeValue::S(text) => {
                let named = text.split_once(':').and_then(|(nonce, bytes)| Some(Spilled { nonce: nonce.to_owned(), bytes: bytes.parse().ok()? }));
                named.map(Self::Spilled).ok_or_else(|| StoreError::Damaged(format!("{text:?} names no rows")))
            }
            other => Err(StoreError::Damaged(format!("{other:?} stands where bytes should"))),
        }
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Here(bytes) => bytes.len(),
            Self::Spilled(spilled) => spilled.bytes,
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
    /// Sort keys of its rows.
    pub(super) fn keys(&self, life: Incarnation) -> impl Iterator<Item = String> + '_ {
        (0..self.bytes.div_ceil(PART)).map(move |part| keys::payload(life, &self.nonce, part))
    }
}

/// Bytes that have been read from rows of their own, by their nonces.
#[derive(Debug, Default)]
pub(super) struct Fetched(std::collections::HashMap<String, Bytes>);

impl Fetched {
    /// The bytes, wherever they stand. None if rows are gone: then the item has changed since it was read.
    pub(super) fn bytes(&self, stored: &Stored) -> Option<Bytes> {
        match stored {
            Stored::Here(bytes) => Some(bytes.clone()),
            Stored::Spilled(spilled) => self.0.get(&spilled.nonce).cloned(),
        }
    }
}

impl DynamoStore {
    /// Reads what stands in rows of its own. What is not whole is left out.
    pub(super) async fn fetch(&self, operation: Operation, pk: &str, life: Incarnation, wanted: Vec<&Spilled>) -> StoreResult<Fetched> {
        if wanted.is_empty() {
            return Ok(Fetched::default());
        }
        let rows = wanted.iter().flat_map(|spilled| spilled.keys(life)).map(|sk| attrs::key(pk, &sk)).collect();
        let mut parts: std::collections::HashMap<String, Bytes> = std::collections::HashMap::new();
        for mut row in self.get_all(operation, rows, None).await? {
            let sk = text_in(&row, "sk").map(str::to_owned);
            if let (Some(sk), Some(bytes)) = (sk, attrs::take_binary(&mut row, "y")) {
                parts.insert(sk, bytes);
            }
        }
        let whole = wanted.into_iter().filter_map(|spilled| {
            let mut keys: Vec<String> = spilled.keys(life).collect();
            let bytes = match (keys.len(), keys.pop()) {
                (1, Some(only)) => parts.remove(&only)?,
                (_, last) => {
                    let mut all = Vec::with_capacity(spilled.bytes);
                    for key in keys.into_iter().chain(last) {
                        all.extend_from_slice(parts.get(&key)?);
                    }
                    all.into()
                }
            };
            (bytes.len() == spilled.bytes).then(|| (spilled.nonce.clone(), bytes))
        });
        Ok(Fetched(whole.collect()))
    }
}

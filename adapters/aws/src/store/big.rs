//! The events of one big commit: rows that are written before it and named by it. Each names the big commit before, so that the header needs
//! to name the last one only.

use durable::ids::Incarnation;
use durable::ports::{StoreError, StoreResult};

use super::attrs::{self, Attrs, binary, text};
use super::keys;
use super::spill::PART;

/// Names the rows of one big commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Big {
    pub from: u64,
    pub to: u64,
    pub nonce: String,
}

impl Big {
    /// From an item.
    pub(super) fn read(text: &str) -> StoreResult<Self> {
        let read = || {
            let (range, nonce) = text.split_once('#')?;
            let (from, to) = range.split_once('-')?;
            Some(Self { from: u64::from_str_radix(from, 16).ok()?, to: u64::from_str_radix(to, 16).ok()?, nonce: nonce.to_owned() })
        };
        read().ok_or_else(|| StoreError::Damaged(format!("{text:?} names no events")))
    }

    /// As it stands in an item, and in the keys of its rows.
    pub(super) fn text(&self) -> String {
        format!("{:010x}-{:010x}#{}", self.from, self.to, self.nonce)
    }

    /// The beginning of the keys of its rows.
    pub(super) fn prefix(&self, life: Incarnation, execution: u32) -> String {
        format!("{}{}#", keys::big_prefix(life, execution), self.text())
    }

    /// Its rows. `before` is the big commit before this one.
    pub(super) fn rows(&self, pk: &str, (life, execution): (Incarnation, u32), events: &[u8], before: Option<&Self>) -> Vec<Attrs> {
        let row = |(part, bytes): (usize, &[u8])| {
            let mut row = attrs::key(pk, &format!("{}{part:04x}", self.prefix(life, execution)));
            row.insert("y".to_owned(), binary(bytes));
            if let (0, Some(before)) = (part, before) {
                row.insert("k".to_owned(), text(before.text()));
            }
            row
        };
        events.chunks(PART).enumerate().map(row).collect()
    }
}

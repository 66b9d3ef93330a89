//! The highest number of each sender whose messages an instance has taken: in the header's row for the first few, in rows for the others.
//!
//! Numbers are noted by the commit that takes the messages; of those that wait, their own rows tell. All of these rows are written by commits
//! only, which the header's tag guards. The map in the header never shrinks within a life: once it is full, whoever is not in it has a place in
//! one of the rows, for ever.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use durable::ids::Incarnation;
use durable::message::Sender;
use durable::ports::{StoreError, StoreResult};

use super::{TableStore, keys};
use crate::table::{Change, Entity};

/// Senders in the header's row, at most.
const IN_THE_HEADER: usize = 64;
/// Bytes of one entry: a name and a number.
const ENTRY: usize = NAME + 8;
const NAME: usize = 16;
/// Bytes in one property of a row, and properties in one row.
const PROPERTY: usize = ENTRY * 2500;
const PROPERTIES: usize = 14;

/// Names and numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Senders(BTreeMap<String, u64>);

impl Senders {
    /// From a property.
    pub(super) fn read(property: Option<&Bytes>) -> Self {
        let mut found = Self::default();
        property.into_iter().for_each(|bytes| found.add(bytes));
        found
    }

    fn add(&mut self, bytes: &[u8]) {
        let entry = |bytes: &[u8]| {
            let (name, number) = bytes.split_at_checked(NAME)?;
            Some((std::str::from_utf8(name).ok()?.to_owned(), u64::from_be_bytes(number.try_into().ok()?)))
        };
        self.0.extend(bytes.chunks(ENTRY).filter_map(entry));
    }

    /// As it stands in a property.
    pub(super) fn property(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(name, number)| [name.as_bytes(), &number.to_be_bytes()].concat()).collect()
    }

    /// The highest number of a sender.
    pub(super) fn of(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// True if a sender that is not in it may have a place in a row.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= IN_THE_HEADER
    }

    fn raise(&mut self, name: &str, number: u64) {
        let highest = self.0.entry(name.to_owned()).or_default();
        *highest = number.max(*highest);
    }

    /// Notes numbers, as far as there is room. Gives back those that must go into rows.
    pub(super) fn note<'a>(&mut self, senders: impl Iterator<Item = &'a Sender>) -> Vec<(String, u64)> {
        let mut highest: BTreeMap<String, u64> = BTreeMap::new();
        for sender in senders {
            let number = highest.entry(keys::sender_name(sender)).or_default();
            *number = sender.number.max(*number);
        }
        let mut others = Vec::new();
        for (name, number) in highest {
            if self.0.contains_key(&name) || !self.is_full() {
                self.raise(&name, number);
            } else {
                others.push((name, number));
            }
        }
        others
    }

    fn row(&self, pk: &str, key: String) -> StoreResult<Entity> {
        let bytes = self.property();
        if bytes.len() > PROPERTY * PROPERTIES {
            return Err(StoreError::TooLarge { what: format!("the list of senders in row {key}"), bytes: bytes.len(), max: PROPERTY * PROPERTIES });
        }
        let mut row = Entity::new(pk, key);
        for (n, some) in bytes.chunks(PROPERTY).enumerate() {
            row.set(&property(n), some.to_vec());
        }
        Ok(row)
    }
}

fn property(n: usize) -> String {
    format!("m{n:02}")
}

impl TableStore {
    async fn senders_in(&self, operation: &'static str, pk: &str, row: &str) -> StoreResult<Senders> {
        let mut found = Senders::default();
        if let Some(row) = self.get(operation, pk, row, None).await? {
            (0..PROPERTIES).map_while(|n| row.binary(&property(n))).for_each(|bytes| found.add(bytes));
        }
        Ok(found)
    }

    /// The highest number of a sender that has no place in the header.
    pub(super) async fn number_in_a_row(&self, operation: &'static str, pk: &str, life: Incarnation, name: &str) -> StoreResult<Option<u64>> {
        Ok(self.senders_in(operation, pk, &keys::senders(life, name)).await?.of(name))
    }

    /// Rows in which these numbers are noted, as changes for the commit that takes the messages.
    pub(super) async fn note_in_rows(&self, operation: &'static str, pk: &str, life: Incarnation, others: Vec<(String, u64)>) -> StoreResult<Vec<Change>> {
        let mut rows: HashMap<String, Senders> = HashMap::new();
        for (name, number) in others {
            let key = keys::senders(life, &name);
            if !rows.contains_key(&key) {
                let there = self.senders_in(operation, pk, &key).await?;
                rows.insert(key.clone(), there);
            }
            rows.entry(key).or_default().raise(&name, number);
        }
        rows.into_iter().map(|(key, senders)| senders.row(pk, key).map(Change::Put)).collect()
    }
}

#[cfg(test)]
mod tests {
    use durable::ids::InstanceId;

    use super::*;

    fn sender(name: usize, number: u64) -> Sender {
        Sender { instance: InstanceId::new(format!("s{name}")).unwrap(), life: Incarnation([1; 8]), number }
    }

    #[test]
    fn numbers_only_grow_and_come_back() {
        let mut senders = Senders::default();
        assert_eq!(senders.note([sender(1, 5), sender(1, 3), sender(2, 1)].iter()), []);
        senders.note([sender(1, 4), sender(2, 2)].iter());
        let read = Senders::read(Some(&senders.property().into()));
        assert_eq!(read, senders);
        assert_eq!([1, 2, 3].map(|n| read.of(&keys::sender_name(&sender(n, 0)))), [Some(5), Some(2), None]);
    }

    #[test]
    fn those_without_room_are_told() {
        let mut senders = Senders::default();
        let all: Vec<Sender> = (0..IN_THE_HEADER + 3).map(|n| sender(n, 7)).collect();
        assert_eq!(senders.note(all.iter()).len(), 3);
        assert!(senders.is_full());
        // Who has a place keeps it, whoever else comes.
        let again: Vec<Sender> = (0..IN_THE_HEADER + 3).map(|n| sender(n, 8)).collect();
        assert_eq!(senders.note(again.iter()).len(), 3);
        assert_eq!(senders.0.values().filter(|n| **n == 8).count(), IN_THE_HEADER);
    }
}

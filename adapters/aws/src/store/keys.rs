//! Where things stand in the table: partition keys with the hub in them, and sort keys with the life in them.
//!
//! | sort key | what |
//! | --- | --- |
//! | `0` | the header, with the tail of the history and the inbox |
//! | `2#life#execution#to-from` | a sealed chunk of the history: events `from..to`. `to` stands first, so that one range of keys holds all that lies behind an event |
//! | `3#life#execution#from-to#nonce#part` | the events of one big commit |
//! | `4#life#nonce#part` | a payload, message or header that is too large for the header's item |
//! | `5#life#sender` | the highest number of a sender for which the header has no room |
//! | `6#life#execution#epoch#sequence#attempt` | who runs an attempt of an activity (expires) |
//! | `7#life#message` | the id of a keyed message (expires) |
//!
//! Must never: let two hubs, two instances or two lives share a key.

use durable::Timestamp;
use durable::ids::{EffectId, Incarnation, InstanceId, MessageId};
use durable_host::stores::digest;
pub(super) use durable_host::stores::{sender_name, sortable as time};

/// Sort key of the build that was noted last, among the rows that name builds.
pub(super) const LATEST: &str = "latest";
/// Sort key of the header.
pub(super) const HEADER: &str = "0";
/// Every sort key of a header, and of the history, is below this.
pub(super) const END_OF_HISTORY: &str = "4";
/// Every sort key that has a life in it is at or above this.
pub(super) const BELOW_HEADER: &str = "2";

/// Longest partition key that is written out; a longer one ends in a digest, so that an entry of the index of all instances stays below 1 KB.
const PLAIN_KEY_BYTES: usize = 512;
/// How much of a long id stands in its key, for people.
const READABLE_BYTES: usize = 256;
/// How much of an id stands in its place in the order of creation.
const ORDERED_BYTES: usize = 64;
/// Parts of the index of all instances: more of them allow more starts a second, and make a page of a listing dearer. Part of the layout.
pub(super) const SHARDS: u8 = 4;

/// A name that no task hub can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be the name of a task hub: it has 1 to 64 characters, ASCII letters, digits, '-', '_' and '.'")]
pub struct BadHub(String);

/// A task hub: what one table is shared by.
#[derive(Debug, Clone)]
pub(super) struct Hub(String);

impl Hub {
    pub(super) fn new(name: &str) -> Result<Self, BadHub> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            return Err(BadHub(name.to_owned()));
        }
        Ok(Self(name.to_owned()))
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// Partition key of all rows of an instance. No id holds a `#`, so a shortened one meets no other.
    pub(super) fn of(&self, id: &InstanceId) -> String {
        let plain = format!("{}|{id}", self.0);
        if plain.len() <= PLAIN_KEY_BYTES {
            return plain;
        }
        format!("{}|{}#{}", self.0, beginning(id.as_str(), READABLE_BYTES), digest(id.as_str().as_bytes(), 32))
    }

    /// The instance of a partition key; `written` is the id that stands in the item if the key holds a digest. None if it is of another hub,
    /// or of no instance.
    pub(super) fn instance(&self, pk: &str, written: Option<&str>) -> Option<InstanceId> {
        let rest = pk.strip_prefix(&self.0)?.strip_prefix('|')?;
        if !rest.contains('#') {
            return InstanceId::new(rest).ok();
        }
        let id = InstanceId::new(written?).ok()?;
        (self.of(&id) == pk).then_some(id)
    }

    /// Partition of the rows that name faulted instances.
    pub(super) fn faults(&self) -> String {
        format!("{}|#faults", self.0)
    }

    /// Partition of the rows that name builds.
    pub(super) fn builds(&self) -> String {
        format!("{}|#builds", self.0)
    }

    /// A part of the index of all instances.
    pub(super) fn shard(&self, number: u8) -> String {
        format!("{}|{number}", self.0)
    }

    /// The part of the index that an instance stands in.
    pub(super) fn shard_of(&self, id: &InstanceId) -> String {
        self.shard((xxhash_rust::xxh3::xxh3_64(id.as_str().as_bytes()) % u64::from(SHARDS)) as u8)
    }
}

/// The place of a life in the order of creation. Never the same for two ids; ids created in the same microsecond stand in their own order.
pub(super) fn position(created: Timestamp, id: &InstanceId) -> String {
    let text = id.as_str();
    let time = time(created);
    if text.len() <= ORDERED_BYTES {
        return format!("{time}|{text}");
    }
    format!("{time}|{}#{}", beginning(text, ORDERED_BYTES), digest(text.as_bytes(), 12))
}

/// The first place that can stand behind this one: no id holds anything below a space.
pub(super) fn behind(position: &str) -> String {
    format!("{position} ")
}

/// A place behind all others.
pub(super) const LAST_POSITION: &str = "g";

/// A chunk of events that had been committed before.
pub(super) fn sealed(life: Incarnation, execution: u32, from: u64, to: u64) -> String {
    format!("{}{to:010x}-{from:010x}", sealed_prefix(life, execution))
}

/// The lowest key of a chunk with events behind the first `known`.
pub(super) fn sealed_behind(life: Incarnation, execution: u32, known: u64) -> String {
    format!("{}{:010x}", sealed_prefix(life, execution), known.saturating_add(1))
}

/// Behind all chunks of an execution.
pub(super) fn sealed_end(life: Incarnation, execution: u32) -> String {
    format!("{}~", sealed_prefix(life, execution))
}

/// The beginning of the keys of sealed chunks.
pub(super) fn sealed_prefix(life: Incarnation, execution: u32) -> String {
    format!("2#{life}#{execution:08x}#")
}

/// The range of events of a sealed chunk.
pub(super) fn sealed_range(sk: &str) -> Option<(u64, u64)> {
    let (to, from) = sk.rsplit_once('#')?.1.split_once('-')?;
    Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
}

/// The beginning of the keys of big commits.
pub(super) fn big_prefix(life: Incarnation, execution: u32) -> String {
    format!("3#{life}#{execution:08x}#")
}

/// The beginning of the keys of a payload's parts.
pub(super) fn payload(life: Incarnation, nonce: &str, part: usize) -> String {
    format!("4#{life}#{nonce}#{part:04x}")
}

/// The number of a sender.
pub(super) fn sender(life: Incarnation, name: &str) -> String {
    format!("5#{life}#{name}")
}

/// The run of an attempt.
pub(super) fn run(effect: &EffectId, attempt: u32) -> String {
    format!("6#{}#{:08x}#{:08x}#{:08x}#{attempt:08x}", effect.incarnation, effect.execution, effect.epoch, effect.sequence)
}

/// The id of a keyed message.
pub(super) fn keyed(life: Incarnation, message: &MessageId) -> String {
    format!("7#{life}#{message}")
}

/// True if a row belongs to this life.
pub(super) fn is_of(sk: &str, life: Incarnation) -> bool {
    sk.split('#').nth(1).is_some_and(|found| found == life.to_string())
}

/// The first bytes of a text, without cutting a character in two.
fn beginning(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> InstanceId {
        InstanceId::new(text).unwrap()
    }

    #[test]
    fn every_id_has_a_key_of_its_own_and_is_found_in_it() {
        let hub = Hub::new("h").unwrap();
        let long = "🦀".repeat(256);
        let other = format!("{}🐙", "🦀".repeat(255));
        for text in ["a", "a|b", "é", " ", &long, &other] {
            let key = hub.of(&id(text));
            assert!(key.len() <= PLAIN_KEY_BYTES, "{text}");
            assert_eq!(hub.instance(&key, Some(text)), Some(id(text)));
        }
        assert_ne!(hub.of(&id(&long)), hub.of(&id(&other)));
        assert_eq!(hub.instance(&hub.of(&id(&long)), Some(&other)), None);
        assert_eq!(hub.instance("h2|a", None), None);
        assert_eq!(hub.instance(&hub.faults(), None), None);
        assert!(Hub::new("a|b").is_err() && Hub::new("").is_err());
    }

    #[test]
    fn places_stand_in_the_order_of_creation() {
        let places: Vec<String> = [(-5, "z"), (0, "b"), (1, "a"), (1, "a "), (1, "ab"), (1, "b")].map(|(t, i)| position(Timestamp(t), &id(i))).into();
        assert!(places.is_sorted(), "{places:?}");
        assert!(behind(&places[2]) <= places[3] && behind(&places[2]) > places[2]);
        assert!(places.iter().all(|p| p.as_str() < LAST_POSITION));
        assert!(position(Timestamp(1), &id("b")) < time(Timestamp(2)));
    }

    #[test]
    fn chunks_behind_an_event_are_one_range_of_keys() {
        let life = Incarnation([1; 8]);
        let chunk = |from, to| sealed(life, 3, from, to);
        assert!(chunk(0, 10) < sealed_behind(life, 3, 10) && chunk(5, 11) > sealed_behind(life, 3, 10));
        assert!(chunk(5, 1 << 36) < sealed_end(life, 3));
        assert_eq!(sealed_range(&chunk(5, 300)), Some((5, 300)));
        assert!(is_of(&chunk(0, 1), life) && !is_of(&chunk(0, 1), Incarnation([2; 8])) && !is_of(HEADER, life));
    }
}

//! Where things stand: a table for each task hub, a partition for each instance, and row keys with the life in them.
//!
//! | row key | what |
//! | --- | --- |
//! | `h` | the header, with the tail of the history |
//! | `i-life-revision` | the gate: there while the instance is live, replaced by every commit |
//! | `m-life-message` | a message that nobody has taken |
//! | `n-life-execution-to-from` | a chunk of the history: events `from..to`. `to` stands first, so that one range of keys holds all that lies behind an event |
//! | `p-life-nonce-part` | a payload, message, header or chunk that is too large for its own row |
//! | `s-life-part` | the highest numbers of senders for which the header has no room |
//! | `t-life-message` | the id of a keyed message |
//! | `u-life-execution-epoch-sequence-attempt` | who runs an attempt of an activity |
//!
//! What one query for an instance must show lies between `h` and `n`, and nothing else does. Other partitions begin with `~~`: the index of
//! all instances in order of creation, of faulted instances, of builds.
//!
//! Must never: let two hubs, two instances or two lives share a key, or let a character into a key that the service does not take.

use std::fmt::Write;

use durable::Timestamp;
use durable::ids::{EffectId, Incarnation, InstanceId, MessageId};
use durable_host::stores::digest;
pub(super) use durable_host::stores::{sender_name, sortable as time};

/// Row key of the header.
pub(super) const HEADER: &str = "h";
/// Behind all that one query shows.
pub(super) const END_OF_INBOX: &str = "n";
/// Every row key with a life in it is at or above this…
pub(super) const BELOW_HEADER: &str = "i";
/// … and below this.
pub(super) const END: &str = "v";

/// Longest partition key that is written out.
const PLAIN_CHARS: usize = 200;
/// Digits of a time that name its part of the index: 2^40 microseconds, about thirteen days.
const PART_OF_INDEX: usize = 6;
/// How names of tables begin: with the hub in them, and with a digest of the hub.
const PLAIN_TABLE: &str = "DurableHub";
const DIGEST_TABLE: &str = "DurableHash";
/// Longest name of a table.
const TABLE_CHARS: usize = 63;

/// A name that no task hub can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be the name of a task hub: it has 1 to 64 characters, ASCII letters, digits, '-', '_' and '.'")]
pub struct BadHub(pub(super) String);

/// The table of a task hub. Names of tables are the same in upper and lower case, and hold letters and digits only; so a hub that is more than
/// that has a digest in the name of its table.
pub(super) fn table(hub: &str) -> Result<String, BadHub> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if hub.is_empty() || hub.len() > 64 || !hub.chars().all(allowed) {
        return Err(BadHub(hub.to_owned()));
    }
    let plain = hub.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if plain && PLAIN_TABLE.len() + hub.len() <= TABLE_CHARS {
        return Ok(format!("{PLAIN_TABLE}{hub}"));
    }
    let readable: String = hub.chars().filter(char::is_ascii_alphanumeric).collect();
    let name = format!("{DIGEST_TABLE}{}{readable}", digest(hub.as_bytes(), 16));
    Ok(name.chars().take(TABLE_CHARS).collect())
}

/// Text without any character that a key may not hold; different texts stay different.
fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, b| {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.') {
            out.push(char::from(b));
        } else {
            // Writing to a String never fails.
            let _ = write!(out, "~{b:02x}");
        }
        out
    })
}

/// Partition key of all rows of an instance. Only a shortened one holds `~~`, and never at its beginning.
pub(crate) fn partition(id: &InstanceId) -> String {
    let plain = encode(id.as_str());
    if plain.len() <= PLAIN_CHARS {
        return plain;
    }
    format!("{}~~{}", &plain[..PLAIN_CHARS], digest(id.as_str().as_bytes(), 32))
}

/// Partition of the rows that name faulted instances.
pub(super) const FAULTS: &str = "~~faults";
/// Partition of the rows that name builds.
pub(super) const BUILDS: &str = "~~builds";
/// Row key of the build that was noted last.
pub(super) const LATEST: &str = "latest";
/// Beginning of the partitions of the index.
const INDEX: &str = "~~list-";

/// The place of a life in the order of creation. Never the same for two ids or two lives: whoever takes a life out late harms no other.
pub(super) fn position(created: Timestamp, id: &InstanceId, life: Incarnation) -> String {
    format!("{}-{}-{life}", time(created), partition(id))
}

/// A place behind all others.
pub(super) const LAST_POSITION: &str = "g";

/// The part of the index that a place is in. Parts stand in the order of their places.
pub(super) fn part_of_index(position: &str) -> String {
    format!("{INDEX}{}", position.get(..PART_OF_INDEX).unwrap_or(position))
}

/// The gate of a live instance.
pub(super) fn gate(life: Incarnation, revision: u64) -> String {
    format!("{}{revision:016x}", gate_prefix(life))
}

/// The beginning of the keys of gates.
pub(super) fn gate_prefix(life: Incarnation) -> String {
    format!("i-{life}-")
}

/// A message that waits.
pub(super) fn message(life: Incarnation, id: &MessageId) -> String {
    format!("{}{id}", message_prefix(life))
}

/// The beginning of the keys of messages.
pub(super) fn message_prefix(life: Incarnation) -> String {
    format!("m-{life}-")
}

/// A chunk of the history.
pub(super) fn chunk(life: Incarnation, execution: u32, from: u64, to: u64) -> String {
    format!("{}{to:010x}-{from:010x}", chunk_prefix(life, execution))
}

/// The lowest key of a chunk with events behind the first `known`.
pub(super) fn chunk_behind(life: Incarnation, execution: u32, known: u64) -> String {
    format!("{}{:010x}", chunk_prefix(life, execution), known.saturating_add(1))
}

/// The beginning of the keys of chunks of an execution.
pub(super) fn chunk_prefix(life: Incarnation, execution: u32) -> String {
    format!("n-{life}-{execution:08x}-")
}

/// The range of events of a chunk.
pub(super) fn chunk_range(row: &str) -> Option<(u64, u64)> {
    let mut parts = row.rsplit('-');
    let (from, to) = (parts.next()?, parts.next()?);
    Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
}

/// A part of something large.
pub(super) fn payload(life: Incarnation, nonce: &str, part: usize) -> String {
    format!("{}{part:04x}", payload_prefix(life, nonce))
}

/// The beginning of the keys of something large.
pub(super) fn payload_prefix(life: Incarnation, nonce: &str) -> String {
    format!("p-{life}-{nonce}-")
}

/// The row that a sender's number is in if the header has no room: one of sixteen, so that a commit changes few of them.
pub(super) fn senders(life: Incarnation, name: &str) -> String {
    format!("s-{life}-{:x}", name.bytes().next().unwrap_or(0) % 16)
}

/// The id of a keyed message.
pub(super) fn keyed(life: Incarnation, id: &MessageId) -> String {
    format!("t-{life}-{id}")
}

/// The run of an attempt.
pub(super) fn run(effect: &EffectId, attempt: u32) -> String {
    format!("u-{}-{:08x}-{:08x}-{:08x}-{attempt:08x}", effect.incarnation, effect.execution, effect.epoch, effect.sequence)
}

/// True if a row belongs to this life.
pub(super) fn is_of(row: &str, life: Incarnation) -> bool {
    row.split('-').nth(1).is_some_and(|found| found == life.to_string())
}

/// Behind every key that begins so.
pub(super) fn behind(prefix: &str) -> String {
    format!("{prefix}~")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn id(text: &str) -> InstanceId {
        InstanceId::new(text).unwrap()
    }

    fn fits(key: &str) -> bool {
        key.len() <= 512 && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~'))
    }

    /// Reads a key back that is not shortened.
    fn decode(key: &str) -> String {
        let mut parts = key.split('~');
        let mut bytes = parts.next().unwrap().as_bytes().to_vec();
        for part in parts {
            bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
            bytes.extend_from_slice(&part.as_bytes()[2..]);
        }
        String::from_utf8(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn every_id_has_a_key_of_its_own(ids in proptest::collection::vec("[^/\\\\?#@\\p{Cc}]{1,256}", 2..6)) {
            let mut owners = HashMap::new();
            for text in ids {
                let key = partition(&id(&text));
                prop_assert!(fits(&key) && !key.starts_with("~~"), "{key}");
                prop_assert!(fits(&position(Timestamp(1), &id(&text), Incarnation([1; 8]))));
                if !key.contains("~~") {
                    prop_assert_eq!(&decode(&key), &text);
                }
                let owner = owners.entry(key).or_insert_with(|| text.clone());
                prop_assert_eq!(&*owner, &text);
            }
        }

        #[test]
        fn every_hub_has_a_table_of_its_own(a in "[A-Za-z0-9._-]{1,64}", b in "[A-Za-z0-9._-]{1,64}") {
            let (of_a, of_b) = (table(&a).unwrap(), table(&b).unwrap());
            prop_assert!((3..=63).contains(&of_a.len()) && of_a.bytes().all(|b| b.is_ascii_alphanumeric()));
            prop_assert_eq!(a == b, of_a.eq_ignore_ascii_case(&of_b));
            // Names of tables do not tell upper from lower case.
            let lower = a.to_ascii_lowercase();
            prop_assert_eq!(a == lower, of_a.eq_ignore_ascii_case(&table(&lower).unwrap()));
        }
    }

    #[test]
    fn long_ids_that_begin_alike_keep_apart() {
        let (one, two) = (format!("{}a", "x".repeat(255)), format!("{}b", "x".repeat(255)));
        assert_ne!(partition(&id(&one)), partition(&id(&two)));
        assert_ne!(partition(&id("~~a")), "~~a");
        assert_eq!(partition(&id("order-1_a.b")), "order-1_a.b");
        assert_eq!(partition(&id("a b~ü")), "a~20b~7e~c3~bc");
    }

    #[test]
    fn a_hub_is_read_in_the_name_of_its_table() {
        assert_eq!(table("orders2"), Ok("DurableHuborders2".to_owned()));
        assert!(table("My-Hub").unwrap().ends_with("MyHub"));
        for bad in ["", "a|b", "ü", &"h".repeat(65)] {
            assert_eq!(table(bad), Err(BadHub(bad.to_owned())));
        }
    }

    #[test]
    fn places_stand_in_the_order_of_creation_also_across_parts() {
        let places: Vec<String> = [(i64::MIN, "z"), (-5, "z"), (0, "b"), (1, "a"), (1, "ab"), (1, "b"), (1 << 41, "a"), (1 << 50, "a")]
            .map(|(t, i)| position(Timestamp(t), &id(i), Incarnation([7; 8])))
            .into();
        let keys: Vec<(String, &String)> = places.iter().map(|place| (part_of_index(place), place)).collect();
        assert!(places.is_sorted() && keys.is_sorted(), "{keys:?}");
        assert!(places.iter().all(|place| place.as_str() < LAST_POSITION) && keys.iter().all(|(part, _)| *part < part_of_index(LAST_POSITION)));
        assert!(position(Timestamp(1), &id("b"), Incarnation([7; 8])) < time(Timestamp(2)));
    }

    #[test]
    fn one_query_shows_header_gate_and_messages_and_nothing_else() {
        let (life, other) = (Incarnation([1; 8]), Incarnation([2; 8]));
        let shown = |row: &str| (HEADER..END_OF_INBOX).contains(&row);
        let message_id = MessageId([7; 16]);
        assert!(shown(HEADER) && shown(&gate(life, 5)) && shown(&message(life, &message_id)));
        let effect = EffectId { instance: id("a"), incarnation: life, execution: 1, epoch: 2, sequence: 3 };
        let below = [chunk(life, 0, 0, 9), payload(life, "n", 0), senders(life, "-x"), keyed(life, &message_id), run(&effect, 1)];
        for row in below.iter().chain([&gate(life, 5), &message(life, &message_id)]) {
            assert!(is_of(row, life) && !is_of(row, other) && (BELOW_HEADER..END).contains(&row.as_str()) && fits(row), "{row}");
        }
        assert!(below.iter().all(|row| !shown(row)) && !is_of(HEADER, life));
    }

    #[test]
    fn chunks_behind_an_event_are_one_range_of_keys() {
        let life = Incarnation([1; 8]);
        let piece = |from, to| chunk(life, 3, from, to);
        assert!(piece(0, 10) < chunk_behind(life, 3, 10) && piece(5, 11) > chunk_behind(life, 3, 10));
        assert!(piece(5, 1 << 36) < behind(&chunk_prefix(life, 3)));
        assert_eq!(chunk_range(&piece(5, 300)), Some((5, 300)));
    }
}

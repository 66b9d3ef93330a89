//! The header's row: the one that every turn writes, and no delivery.
//!
//! | property | what |
//! | --- | --- |
//! | `l`, `r` | life and revision |
//! | `h`, `g` | the core's header without its ring, and the ring |
//! | `t`, `o`, `p` | true if it has ended, owes messages to others, is being purged |
//! | `y`, `z` | the last events; how many stand in chunks |
//! | `m` | the highest number of each sender, for the first few |
//! | `a`, `u`, `f` | input, output, custom status |
//! | `c`, `n` | its place in the index of all instances; its id |
//! | `d` | former lives whose rows may not be removed yet |
//! | `v` | the layout |

use bytes::Bytes;
use durable::codec::FormatError;
use durable::header::Header;
use durable::ids::{Incarnation, MessageId};
use durable::ports::{StoreError, StoreResult};
use durable_host::stores::Holder;

use super::keys;
use super::senders::Senders;
use super::stored::{Fetched, Spilled, Stored};
use crate::table::Entity;

/// The layout that this build writes, and the newest that it reads.
const LAYOUT: i64 = 1;
/// Bytes of one entry of the ring.
const RING_ENTRY: usize = 24;

/// What people see of an instance, and what tells whether there is something to do: not its history and senders.
pub(super) const SHOWN: &str = "PartitionKey,RowKey,v,l,r,h,g,t,o,p,z,a,u,f,c,n,d";
/// What a delivery must know: of the header no history and no payloads, of messages not what they say.
pub(super) const FOR_DELIVERY: &str = "PartitionKey,RowKey,v,l,r,g,t,o,p,m,c,n,d,s,b,e,k";
/// What tells whether something is to be done: no history, no payloads, and of messages that they are there.
pub(super) const FOR_A_LOOK: &str = "PartitionKey,RowKey,v,l,r,h,g,t,o,p,c,n,d";

/// The header's row, read.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub tag: String,
    pub incarnation: Incarnation,
    pub revision: u64,
    /// The core's header; none if it was not asked for.
    pub header: Option<Stored>,
    pub ring: Vec<(MessageId, u64)>,
    pub ended: bool,
    pub owes: bool,
    pub purging: bool,
    pub tail: Bytes,
    /// So many events stand in chunks.
    pub sealed: u64,
    pub senders: Senders,
    pub input: Option<Stored>,
    pub output: Option<Stored>,
    pub custom_status: Option<Stored>,
    pub dead: Vec<Incarnation>,
    pub position: String,
    pub id: String,
}

impl Item {
    /// Reads a row.
    pub(super) fn read(row: &Entity) -> StoreResult<Self> {
        let layout = row.number("v").unwrap_or(0);
        if layout > LAYOUT {
            return Err(FormatError::Newer { what: "row of an instance", found: u8::try_from(layout).unwrap_or(u8::MAX) }.into());
        }
        let damaged = |what: &str| StoreError::Damaged(format!("row {} of partition {} has no {what}", row.row, row.partition));
        let ring = row.binary("g").map(|ring| ring.chunks(RING_ENTRY).map(ring_entry).collect::<Option<Vec<_>>>()).unwrap_or_else(|| Some(Vec::new()));
        Ok(Self {
            tag: row.tag.clone(),
            incarnation: row.binary("l").and_then(|bytes| life(bytes)).ok_or_else(|| damaged("life"))?,
            revision: number(row, "r").ok_or_else(|| damaged("revision"))?,
            header: Stored::read(row.binary("h"))?,
            ring: ring.ok_or_else(|| damaged("ring that can be read"))?,
            ended: row.flag("t"),
            owes: row.flag("o"),
            purging: row.flag("p"),
            tail: row.binary("y").cloned().unwrap_or_default(),
            sealed: number(row, "z").unwrap_or(0),
            senders: Senders::read(row.binary("m")),
            input: Stored::read(row.binary("a"))?,
            output: Stored::read(row.binary("u"))?,
            custom_status: Stored::read(row.binary("f"))?,
            dead: row.binary("d").map(|all| all.chunks(8).filter_map(life).collect()).unwrap_or_default(),
            position: row.text("c").unwrap_or_default().to_owned(),
            id: row.text("n").unwrap_or_default().to_owned(),
        })
    }

    /// The whole row. Every property is there, so that a merge takes away what is not any more.
    pub(super) fn row(&self, pk: &str) -> Entity {
        let stored = |stored: &Option<Stored>| stored.as_ref().map(Stored::property).unwrap_or_default();
        let ring: Vec<u8> = self.ring.iter().flat_map(|(id, revision)| [&id.0[..], &revision.to_be_bytes()].concat()).collect();
        Entity::new(pk, keys::HEADER)
            .with("v", LAYOUT)
            .with("l", self.incarnation.0.to_vec())
            .with("r", self.revision)
            .with("h", stored(&self.header))
            .with("g", ring)
            .with("t", self.ended)
            .with("o", self.owes)
            .with("p", self.purging)
            .with("y", self.tail.clone())
            .with("z", self.sealed)
            .with("m", self.senders.property())
            .with("a", stored(&self.input))
            .with("u", stored(&self.output))
            .with("f", stored(&self.custom_status))
            .with("c", self.position.as_str())
            .with("n", self.id.as_str())
            .with("d", self.dead.iter().flat_map(|life| life.0).collect::<Vec<_>>())
    }

    /// What a merge into the row of `before` must set.
    pub(super) fn since(&self, before: &Self, pk: &str) -> Entity {
        let (before, now) = (before.row(pk), self.row(pk));
        let mut change = Entity::new(pk, keys::HEADER);
        let old: std::collections::HashMap<_, _> = before.values().collect();
        for (name, value) in now.values().filter(|(name, value)| old.get(name) != Some(value)) {
            change.set(name, value.clone());
        }
        change
    }

    /// Rows with its header and payloads.
    pub(super) fn spilled(&self) -> Vec<&Spilled> {
        let all = [&self.header, &self.input, &self.output, &self.custom_status];
        all.into_iter().flatten().filter_map(Stored::spilled).collect()
    }

    /// As the holder of its id.
    pub(super) const fn holder(&self) -> Holder {
        Holder { incarnation: self.incarnation, ended: self.ended, owes: self.owes, purging: self.purging }
    }

    /// The core's header, wherever it stands. None if the row has changed since it was read.
    pub(super) fn header_from(&self, fetched: &Fetched) -> StoreResult<Option<Header>> {
        let Some(stored) = &self.header else { return Err(StoreError::Damaged(format!("instance `{}` has no header", self.id))) };
        let read = |bytes: Bytes| Ok(Header { ring: self.ring.clone(), ..Header::from_bytes(&bytes)? });
        fetched.bytes(stored).map(read).transpose()
    }
}

/// The core's header as it stands in the row: the ring stands beside it.
pub(super) fn header(header: &Header) -> Bytes {
    Header { ring: Vec::new(), ..header.clone() }.to_bytes()
}

/// A property that is a number and not negative.
pub(super) fn number(row: &Entity, name: &str) -> Option<u64> {
    row.number(name).and_then(|number| u64::try_from(number).ok())
}

fn life(bytes: &[u8]) -> Option<Incarnation> {
    bytes.try_into().ok().map(Incarnation)
}

fn ring_entry(bytes: &[u8]) -> Option<(MessageId, u64)> {
    let (id, revision) = bytes.split_at_checked(16)?;
    Some((MessageId(id.try_into().ok()?), u64::from_be_bytes(revision.try_into().ok()?)))
}

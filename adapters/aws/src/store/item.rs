//! The header's item: the one that every turn and every delivery writes.
//!
//! | attribute | what |
//! | --- | --- |
//! | `i`, `r` | life and revision: what conditions compare |
//! | `h` | the core's header without its ring; or the rows it stands in |
//! | `g`, `e` | the ring: ids of messages taken lately, and the revisions that took them |
//! | `t`, `o`, `p` | there if it has ended, owes messages to others, is being purged |
//! | `w` | there if something is left to do: what the stream is filtered by |
//! | `x`, `j` | until when somebody sees to it; there if the last write raised that |
//! | `y`, `z`, `k` | the last events; how many stand in rows; the last big commit |
//! | `q`, `b`, `s` | the inbox: ids, bodies, and how many bytes these have |
//! | `m` | the highest number of each sender, for the first few |
//! | `a`, `u`, `f` | input, output, custom status, or the rows they stand in |
//! | `l`, `c` | keys of the index of all instances |
//! | `n` | the id, if the key does not hold all of it |
//! | `d` | former lives whose rows may not be removed yet |
//! | `v` | the layout, if it is not the first |

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use durable::Timestamp;
use durable::codec::FormatError;
use durable::header::Header;
use durable::ids::{Incarnation, MessageId};
use durable::ports::{StoreError, StoreResult};
use durable_host::stores::Holder;

use super::attrs::{self, Attrs};
use super::big::Big;
use super::spill::{Fetched, Spilled, Stored};

/// The layout that this build writes, and the newest that it reads.
const LAYOUT: u8 = 1;

/// What people see of an instance, and what tells whether there is something to do: not its inbox, history and senders. Of the inbox only
/// whether there is one.
pub(super) const SHOWN: &str = "pk, n, v, i, r, h, g, e, t, o, p, w, z, a, u, f, l, c, d, x, q[0]";

/// The header's item, read.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub incarnation: Incarnation,
    pub revision: u64,
    pub header: Stored,
    pub ring: Vec<(MessageId, u64)>,
    pub ended: bool,
    pub owes: bool,
    pub purging: bool,
    pub tail: Bytes,
    /// So many events stand in rows.
    pub sealed: u64,
    pub big: Option<Big>,
    pub inbox: Vec<(MessageId, Stored)>,
    pub inbox_bytes: u64,
    pub senders: HashMap<String, u64>,
    pub input: Option<Stored>,
    pub output: Option<Stored>,
    pub custom_status: Option<Stored>,
    pub dead: Vec<Incarnation>,
    /// Until when somebody sees to it, as the last commit said.
    pub busy: Option<Timestamp>,
    /// Its place in the order of creation.
    pub position: String,
    /// The id, if the key does not hold all of it.
    pub id: Option<String>,
    /// Bytes it counts for.
    pub size: usize,
}

impl Item {
    /// Reads an item.
    pub(super) fn read(mut attrs: Attrs) -> StoreResult<Self> {
        if let Some(layout) = attrs::number_in(&attrs, "v")
            && layout != i64::from(LAYOUT)
        {
            return Err(FormatError::Newer { what: "item of an instance", found: u8::try_from(layout).unwrap_or(u8::MAX) }.into());
        }
        let size = attrs::size(&attrs);
        let missing = |what: &str| StoreError::Damaged(format!("the item of an instance has no {what}"));
        let stored = |attrs: &mut Attrs, name: &str| attrs.remove(name).map(Stored::read).transpose();
        Ok(Self {
            incarnation: attrs::take_binary(&mut attrs, "i").and_then(|b| life(&b)).ok_or_else(|| missing("life"))?,
            revision: unsigned(&attrs, "r").ok_or_else(|| missing("revision"))?,
            header: stored(&mut attrs, "h")?.ok_or_else(|| missing("header"))?,
            ring: read_ring(&mut attrs)?,
            ended: attrs.contains_key("t"),
            owes: attrs.contains_key("o"),
            purging: attrs.contains_key("p"),
            tail: attrs::take_binary(&mut attrs, "y").unwrap_or_default(),
            sealed: unsigned(&attrs, "z").unwrap_or(0),
            big: attrs::text_in(&attrs, "k").map(Big::read).transpose()?,
            inbox: read_inbox(&mut attrs)?,
            inbox_bytes: unsigned(&attrs, "s").unwrap_or(0),
            senders: read_senders(&attrs),
            input: stored(&mut attrs, "a")?,
            output: stored(&mut attrs, "u")?,
            custom_status: stored(&mut attrs, "f")?,
            dead: attrs::take_binary(&mut attrs, "d").map(|all| all.chunks(8).filter_map(life).collect()).unwrap_or_default(),
            busy: attrs::number_in(&attrs, "x").map(Timestamp),
            position: attrs::text_in(&attrs, "c").unwrap_or_default().to_owned(),
            id: attrs::text_in(&attrs, "n").map(str::to_owned),
            size,
        })
    }

    /// The core's header.
    pub(super) fn decode(&self, header: &[u8]) -> StoreResult<Header> {
        Ok(Header { ring: self.ring.clone(), ..Header::from_bytes(header)? })
    }

    /// Rows with its header and payloads.
    pub(super) fn spilled(&self) -> Vec<&Spilled> {
        let payloads = [&self.input, &self.output, &self.custom_status];
        std::iter::once(&self.header).chain(payloads.into_iter().flatten()).filter_map(Stored::spilled).collect()
    }

    /// Rows with messages.
    pub(super) fn spilled_messages(&self) -> impl Iterator<Item = &Spilled> {
        self.inbox.iter().filter_map(|(_, body)| body.spilled())
    }

    /// As the holder of its id.
    pub(super) const fn holder(&self) -> Holder {
        Holder { incarnation: self.incarnation, ended: self.ended, owes: self.owes, purging: self.purging }
    }

    /// The core's header, wherever it stands. None if the item has changed since it was read.
    pub(super) fn header_from(&self, fetched: &Fetched) -> StoreResult<Option<Header>> {
        fetched.bytes(&self.header).map(|bytes| self.decode(&bytes)).transpose()
    }
}

fn life(bytes: &[u8]) -> Option<Incarnation> {
    bytes.try_into().ok().map(Incarnation)
}

fn message_id(value: &AttributeValue) -> StoreResult<MessageId> {
    let bytes = value.as_b().ok().and_then(|blob| blob.as_ref().try_into().ok());
    bytes.map(MessageId).ok_or_else(|| StoreError::Damaged("a message in the item of an instance has no id".to_owned()))
}

fn unsigned(attrs: &Attrs, name: &str) -> Option<u64> {
    attrs::number_in(attrs, name).and_then(|n| u64::try_from(n).ok())
}

fn read_ring(attrs: &mut Attrs) -> StoreResult<Vec<(MessageId, u64)>> {
    let ids = attrs::take_list(attrs, "g");
    let revisions = attrs::take_binary(attrs, "e").unwrap_or_default();
    let damaged = |why: String| StoreError::Damaged(format!("the ring of an instance cannot be read: {why}"));
    let revisions: Vec<u64> = if revisions.is_empty() { Vec::new() } else { minicbor::decode(&revisions).map_err(|e| damaged(e.to_string()))? };
    if revisions.len() != ids.len() {
        return Err(damaged(format!("{} ids and {} revisions", ids.len(), revisions.len())));
    }
    ids.iter().map(message_id).zip(revisions).map(|(id, revision)| Ok((id?, revision))).collect()
}

/// The ring as it stands in an item: ids that conditions can look for, and their revisions.
pub(super) fn ring(ring: &[(MessageId, u64)]) -> (AttributeValue, AttributeValue) {
    let ids = ring.iter().map(|(id, _)| attrs::binary(id.0)).collect();
    let revisions: Vec<u64> = ring.iter().map(|(_, revision)| *revision).collect();
    let mut bytes = Vec::new();
    // Writing to a Vec never fails.
    let _ = minicbor::encode(revisions, &mut bytes);
    (AttributeValue::L(ids), attrs::binary(bytes))
}

/// The core's header as it stands in an item: the ring stands beside it.
pub(super) fn header(header: &Header) -> Bytes {
    Header { ring: Vec::new(), ..header.clone() }.to_bytes()
}

fn read_inbox(attrs: &mut Attrs) -> StoreResult<Vec<(MessageId, Stored)>> {
    let ids = attrs::take_list(attrs, "q");
    let bodies = attrs::take_list(attrs, "b");
    // Where only a beginning of the inbox was asked for, the bodies are not there.
    if !bodies.is_empty() && bodies.len() != ids.len() {
        return Err(StoreError::Damaged(format!("the inbox of an instance holds {} ids and {} messages", ids.len(), bodies.len())));
    }
    let bodies = bodies.into_iter().map(Stored::read).chain(std::iter::repeat_with(|| Ok(Stored::Here(Bytes::new()))));
    ids.iter().map(message_id).zip(bodies).map(|(id, body)| Ok((id?, body?))).collect()
}

fn read_senders(attrs: &Attrs) -> HashMap<String, u64> {
    let Some(AttributeValue::M(map)) = attrs.get("m") else { return HashMap::new() };
    map.iter().filter_map(|(name, value)| Some((name.clone(), value.as_n().ok()?.parse().ok()?))).collect()
}

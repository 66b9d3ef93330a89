//! Where the events of a history stand: the last of them in the header's row, all others in chunks.
//!
//! When the tail would grow over its limit, all of it becomes one chunk, which is written in the very transaction that takes it out of the
//! header. So a chunk is there exactly if its commit has landed. A chunk that is too large for one row stands in parts that only this commit
//! names. Must never: write a chunk outside of a commit.

use std::ops::Range;

use bytes::Bytes;
use durable::history::EventBytes;
use durable::ids::Incarnation;
use durable::ports::{StoreError, StoreResult};
use durable_host::frames;

use super::item::Item;
use super::stored::{self, Spilled, Stored};
use super::{TableStore, keys};
use crate::table::{Entity, Filter};

/// The tail stays in the header up to this size. A transaction is billed alike whatever it writes, and a second query at each load is not free:
/// so it may be long.
const TAIL: usize = 32 * 1024;

/// A history with new events.
#[derive(Debug, Default)]
pub(super) struct Appended {
    pub tail: Bytes,
    pub sealed: u64,
    /// The chunk that goes with the commit.
    pub chunk: Option<Entity>,
    /// Rows that only the chunk names.
    pub rows: Vec<Entity>,
}

/// Puts events behind a history, which will have `total` of them. `before`: its tail, and how many events stand in chunks.
pub(super) fn append(pk: &str, (life, execution): (Incarnation, u32), before: (&Bytes, u64), new: &[EventBytes], total: u64) -> Appended {
    let (tail, sealed) = before;
    if new.is_empty() {
        return Appended { tail: tail.clone(), sealed, ..Appended::default() };
    }
    let mut all = tail.to_vec();
    frames::push(&mut all, new);
    if all.len() <= TAIL {
        return Appended { tail: all.into(), sealed, ..Appended::default() };
    }
    let mut rows = Vec::new();
    let stored = Stored::place(all.into(), (pk, life), format!("{}y", stored::nonce()), &mut rows);
    let mut chunk = Entity::new(pk, keys::chunk(life, execution, sealed, total)).with("x", stored.property());
    if let Stored::Spilled(spilled) = &stored {
        // For whoever removes it.
        chunk.set("q", spilled.name());
    }
    Appended { tail: Bytes::new(), sealed: total, chunk: Some(chunk), rows }
}

/// Events in a chunk.
struct Piece {
    from: u64,
    to: u64,
    events: Stored,
}

impl TableStore {
    /// Events of a range, of those that the header names. None if chunks are gone: then the instance has changed since it was read.
    pub(super) async fn events(
        &self,
        operation: &'static str,
        pk: &str,
        (item, execution, total): (&Item, u32, u64),
        range: Range<u64>,
    ) -> StoreResult<Option<Vec<EventBytes>>> {
        let tail = frames::events(&item.tail)?;
        if item.sealed + tail.len() as u64 != total {
            return Err(StoreError::Damaged(format!("{pk} has {} events in its header behind {}, and counts {total}", tail.len(), item.sealed)));
        }
        let end = range.end.min(total);
        if range.start >= end {
            return Ok(Some(Vec::new()));
        }
        let (mut all, mut at) = (Vec::new(), range.start);
        let until = end.min(item.sealed);
        if at < until {
            let pieces = self.pieces(operation, pk, (item.incarnation, execution), at..until).await?;
            let fetched = self.fetch(operation, pk, item.incarnation, pieces.iter().filter_map(|piece| piece.events.spilled()).collect()).await?;
            for piece in pieces {
                if piece.from > at || piece.to <= at || at >= until {
                    continue;
                }
                let Some(events) = fetched.bytes(&piece.events) else { return Ok(None) };
                let events = frames::events(&events)?;
                let (first, last) = ((at - piece.from) as usize, (piece.to.min(until) - piece.from) as usize);
                let Some(some) = events.get(first..last) else {
                    return Err(StoreError::Damaged(format!("a chunk of {pk} has {} events, not {}", events.len(), piece.to - piece.from)));
                };
                all.extend_from_slice(some);
                at = piece.to.min(until);
            }
            if at < until {
                return Ok(None);
            }
        }
        if end > item.sealed {
            let (first, last) = (at.saturating_sub(item.sealed) as usize, (end - item.sealed) as usize);
            all.extend_from_slice(&tail[first..last]);
        }
        Ok(Some(all))
    }

    /// Chunks with events of a range, in order.
    async fn pieces(&self, operation: &'static str, pk: &str, (life, execution): (Incarnation, u32), range: Range<u64>) -> StoreResult<Vec<Piece>> {
        let filter = Filter::partition(pk).from(&keys::chunk_behind(life, execution, range.start)).before(&keys::behind(&keys::chunk_prefix(life, execution)));
        let (mut pieces, mut next): (Vec<Piece>, _) = (Vec::new(), None);
        loop {
            let page = self.page(operation, &filter, None, None, next).await?;
            for row in &page.rows {
                let (Some((from, to)), Some(events)) = (keys::chunk_range(&row.row), Stored::read(row.binary("x"))?) else {
                    return Err(StoreError::Damaged(format!("row {} of partition {pk} is no chunk of a history", row.row)));
                };
                pieces.push(Piece { from, to, events });
            }
            next = page.next;
            if next.is_none() || pieces.last().is_some_and(|last| last.to >= range.end) {
                return Ok(pieces);
            }
        }
    }

    /// Removes what is left of the histories of executions before this one, and the ids of keyed messages that need not be remembered.
    pub(super) async fn remove_before(&self, operation: &'static str, pk: &str, life: Incarnation, execution: u32, forgotten: i64) -> StoreResult<()> {
        let old = |row: &Entity| row.row.starts_with(&format!("n-{life}-")) && row.row < keys::chunk_prefix(life, execution);
        let late = |row: &Entity| row.row.starts_with(&format!("t-{life}-")) && row.number("r").is_some_and(|at| at <= forgotten);
        let rows = self.range(operation, pk, (keys::END_OF_INBOX, keys::END), Some("PartitionKey,RowKey,q,r")).await?;
        let (mut parts, mut doomed) = (Vec::new(), Vec::new());
        for row in rows.iter().filter(|row| old(row) || late(row)) {
            parts.extend(row.text("q").and_then(Spilled::read).iter().flat_map(|spilled| spilled.rows(life)));
            doomed.push(row.row.clone());
        }
        // Parts first: without the chunk that names them nobody would find them before a purge does.
        self.delete_rows(operation, pk, parts.into_iter().chain(doomed)).await
    }
}

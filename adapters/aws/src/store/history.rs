//! Where the events of a history stand: the last of them in the header's item, all others in rows.
//!
//! When the tail would grow over its limit, what has been committed of it is *sealed*: written as a row first, then dropped from the item by
//! the commit. Whoever seals the same events writes the same bytes, and the end of the range is part of the key, so no loser of a race can
//! harm a winner. A commit with many new events puts them into rows of its own ([`super::big`]). Readers take what the item names, in order,
//! and drop what overlaps.
//!
//! Must never: seal an event that is not committed.

use std::collections::HashMap;

use bytes::Bytes;
use durable::history::EventBytes;
use durable::ids::Incarnation;
use durable::ports::{StoreError, StoreResult};
use durable_host::frames;

use super::DynamoStore;
use super::attrs::{self, Attrs, binary, text_in};
use super::big::Big;
use super::capacity::Operation;
use super::item::Item;
use super::rows::{Range, Read};
use super::{keys, spill};

/// The tail stays in the item up to this size.
const TAIL: usize = 2 * 1024;
/// New events beyond this size go into rows at once: in the item they would be billed with every write, and once more when they are sealed.
const NEW_IN_TAIL: usize = 4 * 1024;

/// What a history looks like to the header's item.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
    pub tail: Bytes,
    pub sealed: u64,
    pub big: Option<Big>,
}

/// A history with new events, and the rows that must stand before the commit.
#[derive(Debug, Default)]
pub(super) struct Appended {
    pub shape: Shape,
    /// Events that were committed before: the same row for whoever seals them.
    pub seal: Option<Attrs>,
    /// Rows that only this commit names.
    pub rows: Vec<Attrs>,
}

/// Puts events behind a history, which will have `total` of them.
pub(super) fn append(pk: &str, (life, execution): (Incarnation, u32), before: Shape, new: &[EventBytes], total: u64) -> Appended {
    if new.is_empty() {
        return Appended { shape: before, ..Appended::default() };
    }
    let mut framed = Vec::new();
    frames::push(&mut framed, new);
    let committed = total.saturating_sub(new.len() as u64);
    if framed.len() > NEW_IN_TAIL {
        let big = Big { from: before.sealed, to: total, nonce: spill::nonce() };
        let rows = big.rows(pk, (life, execution), &[&before.tail, &framed[..]].concat(), before.big.as_ref());
        return Appended { shape: Shape { tail: Bytes::new(), sealed: total, big: Some(big) }, seal: None, rows };
    }
    if before.tail.is_empty() || before.tail.len() + framed.len() <= TAIL {
        let tail = [&before.tail, &framed[..]].concat().into();
        return Appended { shape: Shape { tail, ..before }, ..Appended::default() };
    }
    let mut seal = attrs::key(pk, &keys::sealed(life, execution, before.sealed, committed));
    seal.insert("y".to_owned(), binary(before.tail.to_vec()));
    Appended { shape: Shape { tail: framed.into(), sealed: committed, big: before.big }, seal: Some(seal), rows: Vec::new() }
}

/// Rows of a history, as they were read.
#[derive(Debug, Default)]
struct Found {
    sealed: Vec<Piece>,
    big: HashMap<String, BigRows>,
}

/// Events in a row or in several.
#[derive(Debug)]
struct Piece {
    from: u64,
    to: u64,
    events: Bytes,
}

#[derive(Debug, Default)]
struct BigRows {
    parts: Vec<Bytes>,
    before: Option<Big>,
}

impl Found {
    /// Sorts rows out. Those of other lives and executions are nobody's.
    fn read(rows: Vec<Attrs>, life: Incarnation, execution: u32) -> StoreResult<Self> {
        let (sealed, big) = (keys::sealed_prefix(life, execution), keys::big_prefix(life, execution));
        let mut found = Self::default();
        for mut row in rows {
            let Some(sk) = text_in(&row, "sk").map(str::to_owned) else { continue };
            let Some(events) = attrs::take_binary(&mut row, "y") else { continue };
            if sk.starts_with(&sealed) {
                let Some((from, to)) = keys::sealed_range(&sk) else { continue };
                found.sealed.push(Piece { from, to, events });
            } else if let Some(name) = sk.strip_prefix(&big)
                && let Some((name, _)) = name.rsplit_once('#')
            {
                // Parts come in the order of their keys.
                let rows = found.big.entry(name.to_owned()).or_default();
                rows.parts.push(events);
                if let Some(before) = text_in(&row, "k") {
                    rows.before = Some(Big::read(before)?);
                }
            }
        }
        Ok(found)
    }

    /// Events `first..sealed`, in order. None if some are missing.
    fn events(mut self, last: Option<&Big>, first: u64, sealed: u64) -> StoreResult<Option<Vec<EventBytes>>> {
        let mut next = last.cloned();
        while let Some(big) = next.filter(|big| big.to > first) {
            let Some(rows) = self.big.remove(&big.text()) else { return Ok(None) };
            self.sealed.push(Piece { from: big.from, to: big.to, events: rows.parts.concat().into() });
            next = rows.before;
        }
        self.sealed.sort_by_key(|piece| (piece.from, piece.to));
        let (mut at, mut all) = (first, Vec::new());
        for piece in self.sealed {
            if piece.to <= at || at >= sealed {
                continue;
            }
            if piece.from > at {
                return Ok(None);
            }
            let events = frames::events(&piece.events)?;
            if events.len() as u64 != piece.to - piece.from {
                return Ok(None);
            }
            let end = piece.to.min(sealed);
            all.extend_from_slice(&events[(at - piece.from) as usize..(end - piece.from) as usize]);
            at = end;
        }
        Ok((at >= sealed).then_some(all))
    }
}

impl DynamoStore {
    /// Events from `first` on, of those that the item names. None if rows are gone: then the item has changed since it was read.
    ///
    /// `rows` are all rows of the history, if those have been read already.
    pub(super) async fn events(
        &self,
        operation: Operation,
        pk: &str,
        (item, execution, total): (&Item, u32, u64),
        first: u64,
        rows: Option<Vec<Attrs>>,
    ) -> StoreResult<Option<Vec<EventBytes>>> {
        let mut all = Vec::new();
        if first < item.sealed {
            let rows = match rows {
                Some(rows) => rows,
                None => self.rows_behind(operation, pk, (item, execution), first, u64::MAX).await?,
            };
            match Found::read(rows, item.incarnation, execution)?.events(item.big.as_ref(), first, item.sealed)? {
                Some(events) => all = events,
                None => return Ok(None),
            }
        }
        let tail = frames::events(&item.tail)?;
        if item.sealed + tail.len() as u64 != total {
            return Err(StoreError::Damaged(format!("{pk} has {} events in its item behind {}, and counts {total}", tail.len(), item.sealed)));
        }
        all.extend(tail.into_iter().skip(first.saturating_sub(item.sealed) as usize));
        Ok(Some(all))
    }

    /// Rows of a history with events in `first..until`.
    async fn rows_behind(&self, operation: Operation, pk: &str, (item, execution): (&Item, u32), first: u64, until: u64) -> StoreResult<Vec<Attrs>> {
        let life = item.incarnation;
        let range = Range { from: keys::sealed_behind(life, execution, first), to: keys::sealed_end(life, execution) };
        let (mut rows, mut from) = (Vec::new(), None);
        loop {
            let page = self.page(operation, pk, &range, from, Read::strong()).await?;
            rows.extend(page.items);
            from = page.next;
            let last = rows.last().and_then(|row| keys::sealed_range(text_in(row, "sk")?));
            if from.is_none() || last.is_some_and(|(_, to)| to >= until) {
                break;
            }
        }
        let mut next = item.big.clone();
        while let Some(big) = next.filter(|big| big.to > first) {
            let prefix = big.prefix(life, execution);
            let found = self.range(operation, pk, &Range { to: format!("{prefix}~"), from: prefix }).await?;
            next = found.iter().find_map(|row| text_in(row, "k")).map(Big::read).transpose()?;
            rows.extend(found);
        }
        Ok(rows)
    }

    /// Events of a range, of those that the item names. None if rows are gone.
    pub(super) async fn events_in(
        &self,
        pk: &str,
        (item, execution, total): (&Item, u32, u64),
        range: std::ops::Range<u64>,
    ) -> StoreResult<Option<Vec<EventBytes>>> {
        let end = range.end.min(total);
        if range.start >= end {
            return Ok(Some(Vec::new()));
        }
        let events = if end <= item.sealed {
            let rows = self.rows_behind(Operation::History, pk, (item, execution), range.start, end).await?;
            Found::read(rows, item.incarnation, execution)?.events(item.big.as_ref(), range.start, end)?
        } else {
            self.events(Operation::History, pk, (item, execution, total), range.start, None).await?
        };
        Ok(events.map(|mut events| {
            events.truncate((end - range.start) as usize);
            events
        }))
    }

    /// Removes what is left of the histories of executions before this one.
    pub(super) async fn remove_executions_before(&self, operation: Operation, pk: &str, life: Incarnation, execution: u32) -> StoreResult<()> {
        for prefix in [keys::sealed_prefix, keys::big_prefix] {
            let range = Range { from: prefix(life, 0), to: prefix(life, execution) };
            let (mut keys, mut from) = (Vec::new(), None);
            loop {
                let page = self.page(operation, pk, &range, from, Read { keys_only: true, ..Read::strong() }).await?;
                keys.extend(page.items.iter().filter_map(|row| text_in(row, "sk").map(str::to_owned)));
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
            self.delete_rows(operation, pk, keys).await?;
        }
        Ok(())
    }
}

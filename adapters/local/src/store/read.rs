//! Reading instances: whole, as people see them, and their history.
//!
//! The functions run inside a transaction that the caller has open, so that what they read belongs together.
//!
//! Must never: write, or leave out what another thread has been told is stored.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use durable::Payload;
use durable::header::Header;
use durable::history::EventBytes;
use durable::ids::{Incarnation, InstanceId};
use durable::message::Message;
use durable::ports::{Known, Loaded, StatusRecord, Token};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::{Res, Trouble};
use super::frames;

/// The three payloads that stand beside a header; the number is that of the column `spilled` and of the key in `payloads`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Input = 0,
    Output = 1,
    CustomStatus = 2,
}

impl Kind {
    /// Its bit in the column `spilled`.
    pub const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// Its key in the table `payloads`.
    pub const fn key(self, n: i64) -> i64 {
        n * 4 + self as i64
    }
}

/// What the store keeps in a [`Token`]: the row as it was left, so that the next commit of the instance need not read it.
///
/// Number, life and revision decide together: as long as they still stand in the row, so does the rest.
#[derive(Debug, Clone)]
pub(super) struct RowState {
    /// Which opening of which store this is of; those of another one are not believed.
    pub opening: u64,
    pub id: InstanceId,
    pub n: i64,
    pub incarnation: Incarnation,
    pub revision: u64,
    pub sealed: u64,
    pub spilled: u8,
    pub tail: Bytes,
}

impl RowState {
    pub fn into_token(self) -> Token {
        Token(Some(Arc::new(self)))
    }
}

/// Reads an instance with its inbox, and its history from where the caller's knowledge ends.
pub(super) fn load(conn: &Connection, opening: u64, id: &InstanceId, known: Option<Known>) -> Res<Option<Loaded>> {
    let sql = "SELECT n, revision, sealed, spilled, header, input, output, custom_status, tail FROM instances WHERE id = ?1";
    let mut select = conn.prepare_cached(sql)?;
    let mut rows = select.query([id.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let header = header(row, 4)?;
    let state = RowState {
        opening,
        id: id.clone(),
        n: row.get(0)?,
        incarnation: header.incarnation,
        revision: unsigned(row, 1)?,
        sealed: unsigned(row, 2)?,
        spilled: row.get(3)?,
        tail: blob(row, 8)?,
    };
    let (input, output, custom_status) = payloads(conn, row, 5, state.n, state.spilled)?;
    let total = state.sealed + frames::count(&state.tail)?;
    let first_event = match known {
        Some(k) if k.incarnation == header.incarnation && k.execution == header.execution && k.events <= total => k.events,
        _ => 0,
    };
    let events = events(conn, state.n, state.sealed, &state.tail, first_event..total)?;
    let inbox = inbox(conn, state.n)?;
    Ok(Some(Loaded { header, input, custom_status, output, inbox, first_event, events, token: state.into_token() }))
}

/// Reads what people see of an instance.
pub(super) fn status(conn: &Connection, id: &InstanceId) -> Res<Option<StatusRecord>> {
    let mut select = conn.prepare_cached("SELECT n, spilled, header, input, output, custom_status FROM instances WHERE id = ?1")?;
    let mut rows = select.query([id.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    record(conn, row, 0, id.clone()).map(Some)
}

/// A status record from a row whose columns from `at` on are: n, spilled, header, input, output, custom_status.
pub(super) fn record(conn: &Connection, row: &Row<'_>, at: usize, instance: InstanceId) -> Res<StatusRecord> {
    let header = header(row, at + 2)?;
    let (input, output, custom_status) = payloads(conn, row, at + 3, row.get(at)?, row.get(at + 1)?)?;
    Ok(StatusRecord { instance, header, input, output, custom_status })
}

/// Reads a range of the history of one execution; nothing if that one is not stored any more.
pub(super) fn history(conn: &Connection, id: &InstanceId, incarnation: Incarnation, execution: u32, range: Range<u64>) -> Res<Vec<EventBytes>> {
    let mut select = conn.prepare_cached("SELECT n, sealed, header, tail FROM instances WHERE id = ?1")?;
    let mut rows = select.query([id.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(Vec::new()) };
    let header = header(row, 2)?;
    if header.incarnation != incarnation || header.execution != execution {
        return Ok(Vec::new());
    }
    events(conn, row.get(0)?, unsigned(row, 1)?, &blob(row, 3)?, range)
}

/// What stands in an inbox, in order.
pub(super) fn inbox(conn: &Connection, n: i64) -> Res<Vec<Message>> {
    let mut select = conn.prepare_cached("SELECT data FROM inbox WHERE instance = ?1 ORDER BY position")?;
    let mut rows = select.query([n])?;
    let mut inbox = Vec::new();
    while let Some(row) = rows.next()? {
        inbox.push(Message::from_bytes(bytes_of(row, 0)?)?);
    }
    Ok(inbox)
}

/// The events `range` of a history whose first `sealed` events stand in chunks, the others in `tail`.
fn events(conn: &Connection, n: i64, sealed: u64, tail: &Bytes, range: Range<u64>) -> Res<Vec<EventBytes>> {
    let mut found = Vec::new();
    if range.start < sealed {
        let mut at = range.start;
        // The first one is the last that begins at or before the range.
        let mut select = conn.prepare_cached(
            "SELECT first, until, data FROM chunks WHERE instance = ?1 AND first < ?3
             AND first >= ifnull((SELECT max(first) FROM chunks WHERE instance = ?1 AND first <= ?2), 0) ORDER BY first",
        )?;
        let mut rows = select.query([n, signed(range.start), signed(range.end.min(sealed))])?;
        while let Some(row) = rows.next()? {
            let (first, until) = (unsigned(row, 0)?, unsigned(row, 1)?);
            if first > at || until <= at {
                return Err(Trouble::damaged(format!("event {at} of a history is missing")));
            }
            take(&mut found, &blob(row, 2)?, first, &range)?;
            at = until;
        }
        if at < range.end.min(sealed) {
            return Err(Trouble::damaged(format!("event {at} of a history is missing")));
        }
    }
    if range.end > sealed {
        take(&mut found, tail, sealed, &range)?;
    }
    Ok(found)
}

/// Adds those events of a blob that are in the range; its first has the index `first`.
fn take(found: &mut Vec<EventBytes>, blob: &Bytes, first: u64, range: &Range<u64>) -> Res<()> {
    for (index, event) in (first..range.end).zip(frames::events(blob)) {
        let event = event?;
        if index >= range.start {
            found.push(event);
        }
    }
    Ok(())
}

/// Input, output and custom status, from three columns and, for the large ones, from their own rows.
fn payloads(conn: &Connection, row: &Row<'_>, at: usize, n: i64, spilled: u8) -> Res<(Payload, Option<Payload>, Option<Payload>)> {
    let one = |kind: Kind| -> Res<Option<Payload>> {
        if spilled & kind.bit() != 0 {
            let mut select = conn.prepare_cached("SELECT data FROM payloads WHERE key = ?1")?;
            let data = select.query_row([kind.key(n)], |row| blob(row, 0)).optional()?;
            return match data {
                Some(data) => Ok(Some(Payload::from_stored(data))),
                None => Err(Trouble::damaged("a payload is missing")),
            };
        }
        Ok(match row.get_ref(at + kind as usize)? {
            ValueRef::Blob(bytes) => Some(Payload::from_stored(Bytes::copy_from_slice(bytes))),
            _ => None,
        })
    };
    Ok((one(Kind::Input)?.unwrap_or_default(), one(Kind::Output)?, one(Kind::CustomStatus)?))
}

/// The header in a column.
pub(super) fn header(row: &Row<'_>, at: usize) -> Res<Header> {
    Ok(Header::from_bytes(bytes_of(row, at)?)?)
}

/// A blob, as bytes of our own.
pub(super) fn blob(row: &Row<'_>, at: usize) -> rusqlite::Result<Bytes> {
    bytes_of(row, at).map(Bytes::copy_from_slice)
}

/// A blob, as long as the row is there.
pub(super) fn bytes_of<'row>(row: &'row Row<'_>, at: usize) -> rusqlite::Result<&'row [u8]> {
    let value = row.get_ref(at)?;
    value.as_blob().map_err(|_| rusqlite::Error::InvalidColumnType(at, "blob".to_owned(), value.data_type()))
}

/// A number that is never negative.
pub(super) fn unsigned(row: &Row<'_>, at: usize) -> Res<u64> {
    let value: i64 = row.get(at)?;
    u64::try_from(value).map_err(|_| Trouble::damaged("a counter is negative"))
}

/// A counter as the database keeps it. Those that would not fit are larger than anything counted here; they are cut.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// An id in a column.
pub(super) fn instance_id(row: &Row<'_>, at: usize) -> Res<InstanceId> {
    let text: String = row.get(at)?;
    InstanceId::new(text).map_err(|e| Trouble::damaged(format!("an instance id does not make sense ({e})")))
}

//! What a turn does to the row of its instance: where new events go, and where payloads stand.
//!
//! The tail holds up to 2 KB. When it would hold more, it is sealed together with the new events: moved into chunk rows that never change.
//!
//! Must never: rewrite a sealed chunk, or write a large payload that did not change.

use bytes::Bytes;
use durable::Payload;
use durable::header::Header;
use durable::history::EventBytes;
use rusqlite::params;

use super::db::Db;
use super::error::Res;
use super::frames;
use super::read::{self, Kind};
use super::schema::INLINE_BYTES;

/// The tail is sealed when it would have more bytes.
const TAIL_BYTES: usize = 2048;

/// A chunk ends behind the event that brings it to so many bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// A chunk to be written.
#[derive(Debug)]
pub(super) struct Chunk {
    pub first: u64,
    pub until: u64,
    pub data: Vec<u8>,
}

/// A history after events were appended.
#[derive(Debug)]
pub(super) struct Appended {
    pub sealed: u64,
    pub tail: Bytes,
    pub chunks: Vec<Chunk>,
}

/// Appends events to a history whose first `sealed` events stand in chunks and the others in `tail`.
pub(super) fn append(sealed: u64, tail: &Bytes, events: &[EventBytes]) -> Res<Appended> {
    if events.is_empty() {
        return Ok(Appended { sealed, tail: tail.clone(), chunks: Vec::new() });
    }
    let more: usize = events.iter().map(|event| frames::framed_len(event.len())).sum();
    if tail.len() + more <= TAIL_BYTES {
        let mut joined = Vec::with_capacity(tail.len() + more);
        joined.extend_from_slice(tail);
        events.iter().for_each(|event| frames::push(&mut joined, event));
        return Ok(Appended { sealed, tail: joined.into(), chunks: Vec::new() });
    }
    let mut chunks = Vec::new();
    let mut until = sealed + frames::count(tail)?;
    let mut chunk = Chunk { first: sealed, until, data: Vec::with_capacity((tail.len() + more).min(CHUNK_BYTES + TAIL_BYTES)) };
    chunk.data.extend_from_slice(tail);
    for event in events {
        if !chunk.data.is_empty() && chunk.data.len() + event.len() > CHUNK_BYTES {
            let next = Chunk { first: until, until, data: Vec::new() };
            chunks.push(std::mem::replace(&mut chunk, next));
        }
        frames::push(&mut chunk.data, event);
        until += 1;
        chunk.until = until;
    }
    chunks.push(chunk);
    Ok(Appended { sealed: until, tail: Bytes::new(), chunks })
}

/// True if a payload stands in the instance's row.
pub(super) fn is_inline(payload: Option<&Payload>) -> bool {
    payload.is_none_or(|payload| payload.len() <= INLINE_BYTES)
}

/// What of a payload goes into the instance's row. Notes in `spilled` where the payload stands from now on.
pub(super) fn place<'p>(kind: Kind, payload: Option<&'p Payload>, spilled: &mut u8) -> Option<&'p [u8]> {
    let payload = payload?;
    if is_inline(Some(payload)) {
        *spilled &= !kind.bit();
        Some(payload.stored())
    } else {
        *spilled |= kind.bit();
        None
    }
}

/// The build that could not go on with the instance, for the index of those.
pub(super) fn fault(header: &Header) -> Option<&str> {
    if header.status.is_terminal() { None } else { header.fault.as_ref().map(|fault| fault.build.as_str()) }
}

impl Db {
    /// Writes a large payload into its own row, or removes the row of one that was large and is not any more.
    pub fn spill(&self, n: i64, kind: Kind, payload: Option<&Payload>, was_spilled: bool) -> Res<()> {
        match payload {
            Some(payload) if !is_inline(Some(payload)) => {
                let mut insert = self.conn.prepare_cached("INSERT OR REPLACE INTO payloads (key, data) VALUES (?1, ?2)")?;
                insert.execute(params![kind.key(n), &payload.stored()[..]])?;
            }
            Some(_) if was_spilled => {
                self.conn.prepare_cached("DELETE FROM payloads WHERE key = ?1")?.execute([kind.key(n)])?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes sealed chunks.
    pub fn seal(&self, n: i64, chunks: &[Chunk]) -> Res<()> {
        for chunk in chunks {
            let mut insert = self.conn.prepare_cached("INSERT INTO chunks (instance, first, until, data) VALUES (?1, ?2, ?3, ?4)")?;
            insert.execute(params![n, read::signed(chunk.first), read::signed(chunk.until), chunk.data])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_sealed_before_it_grows_over_its_limit_and_large_chunks_are_split() {
        let event = |len: usize| Bytes::from(vec![7; len]);
        let small = append(0, &Bytes::new(), &[event(100), event(100)]).unwrap();
        assert_eq!((small.sealed, small.tail.len(), small.chunks.len()), (0, 202, 0));

        let sealed = append(small.sealed, &small.tail, &[event(2000)]).unwrap();
        assert_eq!((sealed.sealed, sealed.tail.len()), (3, 0));
        assert_eq!((sealed.chunks[0].first, sealed.chunks[0].until), (0, 3));

        let large = append(3, &Bytes::new(), &[event(200_000), event(200_000), event(1_000_000), event(10)]).unwrap();
        let spans: Vec<_> = large.chunks.iter().map(|chunk| (chunk.first, chunk.until)).collect();
        assert_eq!(spans, [(3, 4), (4, 5), (5, 6), (6, 7)]);
        assert_eq!(large.sealed, 7);
    }
}

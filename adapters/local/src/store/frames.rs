//! How events stand in a blob: one after the other, each behind its length (LEB128: one byte up to 127).
//!
//! Must never: look inside an event.

use bytes::Bytes;
use durable::history::EventBytes;

use super::error::{Res, Trouble};

/// How many bytes an event takes in a blob.
pub(super) const fn framed_len(event: usize) -> usize {
    let (mut rest, mut bytes) = (event >> 7, 1);
    while rest > 0 {
        rest >>= 7;
        bytes += 1;
    }
    bytes + event
}

/// Puts an event behind the others.
pub(super) fn push(out: &mut Vec<u8>, event: &[u8]) {
    let mut rest = event.len();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out.extend_from_slice(event);
}

/// The events of a blob; they share its bytes.
pub(super) fn events(blob: &Bytes) -> impl Iterator<Item = Res<EventBytes>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= blob.len() {
            return None;
        }
        let found = next(blob, at);
        // After a damaged frame nothing behind it can be found.
        at = found.as_ref().map_or(blob.len(), |&(_, end)| end);
        Some(match found {
            Some((start, end)) => Ok(blob.slice(start..end)),
            None => Err(Trouble::damaged("events of a history cannot be told apart")),
        })
    })
}

/// How many events a blob holds.
pub(super) fn count(blob: &Bytes) -> Res<u64> {
    events(blob).try_fold(0, |n, event| event.map(|_| n + 1))
}

/// Where the event whose frame begins at `at` begins and ends.
fn next(blob: &[u8], at: usize) -> Option<(usize, usize)> {
    let (mut len, mut start) = (0_usize, at);
    loop {
        let byte = *blob.get(start)?;
        // Five groups of seven bits are more than any event has.
        let shift = 7 * (start - at);
        if shift > 28 {
            return None;
        }
        len |= usize::from(byte & 0x7f) << shift;
        start += 1;
        if byte < 0x80 {
            break;
        }
    }
    let end = start.checked_add(len)?;
    (end <= blob.len()).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_any_length_come_back_and_a_torn_blob_is_an_error() {
        let lengths = [0, 1, 127, 128, 16_383, 16_384, 3_000_000];
        let mut blob = Vec::new();
        for len in lengths {
            let before = blob.len();
            push(&mut blob, &vec![len as u8; len]);
            assert_eq!(blob.len() - before, framed_len(len));
        }
        let blob = Bytes::from(blob);
        let back: Vec<_> = events(&blob).map(|e| e.unwrap().len()).collect();
        assert_eq!(back, lengths);
        assert_eq!(count(&blob).unwrap(), lengths.len() as u64);
        assert!(count(&blob.slice(..blob.len() - 1)).is_err());
        assert!(count(&Bytes::from_static(&[0xff; 12])).is_err());
    }
}

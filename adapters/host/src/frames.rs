//! How events stand in a binary: one behind the other, each as a CBOR byte string. Two such binaries are joined by putting one behind the other.
//!
//! Must never: look inside an event.

use bytes::Bytes;
use durable::history::EventBytes;
use durable::ports::{StoreError, StoreResult};
use minicbor::{Decoder, Encoder};

/// Puts events behind those that stand in `out`.
pub fn push(out: &mut Vec<u8>, events: &[EventBytes]) {
    let mut encoder = Encoder::new(out);
    for event in events {
        // Writing to a Vec never fails.
        let _ = encoder.bytes(event);
    }
}

/// The events of a binary; they share its bytes.
///
/// # Errors
/// [`StoreError::Damaged`] if it is torn.
pub fn events(blob: &Bytes) -> StoreResult<Vec<EventBytes>> {
    let mut decoder = Decoder::new(blob);
    let mut found = Vec::new();
    while decoder.position() < blob.len() {
        let event = decoder.bytes().map_err(|e| StoreError::Damaged(format!("events of a history cannot be told apart ({e})")))?;
        found.push(blob.slice_ref(event));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_any_length_come_back_and_a_torn_binary_is_an_error() {
        let all: Vec<EventBytes> = [0, 1, 23, 24, 255, 256, 70_000, 3_000_000].into_iter().map(|len| vec![len as u8; len].into()).collect();
        let mut blob = Vec::new();
        push(&mut blob, &all[..3]);
        push(&mut blob, &all[3..]);
        let blob = Bytes::from(blob);
        assert!(events(&blob).unwrap() == all);
        assert!(events(&blob.slice(..blob.len() - 1)).is_err());
        assert!(events(&Bytes::from_static(&[0xff; 12])).is_err());
    }
}

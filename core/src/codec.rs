//! The stored form of the engine's own records: CBOR arrays, which can gain optional fields without breaking old readers.
//!
//! Every record that reaches a store begins with [`FORMAT`]. A newer one is a clear error and nothing is written over it.

use bytes::Bytes;

/// The format this build writes. Readers accept this one and the one before.
pub const FORMAT: u8 = 1;

/// A stored record that this build cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Written by a newer build.
    #[error("the {what} was written in format {found}, this build reads up to {FORMAT}: deploy a newer build")]
    Newer {
        /// Which record.
        what: &'static str,
        /// Its format.
        found: u8,
    },
    /// Damaged, or not ours.
    #[error("the {what} cannot be read: {why}")]
    Damaged {
        /// Which record.
        what: &'static str,
        /// What the decoder says.
        why: String,
    },
}

/// Encodes a record behind its format byte.
pub(crate) fn to_bytes<T: minicbor::Encode<()>>(record: &T) -> Bytes {
    let mut out = Vec::with_capacity(128);
    out.push(FORMAT);
    // Writing to a Vec never fails.
    let _ = minicbor::encode(record, &mut out);
    out.into()
}

/// Reads what [`to_bytes`] wrote.
pub(crate) fn from_bytes<'b, T: minicbor::Decode<'b, ()>>(bytes: &'b [u8], what: &'static str) -> Result<T, FormatError> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => minicbor::decode(rest).map_err(|e| FormatError::Damaged { what, why: e.to_string() }),
        Some((&found, _)) if found > FORMAT => Err(FormatError::Newer { what, found }),
        Some((&found, _)) => Err(FormatError::Damaged { what, why: format!("unknown format {found}") }),
        None => Err(FormatError::Damaged { what, why: "it is empty".to_owned() }),
    }
}

/// `Arc<str>` as CBOR text.
pub(crate) mod shared_str {
    use std::sync::Arc;

    use minicbor::encode::Write;
    use minicbor::{Decoder, Encoder};

    pub fn encode<C, W: Write>(text: &Arc<str>, e: &mut Encoder<W>, _: &mut C) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(text)?.ok()
    }

    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Arc<str>, minicbor::decode::Error> {
        Ok(d.str()?.into())
    }
}

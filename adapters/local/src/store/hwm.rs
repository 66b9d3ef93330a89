//! `commits.hwm`: how many transactions have been acknowledged, kept beside the database.
//!
//! SQLite's own recovery drops a damaged end of the write-ahead log without a word, and an older copy of the file opens as well as the newest.
//! This number tells. It is written after each transaction and not synced: the system keeps it when the process dies, and after a power cut it
//! may be older than what was acknowledged, never newer. Losing both to one power cut is not detectable.
//!
//! Must never: be trusted if its checksum is wrong, or keep a store from working because it cannot be written.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::error::OpenError;

/// The file, open for the life of the store.
#[derive(Debug)]
pub(super) struct HighWater {
    file: File,
    /// The store it belongs to: seeds the checksum, so that the file of another database is not believed.
    hub: u64,
    warned: bool,
}

impl HighWater {
    /// Opens the file, or makes it, and reads the number: none if there is none that can be believed.
    pub fn open(folder: &Path, hub: u64) -> Result<(Self, Option<u64>), OpenError> {
        let path = folder.join("commits.hwm");
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(|e| OpenError::io(&path, &e))?;
        let mut bytes = Vec::with_capacity(16);
        file.read_to_end(&mut bytes).map_err(|e| OpenError::io(&path, &e))?;
        let known = decode(&bytes, hub);
        if known.is_none() && !bytes.is_empty() {
            tracing::warn!(file = %path.display(), "commits.hwm cannot be read and is begun afresh: missing commits would not be noticed this once");
        }
        Ok((Self { file, hub, warned: false }, known))
    }

    /// Notes that so many transactions are acknowledged.
    pub fn write(&mut self, commits: u64) {
        if let Err(e) = self.try_write(commits)
            && !self.warned
        {
            self.warned = true;
            tracing::warn!(error = %e, "commits.hwm cannot be written: commits are durable all the same, but missing ones would not be noticed");
        }
    }

    fn try_write(&mut self, commits: u64) -> io::Result<()> {
        // The same 16 bytes each time, in one call: the file never grows and needs no room on a full disk.
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&encode(commits, self.hub))
    }
}

fn encode(commits: u64, hub: u64) -> [u8; 16] {
    let number = commits.to_le_bytes();
    let mut out = [0; 16];
    out[..8].copy_from_slice(&number);
    out[8..].copy_from_slice(&xxh3_64_with_seed(&number, hub).to_le_bytes());
    out
}

fn decode(bytes: &[u8], hub: u64) -> Option<u64> {
    let commits = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
    (bytes == encode(commits, hub)).then_some(commits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_number_of_the_same_store_is_believed() {
        let bytes = encode(41, 7);
        assert_eq!(decode(&bytes, 7), Some(41));
        assert_eq!(decode(&bytes, 8), None);
        assert_eq!(decode(&bytes[..15], 7), None);
        let mut torn = bytes;
        torn[0] ^= 1;
        assert_eq!(decode(&torn, 7), None);
    }
}

//! One process per data folder: an advisory lock on the file `lock`, held for the life of the store.
//!
//! Must never: remove the file (another process may wait for the very same one), or tell who is first by its content.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::error::OpenError;

/// Holds the folder until it is dropped; the system lets go of it by itself when the process dies.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the folder, or says that somebody else has it.
    pub fn take(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(|e| OpenError::io(&path, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { folder: folder.to_owned() }),
            Err(TryLockError::Error(e)) => Err(OpenError::io(&path, &e)),
        }
    }
}

//! What can go wrong with the embedded store, in words that say what happened and what to do.
//!
//! Must never: let a bare database error through to a caller, or call something a failure of an instance.

use std::io;
use std::path::{Path, PathBuf};

use durable::codec::FormatError;
use durable::ports::StoreError;
use rusqlite::ErrorCode;

/// Why the store did not open. Nothing was changed, except where a sentence says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder belongs to another process, or to another store of this one.
    #[error("the data folder {folder} is in use by another process: stop that one first, or choose another folder")]
    InUse {
        /// The data folder.
        folder: PathBuf,
    },
    /// The folder or a file in it may not be written.
    #[error("{path} cannot be written ({why}): give this user the right to write the folder and the files in it, or choose another folder")]
    ReadOnly {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// No room on the disk.
    #[error("no room left for {path} ({why}): free some space and start again")]
    DiskFull {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// A newer build wrote the file.
    #[error("{path} was written in version {found} of the layout, this build reads up to {known}: start a newer build; the file was not changed")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that this build reads.
        known: i64,
    },
    /// A database, but of another program.
    #[error("{path} is a database of another program: choose another folder; the file was not changed")]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// Not a database, or a damaged one.
    #[error("{path} is damaged or not a database ({why}): put a copy of the folder in its place, or move it away to begin afresh")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The database is older than the commits that it has acknowledged.
    #[error(
        "{path} lacks {missing} commits that were acknowledged (it is an older copy, or the disk lost writes): put the newest copy in its place, \
         or go on without them with --accept-missing-commits"
    )]
    MissingCommits {
        /// The database.
        path: PathBuf,
        /// How many transactions are missing.
        missing: u64,
    },
    /// Another program holds a lock on the database.
    #[error("{path} is locked by another program ({why}): close what has it open for writing and start again")]
    Locked {
        /// The database.
        path: PathBuf,
        /// What the database says.
        why: String,
    },
    /// Anything else.
    #[error("{path} cannot be opened: {why}")]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
}

impl OpenError {
    /// From an error of the file system.
    pub(super) fn io(path: &Path, e: &io::Error) -> Self {
        let (path, why) = (path.to_owned(), e.to_string());
        match e.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path, why },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path, why },
            _ => Self::Io { path, why },
        }
    }

    /// From an error of the database.
    pub(super) fn sql(path: &Path, e: &rusqlite::Error) -> Self {
        let (path, why) = (path.to_owned(), e.to_string());
        match e.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged { path, why },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly { path, why },
            Some(ErrorCode::DiskFull) => Self::DiskFull { path, why },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path, why },
            _ => Self::Io { path, why },
        }
    }
}

/// A [`StoreError`] on its way out of the store: lets `?` take the errors of the database and of the codec.
#[derive(Debug)]
pub(super) struct Trouble(pub StoreError);

/// The result of anything inside the store.
pub(super) type Res<T> = Result<T, Trouble>;

impl Trouble {
    /// What is stored does not make sense.
    pub fn damaged(what: impl Into<String>) -> Self {
        Self(StoreError::Damaged(what.into()))
    }
}

impl From<FormatError> for Trouble {
    fn from(e: FormatError) -> Self {
        Self(e.into())
    }
}

impl From<StoreError> for Trouble {
    fn from(e: StoreError) -> Self {
        Self(e)
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(e: rusqlite::Error) -> Self {
        let why = e.to_string();
        Self(match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full(why),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreError::ReadOnly(why),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TypeMismatch) => StoreError::Damaged(why),
            // The size is not told; one gigabyte is where SQLite ends.
            Some(ErrorCode::TooBig) => StoreError::TooLarge { what: "a record".to_owned(), bytes: MAX_RECORD + 1, max: MAX_RECORD },
            Some(_) => StoreError::Unavailable(why),
            // Not from SQLite: a value in a column is not what this build wrote there.
            None => StoreError::Damaged(why),
        })
    }
}

/// The longest record that SQLite keeps.
const MAX_RECORD: usize = 1_000_000_000;

/// Said to those who ask a store that has been closed.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("it has been closed".to_owned())
}

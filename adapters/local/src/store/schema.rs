//! The tables, and how a connection is set up so that what it commits is durable.
//!
//! Anybody may read the file with `sqlite3 durable.db` while the store runs. Payloads are as the app's codec made them (plain JSON by default);
//! headers, events and messages are the engine's own records.
//!
//! Must never: change a file before it is known to be ours and of a version that this build writes.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::OpenError;

/// Name of the database in the data folder.
pub(super) const FILE: &str = "durable.db";

/// Name of its write-ahead log.
pub(super) const LOG: &str = "durable.db-wal";

/// "DuOr": tells our files from those of other programs (`file durable.db` shows it).
const APPLICATION_ID: i64 = 0x4475_4f72;

/// The version of the tables below.
pub(super) const VERSION: i64 = 1;

/// Payloads up to this size stand in the instance's row, larger ones in a row of their own that a turn does not rewrite.
pub(super) const INLINE_BYTES: usize = 512;

/// Pages of log after which a commit also moves the log into the database: 16 MiB.
const CHECKPOINT_PAGES: u32 = 4096;

/// Up to this size the whole file is checked at open, which takes milliseconds.
const CHECK_BYTES: u64 = 4 * 1024 * 1024;

/// How long a commit waits for another program that has the file open for writing.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// Once nothing has been asked of a connection for so long, it does what is left for quiet times.
pub(super) const IDLE: Duration = Duration::from_secs(1);

const TABLES: &str = "
-- One row. Written once per transaction.
CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    hub INTEGER NOT NULL,            -- random; names this store in page tokens
    commits INTEGER NOT NULL,        -- transactions so far
    next_instance INTEGER NOT NULL,  -- never used before, not even by an instance that is gone
    next_position INTEGER NOT NULL
) STRICT;

-- One row per instance, in order of creation.
CREATE TABLE instances (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    status INTEGER NOT NULL,         -- 0 Running 1 Completed 3 Failed 4 Canceled 5 Terminated 6 Pending 7 Suspended
    created INTEGER NOT NULL,        -- microseconds since 1970
    due INTEGER,                     -- when the clock must look at it
    work INTEGER NOT NULL,           -- 1: something is left to do now
    fault TEXT,                      -- the build that could not go on with it
    incarnation BLOB NOT NULL,
    revision INTEGER NOT NULL,
    sealed INTEGER NOT NULL,         -- so many events stand in chunks
    spilled INTEGER NOT NULL,        -- which payloads stand in the table payloads: 1 input + 2 output + 4 custom status
    header BLOB NOT NULL,
    tail BLOB NOT NULL,              -- the latest events
    input BLOB,
    output BLOB,
    custom_status BLOB
) STRICT;
CREATE INDEX instances_created ON instances(created);
CREATE INDEX instances_due ON instances(due, n) WHERE due IS NOT NULL;
CREATE INDEX instances_work ON instances(n) WHERE work = 1;
CREATE INDEX instances_fault ON instances(n, fault) WHERE fault IS NOT NULL;

-- Events that were moved out of the tail. Never changed.
CREATE TABLE chunks (
    instance INTEGER NOT NULL,
    first INTEGER NOT NULL,          -- index of its first event
    until INTEGER NOT NULL,          -- index behind its last event
    data BLOB NOT NULL,
    UNIQUE (instance, first)
) STRICT;

-- Large payloads: key = 4 n + 0 input, 1 output, 2 custom status.
CREATE TABLE payloads (
    key INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

-- Messages that nobody has taken.
CREATE TABLE inbox (
    position INTEGER PRIMARY KEY,
    instance INTEGER NOT NULL,
    message BLOB NOT NULL,           -- its id
    data BLOB NOT NULL
) STRICT;
CREATE INDEX inbox_instance ON inbox(instance);

-- The highest number that an instance has been given by each sender.
CREATE TABLE senders (
    instance INTEGER NOT NULL,
    sender TEXT NOT NULL,
    incarnation BLOB NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (instance, sender, incarnation)
) STRICT, WITHOUT ROWID;

-- Ids of messages whose callers may repeat them, for a day or a thousand of them.
CREATE TABLE keys (
    instance INTEGER NOT NULL,
    message BLOB NOT NULL,
    at INTEGER NOT NULL,             -- microseconds since 1970
    PRIMARY KEY (instance, message)
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_at ON keys(instance, at);

-- Instances that are gone and whose chunks and senders are still to be removed.
CREATE TABLE leftovers (
    instance INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    incarnation BLOB NOT NULL
) STRICT;

INSERT INTO meta VALUES (1, random(), 0, 1, 1);
";

/// Opens the database for writing, and makes the tables if it is new.
pub(super) fn open_writer(folder: &Path, max_bytes: Option<u64>) -> Result<Connection, OpenError> {
    let path = folder.join(FILE);
    let sql = |e: rusqlite::Error| OpenError::sql(&path, &e);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(&path, flags).map_err(sql)?;
    conn.busy_timeout(BUSY).map_err(sql)?;
    // Without the right to write, SQLite opens the file for reading and says nothing.
    if conn.is_readonly("main").map_err(sql)? {
        return Err(OpenError::ReadOnly { path, why: "the file is read-only".to_owned() });
    }
    let known = is_ours(&conn, &path)?;
    if !known {
        conn.pragma_update(None, "page_size", 4096).map_err(sql)?;
    }
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(sql)?;
    if mode != "wal" {
        return Err(OpenError::Io { path, why: "its file system has no shared memory, which the write-ahead log needs; use a local disk".to_owned() });
    }
    durable_settings(&conn).map_err(sql)?;
    if let Some(bytes) = max_bytes {
        let pages = i64::try_from(bytes / 4096).unwrap_or(i64::MAX);
        conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).map_err(sql)?;
    }
    if !known {
        let made = conn.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT"));
        made.map_err(sql)?;
        sync_names(folder);
    }
    Ok(conn)
}

/// Lets go of the pages that a connection keeps in memory: the system has them too, and what sleeps should cost nothing.
pub(super) fn shrink(conn: &Connection) {
    if let Err(e) = conn.execute_batch("PRAGMA shrink_memory") {
        tracing::debug!(error = %e, "pages stay in memory");
    }
}

/// Opens the database for reading what has been committed.
pub(super) fn open_reader(folder: &Path) -> Result<Connection, OpenError> {
    let path = folder.join(FILE);
    let sql = |e: rusqlite::Error| OpenError::sql(&path, &e);
    // Not opened read-only: a reader of the log writes its marks into shared memory.
    let conn = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(sql)?;
    conn.busy_timeout(BUSY).map_err(sql)?;
    conn.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -4096; PRAGMA temp_store = MEMORY").map_err(sql)?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(conn)
}

fn durable_settings(conn: &Connection) -> rusqlite::Result<()> {
    // FULL: each commit syncs the log. The two fullfsync settings count on macOS only, where fsync alone leaves data in the disk's cache.
    conn.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;
         PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY",
    )?;
    conn.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// True if the tables are there, false if the file is new and empty. Reads only.
fn is_ours(conn: &Connection, path: &Path) -> Result<bool, OpenError> {
    let sql = |e: rusqlite::Error| OpenError::sql(path, &e);
    let number = |pragma: &str| conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(sql);
    let objects: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sql)?;
    match (number("application_id")?, number("user_version")?) {
        (0, 0) if objects == 0 => return Ok(false),
        (APPLICATION_ID, version) if version > VERSION => {
            return Err(OpenError::Newer { path: path.to_owned(), found: version, known: VERSION });
        }
        (APPLICATION_ID, VERSION) => {}
        _ => return Err(OpenError::Foreign { path: path.to_owned() }),
    }
    if std::fs::metadata(path).is_ok_and(|file| file.len() <= CHECK_BYTES) {
        let found: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sql)?;
        if found != "ok" {
            return Err(OpenError::Damaged { path: path.to_owned(), why: found });
        }
    }
    Ok(true)
}

/// Makes the names of new files durable: a power cut must not take away the folder in which commits were acknowledged.
fn sync_names(folder: &Path) {
    // Not every system can sync a folder, and none needs it before the first commit, which syncs again.
    for dir in [Some(folder), folder.parent()].into_iter().flatten() {
        if let Ok(dir) = std::fs::File::open(dir) {
            let _ = dir.sync_all();
        }
    }
}

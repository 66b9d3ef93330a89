//! The writer's own connection, with what it keeps in memory so that the common commit reads nothing: counters and the sizes of inboxes.
//!
//! Must never: let memory and file differ. Whatever is undone in the file is read afresh.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use durable::header::Header;
use durable::ids::{InstanceId, MessageId};
use durable::ports::Loaded;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::Res;
use super::read::{self, RowState};

/// How much the store has written since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Transactions, which is the number of times that the log was synced for writes.
    pub transactions: u64,
    /// Commits of instances that landed, creations with a first turn or without one among them.
    pub commits: u64,
    /// Messages that were put into an inbox by `deliver`.
    pub deliveries: u64,
    /// Rows that were written, the one for the counters of each transaction left out.
    pub rows: u64,
}

/// [`Stats`] in the making.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub transactions: AtomicU64,
    pub commits: AtomicU64,
    pub deliveries: AtomicU64,
    pub rows: AtomicU64,
}

impl Counters {
    pub fn read(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats { transactions: get(&self.transactions), commits: get(&self.commits), deliveries: get(&self.deliveries), rows: get(&self.rows) }
    }
}

/// A message that nobody has taken, without its content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub position: i64,
    pub id: MessageId,
    pub bytes: u32,
}

/// What the writer knows of an inbox.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub waiting: VecDeque<Waiting>,
    pub bytes: u64,
}

/// An instance as the writer looks at it when it is not its own commit.
pub(super) struct Found {
    pub n: i64,
    pub sealed: u64,
    pub header: Header,
}

/// The database, as the writer has it.
pub(super) struct Db {
    pub conn: Connection,
    pub opening: u64,
    pub hub: i64,
    /// Transactions that have been committed.
    pub commits: u64,
    pub next_instance: i64,
    pub next_position: i64,
    /// Only those that hold anything.
    pub inboxes: HashMap<i64, Inbox>,
    /// Whose inboxes this transaction has changed: what is read afresh if it is undone.
    pub touched: Vec<i64>,
    /// How many instances that are gone have left rows behind.
    pub leftovers: i64,
    pub counters: Arc<Counters>,
}

impl Db {
    /// Reads what the writer keeps in memory.
    pub fn new(conn: Connection, opening: u64) -> Res<Self> {
        let select = "SELECT hub, commits, next_instance, next_position FROM meta";
        let (hub, commits, next_instance, next_position) =
            conn.query_row(select, [], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get(2)?, row.get(3)?)))?;
        let commits = u64::try_from(commits).unwrap_or(0);
        let counters = Arc::default();
        let mut db = Self { conn, opening, hub, commits, next_instance, next_position, inboxes: HashMap::new(), touched: Vec::new(), leftovers: 0, counters };
        db.read_memory()?;
        Ok(db)
    }

    /// Reads all inboxes and the number of leftovers.
    fn read_memory(&mut self) -> Res<()> {
        let mut select = self.conn.prepare_cached("SELECT position, instance, message, length(data) FROM inbox ORDER BY position")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            self.inboxes.entry(row.get(1)?).or_default().push(waiting(row)?);
        }
        self.leftovers = self.conn.query_row("SELECT count(*) FROM leftovers", [], |row| row.get(0))?;
        Ok(())
    }

    /// Reads afresh what was changed in memory since `touched` had so many entries, after the file was taken back to there.
    pub fn read_touched(&mut self, mark: usize) -> Res<()> {
        let touched = self.touched.split_off(mark.min(self.touched.len()));
        let mut select = self.conn.prepare_cached("SELECT position, instance, message, length(data) FROM inbox WHERE instance = ?1 ORDER BY position")?;
        for n in touched {
            self.inboxes.remove(&n);
            let mut rows = select.query([n])?;
            while let Some(row) = rows.next()? {
                self.inboxes.entry(n).or_default().push(waiting(row)?);
            }
        }
        self.leftovers = self.conn.prepare_cached("SELECT count(*) FROM leftovers")?.query_row([], |row| row.get(0))?;
        Ok(())
    }

    /// Does what touches more than one row: all of it, or none.
    pub fn all_or_nothing<T>(&mut self, work: impl FnOnce(&mut Self) -> Res<T>) -> Res<T> {
        self.run("SAVEPOINT request")?;
        let mark = self.touched.len();
        let trouble = match work(self).and_then(|done| self.run("RELEASE request").map(|()| done)) {
            Ok(done) => return Ok(done),
            Err(trouble) => trouble,
        };
        // Some errors have undone the whole transaction already; then there is no savepoint, and the writer begins again.
        if !self.conn.is_autocommit() {
            let undone = self.run("ROLLBACK TO request").and_then(|()| self.run("RELEASE request")).and_then(|()| self.read_touched(mark));
            if undone.is_err() {
                // Rather no request of this group than half of one.
                let _ = self.run("ROLLBACK");
            }
        }
        Err(trouble)
    }

    /// Runs a statement without parameters.
    pub fn run(&self, sql: &str) -> Res<()> {
        self.conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    /// Finds an instance by its id.
    pub fn find(&self, id: &InstanceId) -> Res<Option<Found>> {
        let mut select = self.conn.prepare_cached("SELECT n, sealed, header FROM instances WHERE id = ?1")?;
        let mut rows = select.query([id.as_str()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(Found { n: row.get(0)?, sealed: read::unsigned(row, 1)?, header: read::header(row, 2)? }))
    }

    /// Reads the state of a row for a commit that did not bring it along.
    pub fn row_state(&self, id: &InstanceId) -> Res<Option<RowState>> {
        let mut select = self.conn.prepare_cached("SELECT n, incarnation, revision, sealed, spilled, tail FROM instances WHERE id = ?1")?;
        let state = select
            .query_row([id.as_str()], |row| {
                Ok((row.get(0)?, durable::ids::Incarnation(row.get(1)?), row.get::<_, i64>(2)?, row.get::<_, i64>(3)?, row.get(4)?, read::blob(row, 5)?))
            })
            .optional()?;
        Ok(state.map(|(n, incarnation, revision, sealed, spilled, tail): (i64, _, i64, i64, u8, Bytes)| RowState {
            opening: self.opening,
            id: id.clone(),
            n,
            incarnation,
            revision: revision.unsigned_abs(),
            sealed: sealed.unsigned_abs(),
            spilled,
            tail,
        }))
    }

    /// The instance as it stands in this transaction.
    pub fn load(&self, id: &InstanceId) -> Res<Option<Loaded>> {
        read::load(&self.conn, self.opening, id, None)
    }

    /// A number for a new instance.
    pub fn take_number(&mut self) -> i64 {
        let n = self.next_instance;
        self.next_instance += 1;
        n
    }

    /// Writes the counters; part of every transaction that wrote anything.
    pub fn write_counters(&mut self) -> Res<()> {
        let mut update = self.conn.prepare_cached("UPDATE meta SET commits = ?1, next_instance = ?2, next_position = ?3")?;
        update.execute(params![read::signed(self.commits + 1), self.next_instance, self.next_position])?;
        Ok(())
    }
}

/// A waiting message from a row whose columns are: position, instance, message, size.
fn waiting(row: &Row<'_>) -> rusqlite::Result<Waiting> {
    Ok(Waiting { position: row.get(0)?, id: MessageId(row.get(2)?), bytes: row.get(3)? })
}

impl Inbox {
    /// Puts a message behind the others.
    pub fn push(&mut self, message: Waiting) {
        self.bytes += u64::from(message.bytes);
        self.waiting.push_back(message);
    }

    /// Takes the message in front.
    pub fn pop(&mut self) -> Option<Waiting> {
        let message = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(u64::from(message.bytes));
        Some(message)
    }
}

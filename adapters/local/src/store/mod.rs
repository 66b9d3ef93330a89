//! The embedded store: one SQLite file in a data folder, with one thread that writes and a few that read.
//!
//! A write is answered once it is durable (write-ahead log, `synchronous = FULL`), never before. Whatever has queued up while the disk was busy
//! is written in one transaction. When nothing is asked, every thread sleeps without a clock.
//!
//! | crash | what is durable | who goes on |
//! | --- | --- | --- |
//! | before COMMIT has returned | nothing of the group, or all of it | whoever asked was not answered, and asks again |
//! | between COMMIT and the answers | all of the group | the same; message ids and commit ids tell that it was done |
//! | between two steps of a purge | the instance is gone, its remains are noted | the writer, after the next open |
//!
//! What a restart has to drive is named by [`SqliteStore::runnable`], [`SqliteStore::due`] and [`SqliteStore::faulted`], each from an index.
//! Deliveries to other instances are part of the commit's own transaction, so there is no outbox to drive.
//!
//! Must never: let two processes at one folder, or answer a write on the strength of memory alone.

mod commit;
mod create;
mod db;
mod error;
mod frames;
mod hwm;
mod inbox;
mod list;
mod lock;
mod purge;
mod read;
mod readers;
mod record;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use durable::Timestamp;
use durable::history::EventBytes;
use durable::ids::{Incarnation, InstanceId};
use durable::message::Message;
use durable::ports::{
    Commit, CommitOutcome, Create, Created, Delivered, Known, ListQuery, Loaded, Page, PageToken, PortFuture, Purge, StatusRecord, Store, StoreResult,
};
use futures_channel::oneshot;

use db::{Counters, Db};
use error::{Trouble, closed};
use hwm::HighWater;
use lock::FolderLock;
use readers::Readers;
use writer::{Ask, Parcel, Request, Writer};

pub use db::Stats;
pub use error::OpenError;
pub use list::Counts;

/// How to open a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data folder; made if it is not there. It holds `durable.db` with its log, `commits.hwm` and `lock`, and belongs to one process.
    pub folder: PathBuf,
    /// Go on although the database lacks commits that were acknowledged.
    pub accept_missing_commits: bool,
    /// The database may not grow over this; then writes are refused with [`durable::ports::StoreError::Full`].
    pub max_bytes: Option<u64>,
    /// Threads that read.
    pub readers: usize,
}

impl Options {
    /// The usual options for a folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), accept_missing_commits: false, max_bytes: None, readers: 2 }
    }
}

/// A store in a SQLite file. Clones are handles to the same store; it is closed with the last one, or by [`SqliteStore::close`].
#[derive(Debug, Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    writer: Sender<Request>,
    readers: Readers,
    /// Tells tokens of this opening from those of any other.
    opening: u64,
    hub: i64,
    counters: Arc<Counters>,
    running: Mutex<Option<Running>>,
}

/// What ends with the store, in this order.
#[derive(Debug)]
struct Running {
    readers: Vec<JoinHandle<()>>,
    writer: JoinHandle<()>,
    lock: FolderLock,
}

static OPENINGS: AtomicU64 = AtomicU64::new(1);

impl SqliteStore {
    /// Opens the store in a folder, or makes one there. Blocks while it does.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way and what to do.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let Options { folder, accept_missing_commits, max_bytes, readers } = options;
        std::fs::create_dir_all(&folder).map_err(|e| OpenError::io(&folder, &e))?;
        let lock = FolderLock::take(&folder)?;
        let path = folder.join(schema::FILE);
        let opening = OPENINGS.fetch_add(1, Ordering::Relaxed);
        let conn = schema::open_writer(&folder, max_bytes)?;
        let db = Db::new(conn, opening).map_err(|Trouble(e)| OpenError::Damaged { path: path.clone(), why: e.to_string() })?;
        let (mut hwm, acknowledged) = HighWater::open(&folder, db.hub.cast_unsigned())?;
        let missing = acknowledged.map_or(0, |acknowledged| acknowledged.saturating_sub(db.commits));
        if missing > 0 {
            if !accept_missing_commits {
                return Err(OpenError::MissingCommits { path, missing });
            }
            tracing::warn!(missing, database = %path.display(), "going on without commits that were acknowledged, as told");
        }
        hwm.write(db.commits);
        let (hub, counters) = (db.hub, Arc::clone(&db.counters));
        let (readers, reader_threads) = Readers::start(&folder, readers)?;
        let (requests, queue) = mpsc::channel();
        let writer = Writer::new(db, hwm, queue, folder.join(schema::LOG));
        let writer_thread = std::thread::Builder::new().name("durable-write".to_owned()).spawn(move || writer.run());
        let running = Running { readers: reader_threads, writer: writer_thread.map_err(|e| OpenError::io(&folder, &e))?, lock };
        let inner = Inner { writer: requests, readers, opening, hub, counters, running: Mutex::new(Some(running)) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Does what is queued, empties the log, ends the threads and gives the folder free. Blocks until that is done; later calls are refused.
    pub fn close(&self) {
        self.inner.close();
    }

    /// How much has been written since the store was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.counters.read()
    }

    /// How much there is of what.
    pub fn counts(&self) -> PortFuture<StoreResult<Counts>> {
        self.inner.readers.read(list::counts)
    }

    /// The number of the newest instance, as [`SqliteStore::runnable`] counts; `0` if there is none.
    pub fn newest(&self) -> PortFuture<StoreResult<i64>> {
        self.inner.readers.read(list::newest)
    }

    /// Instances that a restart has to drive: something is left to do now, or messages wait, whatever their state.
    /// In order of creation; each comes with its number, and the next page begins behind the last one (`0` at first).
    pub fn runnable(&self, after: i64, limit: usize) -> PortFuture<StoreResult<Vec<(i64, InstanceId)>>> {
        self.inner.readers.read(move |conn| list::runnable(conn, after, limit))
    }

    /// Instances that the clock must look at, the earliest first. The next page begins behind the last time and number.
    pub fn due(&self, after: Option<(Timestamp, i64)>, limit: usize) -> PortFuture<StoreResult<Vec<(Timestamp, i64, InstanceId)>>> {
        self.inner.readers.read(move |conn| list::due(conn, after, limit))
    }

    /// Instances that a build could not go on with, and that build. In order of creation, paged as [`SqliteStore::runnable`].
    pub fn faulted(&self, after: i64, limit: usize) -> PortFuture<StoreResult<Vec<(i64, InstanceId, String)>>> {
        self.inner.readers.read(move |conn| list::faulted(conn, after, limit))
    }

    /// Asks the writer. If it has ended the question is dropped, and the answer tells.
    fn ask<Q, T: Send + 'static>(&self, question: Q, request: impl FnOnce(Box<Ask<Q, StoreResult<T>>>) -> Request) -> PortFuture<StoreResult<T>> {
        let (ask, answer) = Ask::new(question);
        let _ = self.inner.writer.send(request(ask));
        Box::pin(settle(answer))
    }
}

async fn settle<T>(answer: oneshot::Receiver<StoreResult<T>>) -> StoreResult<T> {
    answer.await.unwrap_or_else(|_| Err(closed()))
}

impl Inner {
    fn close(&self) {
        // Held to the end, so that a second caller returns only once the store is closed.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Running { readers, writer, lock }) = running.take() else { return };
        self.readers.end();
        // Whoever is woken by an answer may drop the last handle on the very thread that sent it; that one cannot wait for itself.
        let join = |thread: JoinHandle<()>| {
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        };
        readers.into_iter().for_each(join);
        // The writer's connection is the last one: the log is moved into the database and removed.
        let _ = self.writer.send(Request::Close);
        join(writer);
        drop(lock);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Store for SqliteStore {
    fn delivers_atomically(&self) -> bool {
        true
    }

    fn create(&self, create: Create) -> PortFuture<StoreResult<Created>> {
        self.ask(create, Request::Create)
    }

    fn load(&self, instance: &InstanceId, known: Option<Known>) -> PortFuture<StoreResult<Option<Loaded>>> {
        let (instance, opening) = (instance.clone(), self.inner.opening);
        self.inner.readers.read(move |conn| read::load(conn, opening, &instance, known))
    }

    fn status(&self, instance: &InstanceId) -> PortFuture<StoreResult<Option<StatusRecord>>> {
        let instance = instance.clone();
        self.inner.readers.read(move |conn| read::status(conn, &instance))
    }

    fn commit(&self, commit: Commit) -> PortFuture<CommitOutcome> {
        let (ask, answer) = Ask::new(commit);
        let _ = self.inner.writer.send(Request::Commit(ask));
        Box::pin(async move { answer.await.unwrap_or_else(|_| CommitOutcome::Unknown(closed())) })
    }

    fn deliver(&self, instance: &InstanceId, incarnation: Option<Incarnation>, message: Message) -> PortFuture<StoreResult<Delivered>> {
        self.ask(Parcel { to: instance.clone(), incarnation, message }, Request::Deliver)
    }

    fn list(&self, query: ListQuery, token: Option<PageToken>) -> PortFuture<StoreResult<Page>> {
        let hub = self.inner.hub;
        self.inner.readers.read(move |conn| list::list(conn, hub, &query, token.as_ref()))
    }

    fn history(&self, instance: &InstanceId, incarnation: Incarnation, execution: u32, range: Range<u64>) -> PortFuture<StoreResult<Vec<EventBytes>>> {
        let instance = instance.clone();
        self.inner.readers.read(move |conn| read::history(conn, &instance, incarnation, execution, range))
    }

    fn purge_begin(&self, instance: &InstanceId) -> PortFuture<StoreResult<Purge>> {
        self.ask(instance.clone(), Request::PurgeBegin)
    }

    fn purge_step(&self, instance: &InstanceId, incarnation: Incarnation) -> PortFuture<StoreResult<Purge>> {
        self.ask((instance.clone(), incarnation), Request::PurgeStep)
    }
}

//! The Table Storage store: one table for each task hub, in which an instance is a row that every turn writes, and rows for what waits or is
//! large.
//!
//! Messages to other instances are not part of a commit: they stand in the header's outbox, for whoever drives the instance. A *gate* stands
//! beside the header of a live instance. A commit replaces it, a delivery touches it in the transaction that adds its message; so deliveries
//! never meet each other or make a turn lose, and yet a commit knows whether a message has come since it read the inbox, and a delivery whether
//! what it read still holds.
//!
//! | two at once | what becomes of them |
//! | --- | --- |
//! | delivery, delivery | both are stored; one of the same message is told that it is there |
//! | commit, commit | the header's tag lets one land, the other has lost |
//! | commit first, then the delivery that looked before it | no such gate: it looks again, and sees what was taken and whether it is too late |
//! | delivery first, then the commit that looked before it | the gate has another tag: the commit is made again without that, lands, and reads the inbox |
//! | last commit, delivery | the same: either it is in the inbox and told of, or there is no gate any more, and it is too late |
//! | start over an old life, delivery to that | the old gate goes in the transaction that brings the new life |
//! | purge, start with that id | the header's tag lets one of both have it; a start takes over what the purge has left |
//!
//! | operation | crash | what is durable | who goes on |
//! | --- | --- | --- | --- |
//! | create | entry written, header not | an entry that leads nowhere | the caller was not answered and asks again; listings pass it over |
//! | | large rows written, header not | rows that nothing names | the same; nobody meets those rows |
//! | | header and gate written | the instance | whoever the host has told before; a repeat is told that it exists |
//! | create over an ended life | header replaced, old entry or old rows not removed | the new life; the old one's name in `d` | whoever loads next removes the rows; listings pass the entry over |
//! | commit | large rows written, header not | rows that nothing names | the driver's wake-up; the turn is made again, a purge removes them |
//! | | transaction done, unneeded rows not removed | the turn | nobody needs to: a purge removes them |
//! | | transaction done, inbox not read behind it | the turn | the driver is told that it cannot be told, and loads |
//! | commit with a fault | the row that names it written, header not | a row that leads to a sound instance | whoever walks those rows looks and finds nothing |
//! | deliver | large rows written, message not | rows that nothing names | the sender was not answered and asks again; a purge removes them |
//! | | transaction done | the message, and the note of its key | the sender asks again and is told |
//! | purge | header marked, rows or header left | the instance is unknown | another purge, or a start with that id |
//!
//! A request whose answer was lost is never sent again if that could do something twice; a start is, for it is known by its life and commit
//! id. If it arrives late it meets a tag, a gate or a row that is not what it was meant for, and changes nothing; the two exceptions are
//! harmless: an entry of the index, and a first start, whose rows and entry are left to it.
//!
//! Each request is one transaction of the account's bill, an entity group transaction too, however many rows it changes: so what belongs to a
//! commit goes with it. Start: 2 (its entry, its header); turn: 1; delivery: 2; load: 1, and 1 more if its history is longer than some 30 KB.
//!
//! Must never: answer a write whose outcome is not known as done or as not done, touch the header for a message, or order messages by a clock.

mod call;
mod commit;
mod create;
mod deliver;
mod extras;
mod history;
mod item;
mod keys;
mod list;
mod load;
mod look;
mod purge;
mod rows;
mod senders;
mod stored;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use durable::history::EventBytes;
use durable::ids::{Incarnation, InstanceId};
use durable::message::Message;
use durable::ports::{
    Commit, CommitOutcome, Create, Created, Delivered, Known, ListQuery, Loaded, Page, PageToken, PortFuture, Purge, StatusRecord, Store, StoreResult,
};

use crate::storage::{Storage, Transactions};
use crate::table::Table;

pub use keys::BadHub;
#[cfg(feature = "fuzzing")]
pub(crate) use keys::partition;

/// What transactions of the store are counted by.
pub mod operation {
    /// Create the table.
    pub const TABLE: &str = "create the table";
    /// Start an instance.
    pub const CREATE: &str = "create";
    /// Read an instance.
    pub const LOAD: &str = "load";
    /// Read what people see.
    pub const STATUS: &str = "status";
    /// Write a turn.
    pub const COMMIT: &str = "commit";
    /// Put a message into an inbox.
    pub const DELIVER: &str = "deliver";
    /// List instances.
    pub const LIST: &str = "list";
    /// Read a range of the history.
    pub const HISTORY: &str = "history";
    /// Remove an instance.
    pub const PURGE: &str = "purge";
    /// Look whether there is something to do.
    pub const PEEK: &str = "peek";
    /// Note who runs an attempt of an activity.
    pub const RUN: &str = "run";
    /// Keep the index of faulted instances.
    pub const FAULT: &str = "fault";
    /// Note a build.
    pub const BUILD: &str = "build";
}

/// Requests that one call makes at a time, at most.
const AT_A_TIME: usize = 16;

/// How to use an account.
#[derive(Debug, Clone)]
pub struct Options {
    /// The task hub.
    pub hub: String,
    /// How long one call of the store may take with its repeats, unless a deadline comes first.
    pub patience: Duration,
}

impl Options {
    /// The usual options.
    #[must_use]
    pub fn new(hub: impl Into<String>) -> Self {
        Self { hub: hub.into(), patience: Duration::from_secs(10) }
    }
}

/// A store in a table of a storage account. Clones share connections. Its futures need a Tokio runtime.
#[derive(Debug, Clone)]
pub struct TableStore {
    inner: Arc<Inner>,
    deadline: Option<Instant>,
}

#[derive(Debug)]
struct Inner {
    table: Table,
    /// Tells tokens of this store from those of any other.
    number: u64,
    patience: Duration,
}

static STORES: AtomicU64 = AtomicU64::new(1);

impl TableStore {
    /// A store for a task hub. Makes no call: [`Self::create_table`] must have been called once.
    ///
    /// # Errors
    /// [`BadHub`] if no task hub can have that name.
    pub fn new(storage: Storage, options: Options) -> Result<Self, BadHub> {
        let Options { hub, patience } = options;
        let table = Table::new(storage, keys::table(&hub)?).map_err(|_| BadHub(hub))?;
        Ok(Self { inner: Arc::new(Inner { table, number: STORES.fetch_add(1, Ordering::Relaxed), patience }), deadline: None })
    }

    /// Creates the hub's table, unless it is there.
    ///
    /// # Errors
    /// [`durable::ports::StoreError`] if the account cannot be reached, or does not allow it.
    pub async fn create_table(&self) -> StoreResult<()> {
        Ok(self.call(call::Ask::again(operation::TABLE), |ask| self.inner.table.create(ask)).await?)
    }

    /// The same store for one invocation: no request is sent after `deadline`, nor waited for.
    #[must_use]
    pub fn with_deadline(&self, deadline: Instant) -> Self {
        Self { inner: Arc::clone(&self.inner), deadline: Some(deadline) }
    }

    /// The name of the hub's table.
    #[must_use]
    pub fn table_name(&self) -> &str {
        self.inner.table.name()
    }

    /// What the account has been asked for so far, by [`operation`], with what others have asked through the same client.
    #[must_use]
    pub fn transactions(&self) -> Transactions {
        self.inner.table.storage().transactions()
    }

    /// When a call that begins now must be over.
    fn end(&self) -> Instant {
        let end = Instant::now() + self.inner.patience;
        self.deadline.map_or(end, |deadline| deadline.min(end))
    }

    /// A port call, as a future that owns what it needs.
    fn run<T, F: Future<Output = T> + Send + 'static>(&self, call: impl FnOnce(Self) -> F) -> PortFuture<T> {
        Box::pin(call(self.clone()))
    }
}

impl Store for TableStore {
    fn delivers_atomically(&self) -> bool {
        false
    }

    fn create(&self, create: Create) -> PortFuture<StoreResult<Created>> {
        self.run(|store| async move { store.create_now(create).await })
    }

    fn load(&self, instance: &InstanceId, known: Option<Known>) -> PortFuture<StoreResult<Option<Loaded>>> {
        let instance = instance.clone();
        self.run(|store| async move { store.load_now(operation::LOAD, &instance, known).await })
    }

    fn status(&self, instance: &InstanceId) -> PortFuture<StoreResult<Option<StatusRecord>>> {
        let instance = instance.clone();
        self.run(|store| async move { store.status_now(operation::STATUS, &instance).await })
    }

    fn commit(&self, commit: Commit) -> PortFuture<CommitOutcome> {
        self.run(|store| async move { store.commit_now(commit).await.unwrap_or_else(CommitOutcome::Failed) })
    }

    fn deliver(&self, instance: &InstanceId, incarnation: Option<Incarnation>, message: Message) -> PortFuture<StoreResult<Delivered>> {
        let instance = instance.clone();
        self.run(|store| async move { store.deliver_now(&instance, incarnation, &message).await })
    }

    fn list(&self, query: ListQuery, token: Option<PageToken>) -> PortFuture<StoreResult<Page>> {
        self.run(|store| async move { store.list_now(&query, token.as_ref()).await })
    }

    fn history(&self, instance: &InstanceId, incarnation: Incarnation, execution: u32, range: Range<u64>) -> PortFuture<StoreResult<Vec<EventBytes>>> {
        let instance = instance.clone();
        self.run(|store| async move { store.history_now(&instance, incarnation, execution, range).await })
    }

    fn purge_begin(&self, instance: &InstanceId) -> PortFuture<StoreResult<Purge>> {
        let instance = instance.clone();
        self.run(|store| async move { store.purge_begin_now(&instance).await })
    }

    fn purge_step(&self, instance: &InstanceId, incarnation: Incarnation) -> PortFuture<StoreResult<Purge>> {
        let instance = instance.clone();
        self.run(|store| async move { store.purge_step_now(&instance, incarnation).await })
    }
}

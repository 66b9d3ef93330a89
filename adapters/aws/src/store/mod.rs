//! The DynamoDB store: one table, in which an instance is one item that every turn writes, and rows for what is large.
//!
//! Messages to other instances are not part of a commit: they stand in the header's outbox, for whoever drives the instance. Work that a write
//! leaves behind is marked in the item itself ([`WORK`]), so the table's stream, filtered by that mark, tells of it: nothing can be lost
//! between two writes.
//!
//! | operation | crash | what is durable | who goes on |
//! | --- | --- | --- | --- |
//! | create | rows written, item not | rows that nothing names | the caller was not answered and asks again; nobody meets those rows |
//! | | item written | the instance, with its mark | the stream; a repeat is told that it exists |
//! | create over an ended life | item written, old rows not removed | the new life; the old one's name in `d` | whoever loads next removes them |
//! | commit | rows written (spilled, sealed, big), item not | rows that nothing names; sealed ones are named by the next who seals | the driver's wake-up; the turn is made again |
//! | | item written, unneeded rows not removed | the turn | nobody needs to: a purge removes them |
//! | commit with a fault | the row that names it written, item not | a row that leads to a sound instance | whoever walks those rows looks and finds nothing |
//! | seal | chunk written, item not | the same events twice: in the chunk and in the tail | readers take what the item names and drop what overlaps |
//! | deliver | body written, item not | rows that nothing names | the sender was not answered and asks again; a purge removes them |
//! | keyed deliver | one transaction | both or nothing | the sender asks again and is told |
//! | purge | item marked, rows or item left | the instance is unknown; it stands in the index | another purge, a start with that id, or a walk over the index |
//!
//! Times by which rows expire are no promise: whatever must be forgotten at a time is compared with that time when it is read.
//!
//! Must never: let the SDK repeat a write, answer one whose outcome is not known as done or as not done, or change the revision for a message.

mod attrs;
mod big;
mod call;
mod capacity;
mod commit;
mod create;
mod deliver;
mod expr;
mod faults;
mod history;
mod item;
mod keys;
mod list;
mod load;
mod peek;
mod purge;
mod rows;
mod runs;
mod senders;
mod spill;
mod table;
mod write;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use durable::Timestamp;
use durable::history::EventBytes;
use durable::ids::{EffectId, Incarnation, InstanceId};
use durable::message::Message;
use durable::ports::{
    Commit, CommitOutcome, Create, Created, Delivered, Known, ListQuery, Loaded, Page, PageToken, PortFuture, Purge, StatusRecord, Store, StoreResult,
};

use durable_host::Peeked;
use durable_host::stores::CloudStore;

use capacity::Counters;
use keys::Hub;

pub use capacity::{Capacity, Operation, Used};
pub use keys::BadHub;
pub use table::{EXPIRES, LIST_INDEX, TABLE_VARIABLE, create_table, time_to_live};

/// The attribute that is there if something is left to do: what the stream is filtered by. Its value is the number 1.
pub const WORK: &str = "w";
/// The attribute with the life of an instance: 8 bytes.
pub const INCARNATION: &str = "i";
/// The attribute with the revision of an instance: a number.
pub const REVISION: &str = "r";
/// Where the ids of the messages that wait stand in an item in DynamoDB's JSON: a list.
pub const INBOX: &str = "/q/L";
/// The attribute with the id of an instance, if its key does not hold all of it.
pub const ID: &str = "n";

/// The attribute that is there if the last write made an instance busy for longer than it was. Its value is the number 1.
pub const RAISED: &str = "j";

/// How to use a table.
#[derive(Debug, Clone)]
pub struct Options {
    /// The table.
    pub table: String,
    /// The task hub in it.
    pub hub: String,
    /// How long one call of the store may take with its repeats, unless a deadline comes first.
    pub patience: Duration,
    /// How long one request may take before its outcome counts as unknown.
    pub attempt: Duration,
}

impl Options {
    /// The usual options.
    #[must_use]
    pub fn new(table: impl Into<String>, hub: impl Into<String>) -> Self {
        Self { table: table.into(), hub: hub.into(), patience: Duration::from_secs(10), attempt: Duration::from_secs(5) }
    }
}

/// A store in a DynamoDB table. Clones share connections and counters. Its futures need a Tokio runtime.
#[derive(Debug, Clone)]
pub struct DynamoStore {
    inner: Arc<Inner>,
    deadline: Option<Instant>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    table: String,
    hub: Hub,
    /// Tells tokens of this store from those of any other.
    number: u64,
    counters: Counters,
    patience: Duration,
    attempt: Duration,
}

static STORES: AtomicU64 = AtomicU64::new(1);

impl DynamoStore {
    /// A store in a table that is there. Makes no call. Connections are those of the client; its retries are not used, see [`quiet`].
    ///
    /// # Errors
    /// [`BadHub`] if no task hub can have that name.
    pub fn new(client: &Client, options: Options) -> Result<Self, BadHub> {
        let Options { table, hub, patience, attempt } = options;
        let (client, hub, number) = (Client::from_conf(quiet(client.config().to_builder()).build()), Hub::new(&hub)?, STORES.fetch_add(1, Ordering::Relaxed));
        let inner = Inner { client, table, hub, number, counters: Counters::default(), patience, attempt };
        Ok(Self { inner: Arc::new(inner), deadline: None })
    }

    /// The same store for one invocation: no request is sent after `deadline`, nor waited for.
    #[must_use]
    pub fn with_deadline(&self, deadline: Instant) -> Self {
        Self { inner: Arc::clone(&self.inner), deadline: Some(deadline) }
    }

    /// What has been asked of the table so far, and what that is billed.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.inner.counters.snapshot()
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

/// Settings of a client with which nothing is repeated behind the store's back: a write that is repeated after its answer was lost fails
/// against itself, and is taken for lost. The store repeats what may be repeated.
#[must_use]
pub fn quiet(config: aws_sdk_dynamodb::config::Builder) -> aws_sdk_dynamodb::config::Builder {
    let connect = TimeoutConfig::builder().connect_timeout(Duration::from_secs(2)).build();
    config.retry_config(RetryConfig::disabled()).timeout_config(connect)
}

impl Store for DynamoStore {
    fn delivers_atomically(&self) -> bool {
        false
    }

    fn create(&self, create: Create) -> PortFuture<StoreResult<Created>> {
        self.run(|store| async move { store.create_now(create).await })
    }

    fn load(&self, instance: &InstanceId, known: Option<Known>) -> PortFuture<StoreResult<Option<Loaded>>> {
        let instance = instance.clone();
        self.run(|store| async move { store.load_now(&instance, known).await })
    }

    fn status(&self, instance: &InstanceId) -> PortFuture<StoreResult<Option<StatusRecord>>> {
        let instance = instance.clone();
        self.run(|store| async move { store.status_now(&instance).await })
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

impl CloudStore for DynamoStore {
    /// Half a read unit and perhaps a moment behind, or one unit.
    fn peek(&self, instance: &InstanceId, consistent: bool) -> PortFuture<StoreResult<Option<Peeked>>> {
        let instance = instance.clone();
        self.run(move |store| async move { store.look_at(&instance, consistent).await })
    }

    fn claim_run(&self, effect: &EffectId, attempt: u32, run: &str, until: Timestamp, now: Timestamp) -> PortFuture<StoreResult<bool>> {
        let (effect, run) = (effect.clone(), run.to_owned());
        self.run(move |store| async move { store.claim(&effect, attempt, &run, until, now).await })
    }

    fn faulted(&self, after: Option<&InstanceId>) -> PortFuture<StoreResult<Vec<InstanceId>>> {
        let after = after.cloned();
        self.run(|store| async move { store.faults(after.as_ref()).await })
    }

    fn is_latest_build(&self, build: &str) -> PortFuture<StoreResult<bool>> {
        let build = build.to_owned();
        self.run(|store| async move { store.is_latest(&build).await })
    }

    fn note_build(&self, build: &str) -> PortFuture<StoreResult<()>> {
        let build = build.to_owned();
        self.run(|store| async move { store.note(&build).await })
    }
}

//! The Store port: what every store does, with the same outcomes under the same races.
//!
//! A store keeps, for each instance: its header, its input, output and custom status, its history (opaque events), and its inbox in order
//! of arrival. One revision per instance guards every write; a loser is given the state that won, and never overwrites.

use std::any::Any;
use std::sync::Arc;

use super::PortFuture;
use crate::codec::FormatError;
use crate::header::{Delivery, Header, RuntimeStatus};
use crate::history::EventBytes;
use crate::ids::{Incarnation, InstanceId};
use crate::message::Message;
use crate::payload::Payload;
use crate::time::Timestamp;

/// Store trouble. It never becomes the failure of an instance; the request or wake-up that met it fails and is tried again.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be reached or is busy; nothing was written, or the outcome is not known where the call says so.
    #[error("the store is not available: {0}; try again later")]
    Unavailable(String),
    /// No room left.
    #[error("the store has no room left: {0}; free some space, nothing was written")]
    Full(String),
    /// The store may not be written.
    #[error("the store cannot be written: {0}")]
    ReadOnly(String),
    /// What is stored does not make sense.
    #[error("the store is damaged: {0}; restore it from a copy")]
    Damaged(String),
    /// A record was written by a newer build, or is damaged.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A page token that is not one of this store.
    #[error("the continuation token is not one of this store: list from the beginning, without it")]
    BadPageToken,
    /// More than the store can keep in one record or transaction.
    #[error("{what} has {bytes} bytes, this store keeps at most {max}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}

/// The result of a store call.
pub type StoreResult<T> = Result<T, StoreError>;

/// What a store wants to be handed back with the next commit of the same instance, for its own use.
#[derive(Clone, Default)]
pub struct Token(pub Option<Arc<dyn Any + Send + Sync>>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Token(..)" } else { "Token" })
    }
}

/// When a start may take an id that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReusePolicy {
    /// An ended instance is replaced, a live one refuses (Durable Functions' `NonRunningStates`).
    #[default]
    ReplaceEnded,
    /// Any instance is replaced (Durable Functions' `AnyState`).
    ReplaceAny,
    /// Any instance refuses.
    Never,
}

/// A new instance, with what its first turn did if it was run already.
#[derive(Debug, Clone)]
pub struct Create {
    /// Its id.
    pub instance: InstanceId,
    /// Its header: pending, or as the first turn left it. Its revision is 1 in both cases.
    pub header: Header,
    /// Its input.
    pub input: Payload,
    /// Its output, if the first turn ended it.
    pub output: Option<Payload>,
    /// Its custom status, if the first turn set one.
    pub custom_status: Option<Payload>,
    /// The events of the first turn.
    pub append: Vec<EventBytes>,
    /// What the first turn asks of other instances (see [`Commit::deliveries`]).
    pub deliveries: Vec<Delivery>,
    /// When it may take an id that is in use.
    pub policy: ReusePolicy,
}

/// What came of a [`Create`].
#[derive(Debug)]
pub enum Created {
    /// It is stored.
    Created(Committed),
    /// Another instance has the id, and the policy refuses; or this very instance (same incarnation) is stored already.
    Exists(Box<Loaded>),
}

/// What the caller of `load` holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The life.
    pub incarnation: Incarnation,
    /// The execution.
    pub execution: u32,
    /// The first so many events of its history.
    pub events: u64,
}

/// An instance as it stands.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Its header.
    pub header: Header,
    /// Its input.
    pub input: Payload,
    /// Its custom status.
    pub custom_status: Option<Payload>,
    /// Its output, once it has ended.
    pub output: Option<Payload>,
    /// Messages that nobody has taken, in order.
    pub inbox: Vec<Message>,
    /// Index of the first of `events`: 0, or as many as the caller said it knew.
    pub first_event: u64,
    /// History from there on.
    pub events: Vec<EventBytes>,
    /// For the next commit.
    pub token: Token,
}

/// What a turn writes, all or nothing.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The instance.
    pub instance: InstanceId,
    /// From the load or commit before.
    pub token: Token,
    /// The revision that this commit builds on; any other one stored means that it lost.
    pub base: u64,
    /// The header as it will be: revision `base + 1`, and the new commit id.
    pub header: Header,
    /// True if history begins afresh (continue-as-new): earlier events go, `append` is all there is.
    pub reset: bool,
    /// Events to append.
    pub append: Vec<EventBytes>,
    /// How many messages of the inbox, from its front, this turn has taken.
    pub taken: usize,
    /// Messages taken in this very commit that never stood in the inbox: they count as behind it. Senders in them are remembered as consumed.
    pub direct: Vec<Message>,
    /// What the turn asks of other instances. A store that can, does it in the same transaction and says so with [`Store::delivers_atomically`];
    /// for the others they stand in `header.outbox` and this list is empty.
    pub deliveries: Vec<Delivery>,
    /// The new input (only with `reset`).
    pub input: Option<Payload>,
    /// The output (only with a terminal status). `None` otherwise clears nothing.
    pub output: Option<Payload>,
    /// The new custom status, if it changed.
    pub custom_status: Option<Payload>,
}

impl Commit {
    /// A commit that changes nothing but the header, which bears revision `base + 1`.
    #[must_use]
    pub const fn header_only(instance: InstanceId, token: Token, base: u64, header: Header) -> Self {
        Self {
            instance,
            token,
            base,
            header,
            reset: false,
            append: Vec::new(),
            taken: 0,
            direct: Vec::new(),
            deliveries: Vec::new(),
            input: None,
            output: None,
            custom_status: None,
        }
    }
}

/// What a store tells of a commit that landed.
#[derive(Debug, Clone)]
pub struct Committed {
    /// For the next commit.
    pub token: Token,
    /// What stands in the inbox now, in order (messages that came while the turn ran).
    pub inbox: Vec<Message>,
}

/// What came of a [`Commit`].
#[derive(Debug)]
pub enum CommitOutcome {
    /// It is stored.
    Committed(Committed),
    /// Another driver committed first; this is what stands there now (none: the instance is gone).
    Lost(Option<Box<Loaded>>),
    /// The store gave trouble, and nothing was written.
    Failed(StoreError),
    /// It cannot be told. Load, and compare the commit id.
    Unknown(StoreError),
}

/// What came of a `deliver`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// It stands in the inbox, durably.
    Delivered,
    /// A message with this id (a keyed one within [`crate::limits::KEYED_FOR`]), or with this or a higher number from this sender, has been taken or stands in the inbox. This goes before
    /// `Finished`: whoever repeats a message that was taken is told so.
    Duplicate,
    /// No such instance, or not that life.
    NotFound,
    /// The instance has ended.
    Finished,
    /// The inbox holds as much as it may.
    Full,
}

/// Which instances to list.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Only ids that begin so.
    pub prefix: Option<String>,
    /// Only those created then or later.
    pub created_from: Option<Timestamp>,
    /// Only those created then or earlier.
    pub created_to: Option<Timestamp>,
    /// Only these states; empty means all.
    pub status: Vec<RuntimeStatus>,
    /// At most so many in a page; 0 means the store's default of 100.
    pub top: usize,
}

/// Where a listing goes on. Opaque to callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken(pub String);

/// What people see of an instance.
#[derive(Debug, Clone)]
pub struct StatusRecord {
    /// Its id.
    pub instance: InstanceId,
    /// Its header.
    pub header: Header,
    /// Its input.
    pub input: Payload,
    /// Its output.
    pub output: Option<Payload>,
    /// Its custom status.
    pub custom_status: Option<Payload>,
}

/// One page of a listing, in order of creation. It may be short, or empty, and still have a `next`.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The instances.
    pub items: Vec<StatusRecord>,
    /// Where to go on; none at the end.
    pub next: Option<PageToken>,
}

/// What came of a purge, or a step of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge {
    /// Nothing is left of it.
    Done,
    /// More is left: call `purge_step`.
    More(Incarnation),
    /// No such instance.
    NotFound,
    /// It has not ended.
    NotFinished,
    /// It has ended, and still has messages to hand on to others: drive it first.
    Busy,
}

/// A store. Its calls may be made from any number of threads and processes at a time.
pub trait Store: Send + Sync + 'static {
    /// True if [`Commit::deliveries`] are carried out in the commit's own transaction.
    fn delivers_atomically(&self) -> bool;

    /// Stores a new instance, durably, with its first turn if that was run.
    /// Replacing an ended one removes all of its former life; it needs an empty outbox there.
    fn create(&self, create: Create) -> PortFuture<StoreResult<Created>>;

    /// Reads an instance, strongly consistent, in one round trip. With `known`, only later events if life and execution are the same.
    fn load(&self, instance: &InstanceId, known: Option<Known>) -> PortFuture<StoreResult<Option<Loaded>>>;

    /// Reads what people see of an instance: no history, no inbox.
    fn status(&self, instance: &InstanceId) -> PortFuture<StoreResult<Option<StatusRecord>>>;

    /// Writes a turn, durably, all or nothing, if the revision is still `base` and the life the same.
    fn commit(&self, commit: Commit) -> PortFuture<CommitOutcome>;

    /// Puts a message behind the inbox, durably. It does not change the revision, so it never makes a turn lose.
    fn deliver(&self, instance: &InstanceId, incarnation: Option<Incarnation>, message: Message) -> PortFuture<StoreResult<Delivered>>;

    /// One page of instances, in order of creation. A token of another hub or store is an error.
    fn list(&self, query: ListQuery, token: Option<PageToken>) -> PortFuture<StoreResult<Page>>;

    /// A range of the history of one execution; empty if that execution is not stored any more.
    fn history(&self, instance: &InstanceId, incarnation: Incarnation, execution: u32, range: std::ops::Range<u64>)
    -> PortFuture<StoreResult<Vec<EventBytes>>>;

    /// Begins to remove an ended instance. Once it answers `Done` or `More`, the instance is unknown to all other calls.
    fn purge_begin(&self, instance: &InstanceId) -> PortFuture<StoreResult<Purge>>;

    /// Removes more of what `purge_begin` left.
    fn purge_step(&self, instance: &InstanceId, incarnation: Incarnation) -> PortFuture<StoreResult<Purge>>;
}

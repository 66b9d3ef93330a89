//! Ports: the only things an adapter implements.
//!
//! All are object-safe; their futures are `Send` and own what they need, so that an engine can hold many at a time.

mod store;

use std::future::Future;
use std::pin::Pin;

pub use store::{
    Commit, CommitOutcome, Committed, Create, Created, Delivered, Known, ListQuery, Loaded, Page, PageToken, Purge, ReusePolicy, StatusRecord, Store,
    StoreError, StoreResult, Token,
};

use crate::header::ActivityTask;
use crate::ids::{Incarnation, InstanceId};
use crate::message::Outcome;
use crate::time::Timestamp;

/// A boxed future that owns what it needs.
pub type PortFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// Reads the time and waits for it.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
    /// Ends when `at` has come.
    fn sleep_until(&self, at: Timestamp) -> PortFuture<()>;
}

/// Draws random bytes for incarnations, commit ids and message ids.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the buffer with random bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// Names one alarm: an instance, its life, and the revision that the commit which needs it will have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AlarmKey {
    /// The instance to be looked at.
    pub instance: InstanceId,
    /// Its life.
    pub incarnation: Incarnation,
    /// The revision of the commit.
    pub number: u64,
}

/// What an alarm or wake-up port needs to find one of its own again (at most 200 bytes).
pub type Handle = Vec<u8>;

/// Durable wake-ups at a time.
pub trait Alarms: Send + Sync + 'static {
    /// Makes a durable promise that the instance is looked at soon after `at`. Called before the commit that needs it.
    fn arm(&self, key: AlarmKey, at: Timestamp) -> PortFuture<Result<Handle, StoreError>>;
    /// Takes an alarm back if that is cheap. Best effort.
    fn disarm(&self, handle: Handle) -> PortFuture<()>;
    /// True if the store's own record of due times is the durable promise (an index that a restart reads). Then nothing is armed before a
    /// commit and no handle is kept; [`Alarms::moved`] is told after it.
    fn kept_by_store(&self) -> bool {
        false
    }
    /// A commit has landed that moved an instance's due time. Only told where the store keeps the alarms.
    fn moved(&self, _instance: &InstanceId, _from: Option<Timestamp>, _to: Option<Timestamp>) {}
}

/// The safety net behind a driver: a durable wake-up that exists from before a commit until its drive is done.
///
/// Nothing to do where the store itself names what is left (SQLite, DynamoDB Streams).
pub trait Wake: Send + Sync + 'static {
    /// Makes sure that somebody looks at the instance if this driver dies before `release`. Called before a commit that leaves work.
    fn cover(&self, instance: &InstanceId, incarnation: Incarnation, revision: u64, until: Timestamp) -> PortFuture<Result<Handle, StoreError>>;
    /// The drive is done: the wake-up is not needed any more. Best effort.
    fn release(&self, handle: Handle) -> PortFuture<()>;
}

/// Where an attempt of an activity is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// By the driver that scheduled it.
    Here,
    /// By another worker, which has until then to end it. Nobody else runs it before.
    Elsewhere(Timestamp),
}

/// Runs activities: in place, on a pool, or on another worker.
pub trait Dispatch: Send + Sync + 'static {
    /// Where an attempt is to be run. Asked once for each, before the commit that schedules or claims it.
    fn place(&self, _task: &ActivityTask) -> Place {
        Place::Here
    }

    /// Runs one attempt and ends with its outcome, which is never a panic. Dropping the future may abandon the attempt.
    fn run(&self, task: ActivityTask) -> PortFuture<Outcome>;

    /// Gives an attempt that is to be run elsewhere to its worker; that one delivers the outcome. If this fails, the attempt is made again once
    /// the time is over that [`Place::Elsewhere`] gave it.
    fn hand_on(&self, task: ActivityTask) -> PortFuture<Result<(), StoreError>> {
        Box::pin(std::future::ready(Err(StoreError::Unavailable(format!("there is no other worker for activity `{}`", task.name)))))
    }
}

/// By what a first turn is known again in the next process: what runs it, and what it runs on, both in one build. Hashes, so that a note of
/// them has a fixed size; those of another build match nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstTurn {
    /// The build and the orchestrator.
    pub orchestrator: u64,
    /// The build, the orchestrator and the input.
    pub start: u64,
}

/// Watches turns from outside: a turn that never comes back, or takes the process with it, is found by what was noted here.
pub trait TurnGuard: Send + Sync + 'static {
    /// This shard is about to run user code for this instance, with the revision it stands at.
    fn enter(&self, shard: usize, instance: &InstanceId, incarnation: Incarnation, revision: u64);
    /// The same, for an instance that has no history: it may not be stored yet. If it takes the process with it, the next process hands the
    /// mark to [`crate::Engine::store_first`].
    fn enter_first(&self, shard: usize, instance: &InstanceId, incarnation: Incarnation, _mark: FirstTurn) {
        self.enter(shard, instance, incarnation, 0);
    }
    /// It has come back.
    fn leave(&self, shard: usize);
}

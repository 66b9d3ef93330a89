//! A host whose processes are called with one event at a time and end each call within a limit, where a stream tells of every write, and events are
//! delivered until they are acknowledged: what a call does with each kind of event, and the engine that lives as long as a call.
//!
//! Must never: know which platform that is, or how events travel.

mod alarms;
mod call;
mod dispatch;
mod in_place;
mod invocation;
mod work;

pub use alarms::{AlarmService, InvocationAlarms};
pub use call::{Call, CallError, Seen, Streamed};
pub use dispatch::InvocationDispatch;
pub use in_place::{IN_PLACE, busy_until, in_place_until, must_be_looked_at};
pub use invocation::{Done, Invocation};
pub use work::Work;

use std::sync::Arc;
use std::time::Duration;

use durable::ports::{Entropy, FirstTurn, PortFuture, StoreError, StoreResult, TurnGuard};
use durable::{App, Shard, Timestamp};

use crate::stores::CloudStore;
use crate::{Machine, Running};

/// Takes what is handed on to other calls of the same function.
pub trait Invoker: Send + Sync + 'static {
    /// Sends an event. Once this is done, the platform has it, and tries more than once to have it done.
    fn send(&self, work: Work) -> PortFuture<Result<(), StoreError>>;
}

/// How a function is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The task hub.
    pub hub: String,
    /// The limit of an attempt whose activity names none.
    pub attempt: Duration,
    /// How long an event may wait until its call begins.
    pub queued: Duration,
    /// For how long behind its deadline a call's word counts.
    pub grace: Duration,
    /// How many attempts run within one call at a time at most.
    pub in_place: usize,
    /// Input of an activity that travels with its event at most.
    pub input_bytes: usize,
}

/// What all calls of a process share.
#[derive(Clone)]
pub struct Shared {
    /// The orchestrators and activities.
    pub app: Arc<App>,
    /// What it runs on.
    pub machine: Arc<dyn Machine>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// Watches turns.
    pub guard: Arc<dyn TurnGuard>,
    /// Takes what is handed on.
    pub invoker: Arc<dyn Invoker>,
    /// Where long timers wait.
    pub alarms: Arc<dyn AlarmService>,
    /// First turns that took a process with them: starts like those are stored before they are run.
    pub died: Vec<FirstTurn>,
    /// How it is set up.
    pub setup: Setup,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("setup", &self.setup).finish_non_exhaustive()
    }
}

/// What is around a call.
pub trait Function: Clone {
    /// What all calls share.
    fn shared(&self) -> &Shared;
    /// The store, for what has to be done by then: nothing is asked, nor waited for, after that.
    fn store(&self, by: Timestamp) -> Arc<dyn CloudStore>;
    /// Runs shards beside the call, where they can be given up. The future ends when they have.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if they cannot be run.
    fn run(&self, shards: Vec<Shard>) -> StoreResult<PortFuture<()>>;
    /// Ends when a turn has taken longer than any may.
    fn stuck_turn(&self) -> PortFuture<Running>;
}

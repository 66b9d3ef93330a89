//! The engine: whoever delivers a message drives the instance at once; behind it stands what the store and the wake-up ports promise.
//!
//! Instances hash to shards. A shard is one future on one thread: it owns its live instances, and drives each as load → turn → commit →
//! effects until nothing is left to do. Must never: keep a task, a thread or a timer for an instance that sleeps, or do I/O but through ports.

mod caution;
mod client;
mod drive;
mod effects;
mod request;
mod shard;
mod slot;
mod start;

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_channel::{mpsc, oneshot};

pub use client::{Client, ClientError};
pub use request::{Start, Started};
pub use shard::Shard;

use crate::Timestamp;
use crate::app::App;
use crate::ids::{CommitId, EffectId, Incarnation, InstanceId, MessageId};
use crate::machine::{HANDED_ON, TurnFault};
use crate::message::{Message, Outcome};
use crate::payload::Payload;
use crate::ports::{AlarmKey, Alarms, Clock, Commit, CommitOutcome, Delivered, Dispatch, Entropy, FirstTurn, ReusePolicy, Store, StoreError, TurnGuard, Wake};

/// The adapters that an engine runs on.
#[derive(Clone)]
pub struct Ports {
    /// Where instances are kept.
    pub store: Arc<dyn Store>,
    /// Wake-ups at a time.
    pub alarms: Arc<dyn Alarms>,
    /// The safety net behind drivers.
    pub wake: Arc<dyn Wake>,
    /// Runs activities.
    pub dispatch: Arc<dyn Dispatch>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// Watches turns from outside.
    pub guard: Arc<dyn TurnGuard>,
}

/// How an engine runs.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// How many shards, at least one.
    pub shards: usize,
    /// How many instances each shard keeps in memory between turns.
    pub live_per_shard: usize,
    /// How long a claim on activities lasts: from its commit on, or from the deadline on if there is one.
    pub claim: Duration,
    /// When this driver has to be done, on hosts that limit its time. The host stops the engine by then.
    pub deadline: Option<Timestamp>,
    /// True if no other process can own the store: claims of others are those of the dead.
    pub exclusive: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { shards: 1, live_per_shard: 10_000, claim: Duration::from_secs(60), deadline: None, exclusive: true }
    }
}

/// What somebody wants kept while an instance is driven, and dropped after that.
pub(crate) type Hold = Box<dyn Any + Send>;

/// What clients and ports ask of a shard.
pub(crate) enum Ask {
    /// Start an instance.
    Start(Box<StartAsk>),
    /// Deliver a message, and drive.
    Send { instance: InstanceId, message: Message, reply: oneshot::Sender<Result<(), ClientError>> },
    /// Take in what came of an attempt that was handed on, and drive.
    Ended { instance: InstanceId, life: Incarnation, message: Message },
    /// Look at the instance: something is due, or stands in its inbox.
    Look { instance: InstanceId, inbox: bool, hold: Option<Hold> },
    /// Forget what is in memory of the instance.
    Forget { instance: InstanceId },
    /// Let go of instances that have been idle since the last time.
    Rest,
    /// Tell when nothing is under way.
    WhenIdle(oneshot::Sender<()>),
    /// Name the instances that something is left to do for.
    Unfinished(oneshot::Sender<Vec<InstanceId>>),
    /// Finish what is under way, begin nothing new, and end.
    Stop,
}

pub(crate) struct StartAsk {
    pub instance: InstanceId,
    pub name: String,
    pub version: Option<String>,
    pub input: Payload,
    pub incarnation: Incarnation,
    pub commit_id: CommitId,
    pub policy: ReusePolicy,
    pub reply: oneshot::Sender<Result<(), ClientError>>,
}

/// What all shards and clients of an engine share.
pub(crate) struct Shared {
    pub app: Arc<App>,
    pub ports: Ports,
    pub config: EngineConfig,
    /// This engine, as claims name it.
    pub owner: u64,
    routes: RwLock<Vec<Route>>,
    pub watchers: Watchers,
    caution: caution::Caution,
    stopping: AtomicBool,
}

struct Route {
    asks: mpsc::UnboundedSender<Ask>,
    abandoned: Arc<AtomicBool>,
}

/// An engine: shards to be run, and clients to talk to them.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// Makes an engine and its shards. Each shard must be run by a thread of its own (or all by one, where there is only one).
    #[must_use]
    pub fn new(app: Arc<App>, ports: Ports, config: EngineConfig) -> (Self, Vec<Shard>) {
        let mut owner = [0; 8];
        ports.entropy.fill(&mut owner);
        // No driver bears the name under which attempts are handed on.
        let owner = u64::from_be_bytes(owner).max(HANDED_ON + 1);
        let count = config.shards.max(1);
        let shared = Arc::new(Shared {
            app,
            ports,
            config,
            owner,
            routes: RwLock::new(Vec::new()),
            watchers: Watchers::default(),
            caution: caution::Caution::default(),
            stopping: AtomicBool::new(false),
        });
        let engine = Self { shared };
        let shards = (0..count).map(|index| engine.new_shard(index)).collect();
        (engine, shards)
    }

    fn new_shard(&self, index: usize) -> Shard {
        let (asks, receiver) = mpsc::unbounded();
        let abandoned = Arc::new(AtomicBool::new(false));
        let route = Route { asks, abandoned: abandoned.clone() };
        let mut routes = self.shared.routes.write().unwrap_or_else(PoisonError::into_inner);
        match routes.get_mut(index) {
            Some(old) => {
                old.abandoned.store(true, Ordering::SeqCst);
                *old = route;
            }
            None => routes.push(route),
        }
        Shard::new(self.shared.clone(), index, receiver, abandoned)
    }

    /// Gives up a shard whose thread does not come back from user code, and makes its successor. The old one stores nothing any more;
    /// the host looks again at what the store says is left to do.
    #[must_use]
    pub fn replace_shard(&self, index: usize) -> Shard {
        self.new_shard(index)
    }

    /// A client.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.shared.clone())
    }

    /// Has the instance looked at: an alarm rang, a wake-up came, or the store says that something is left to do.
    /// `inbox` says that its inbox may hold what nobody here has seen.
    pub fn look(&self, instance: &InstanceId, inbox: bool) {
        self.shared.look(instance, inbox);
    }

    /// The same; `hold` is kept until what the instance had to do just now is done (activities run on), and dropped then. So a host can
    /// bound how many instances it has under way at a time.
    pub fn look_holding(&self, instance: &InstanceId, inbox: bool, hold: Box<dyn Any + Send>) {
        self.shared.ask(instance, Ask::Look { instance: instance.clone(), inbox, hold: Some(hold) });
    }

    /// Records a fault from outside of a turn: the host found that user code of this life does not come back, or took the process with it.
    /// History is untouched; the instance is tried again as the fault's kind says.
    ///
    /// # Errors
    /// Store trouble.
    pub async fn record_fault(&self, instance: &InstanceId, incarnation: Incarnation, fault: &TurnFault) -> Result<(), StoreError> {
        let shared = &self.shared;
        let Some(loaded) = shared.ports.store.load(instance, None).await? else { return Ok(()) };
        if loaded.header.incarnation != incarnation || loaded.header.status.is_terminal() {
            return Ok(());
        }
        let now = shared.ports.clock.now();
        let mut header = loaded.header.clone();
        header.fault = Some(fault.record(header.fault.as_ref(), shared.app.build_id(), header.version.as_deref(), now));
        header.revision += 1;
        header.commit_id = shared.commit_id();
        header.updated = now;
        let due = header.due();
        if let Some(at) = due.filter(|_| !shared.ports.alarms.kept_by_store()) {
            let key = AlarmKey { instance: instance.clone(), incarnation, number: header.revision };
            (header.alarm, header.alarm_at) = (Some(shared.ports.alarms.arm(key, at).await?), Some(at));
        }
        let commit = Commit::header_only(instance.clone(), loaded.token, loaded.header.revision, header);
        match shared.ports.store.commit(commit).await {
            CommitOutcome::Committed(_) if shared.ports.alarms.kept_by_store() => shared.ports.alarms.moved(instance, loaded.header.due(), due),
            CommitOutcome::Committed(_) | CommitOutcome::Lost(_) => {}
            CommitOutcome::Failed(trouble) | CommitOutcome::Unknown(trouble) => return Err(trouble),
        }
        shared.watchers.notify(instance);
        Ok(())
    }

    /// Ends when no shard has anything under way: no drive, no activity in place, no later try after store trouble. What others have claimed
    /// is not waited for.
    pub async fn idle(&self) {
        let idle = self.ask_all(Ask::WhenIdle);
        futures_util::future::join_all(idle).await;
    }

    /// The instances that something is left to do for just now: under way, or in store trouble.
    pub async fn unfinished(&self) -> Vec<InstanceId> {
        let left = futures_util::future::join_all(self.ask_all(Ask::Unfinished)).await;
        left.into_iter().flatten().flatten().collect()
    }

    fn ask_all<T>(&self, ask: impl Fn(oneshot::Sender<T>) -> Ask) -> Vec<oneshot::Receiver<T>> {
        let routes = self.shared.routes.read().unwrap_or_else(PoisonError::into_inner);
        let asked = routes.iter().map(|route| {
            let (reply, answer) = oneshot::channel();
            // A shard that is gone drops the question, which ends the wait.
            let _ = route.asks.unbounded_send(ask(reply));
            answer
        });
        asked.collect()
    }

    /// Has every shard let go of the instances that have done nothing since the last such call: they are read again when something comes for
    /// them. A host that lives long calls this now and then, so that those who sleep cost no memory.
    pub fn rest(&self) {
        for route in self.shared.routes.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = route.asks.unbounded_send(Ask::Rest);
        }
    }

    /// Delivers what came of an attempt that had been handed on to this worker. With `drive` the instance is driven too; without, that is left
    /// to whoever the store's own wake-ups call. What comes too late or twice changes nothing.
    ///
    /// # Errors
    /// Store trouble.
    pub async fn activity_ended(&self, effect: &EffectId, attempt: u32, outcome: Outcome, drive: bool) -> Result<Delivered, StoreError> {
        let message = Message::activity_ended(effect, attempt, outcome, self.shared.ports.clock.now());
        let delivered = self.shared.ports.store.deliver(&effect.instance, Some(effect.incarnation), message.clone()).await;
        if matches!(delivered, Ok(Delivered::Finished)) {
            // An instance that has ended may still wait for this end, to be done with everything.
            self.shared.ask(&effect.instance, Ask::Ended { instance: effect.instance.clone(), life: effect.incarnation, message });
        } else if drive {
            // Also after trouble: it may have landed all the same.
            self.look(&effect.instance, true);
        }
        delivered
    }

    /// The last process died in this first turn: starts like it are stored before they are run, so that a client that repeats one does not
    /// end this process too. See [`TurnGuard::enter_first`].
    pub fn store_first(&self, died: FirstTurn) {
        self.shared.caution.mark(died);
    }

    /// Which shard an instance belongs to.
    #[must_use]
    pub fn shard_of(&self, instance: &InstanceId) -> usize {
        self.shared.shard_of(instance)
    }

    /// How many shards there are.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.shared.routes.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The build that runs, as faults name it.
    #[must_use]
    pub fn build_id(&self) -> &str {
        self.shared.app.build_id()
    }

    /// Has every shard finish what is under way and end; requests are refused from now on.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for route in self.shared.routes.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = route.asks.unbounded_send(Ask::Stop);
        }
    }
}

impl Shared {
    pub fn shard_of(&self, instance: &InstanceId) -> usize {
        let shards = self.routes.read().unwrap_or_else(PoisonError::into_inner).len().max(1);
        usize::try_from(xxhash_rust::xxh3::xxh3_64(instance.as_str().as_bytes()) % shards as u64).unwrap_or(0)
    }

    /// Hands an ask to its shard. False if that shard is gone.
    pub fn ask(&self, instance: &InstanceId, ask: Ask) -> bool {
        let index = self.shard_of(instance);
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.get(index).is_some_and(|route| route.asks.unbounded_send(ask).is_ok())
    }

    pub fn look(&self, instance: &InstanceId, inbox: bool) {
        self.ask(instance, Ask::Look { instance: instance.clone(), inbox, hold: None });
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.ports.entropy.fill(&mut bytes);
        bytes
    }

    /// Until when what this driver claims now is its own.
    pub fn claim_until(&self, now: Timestamp) -> Timestamp {
        self.config.deadline.unwrap_or(now).after(self.config.claim)
    }

    pub fn commit_id(&self) -> CommitId {
        CommitId(self.random())
    }

    pub fn message_id(&self) -> MessageId {
        MessageId(self.random())
    }
}

/// Who waits for the next commit of an instance. Nothing is kept for instances that nobody waits for.
#[derive(Default)]
pub(crate) struct Watchers {
    waiting: AtomicUsize,
    by_instance: Mutex<HashMap<InstanceId, Vec<oneshot::Sender<()>>>>,
}

impl Watchers {
    pub fn watch(&self, instance: &InstanceId) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut map = self.by_instance.lock().unwrap_or_else(PoisonError::into_inner);
        map.entry(instance.clone()).or_default().push(sender);
        self.waiting.store(map.len(), Ordering::SeqCst);
        receiver
    }

    /// The instance has changed.
    pub fn notify(&self, instance: &InstanceId) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut map = self.by_instance.lock().unwrap_or_else(PoisonError::into_inner);
        for watcher in map.remove(instance).unwrap_or_default() {
            let _ = watcher.send(());
        }
        self.waiting.store(map.len(), Ordering::SeqCst);
    }

    /// Drops watchers whose waiter has gone.
    pub fn sweep(&self, instance: &InstanceId) {
        let mut map = self.by_instance.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watchers) = map.get_mut(instance) {
            watchers.retain(|watcher| !watcher.is_canceled());
            if watchers.is_empty() {
                map.remove(instance);
            }
        }
        self.waiting.store(map.len(), Ordering::SeqCst);
    }
}

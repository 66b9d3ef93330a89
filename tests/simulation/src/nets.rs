//! The ports of a process on Functions, as `adapters/azure` has them: the safety net, the store with a wake-up before every delivery, alarms that
//! are messages if near and rows if far, and where attempts are made.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use durable::header::{ActivityTask, RuntimeStatus};
use durable::history::EventBytes;
use durable::ids::Incarnation;
use durable::message::{Message, Outcome};
use durable::ports::{
    AlarmKey, Alarms, Commit, CommitOutcome, Create, Created, Delivered, Dispatch, Handle, Known, ListQuery, Loaded, Page, PageToken, Place, PortFuture, Purge,
    StatusRecord, Store, StoreError, StoreResult, Wake,
};
use durable::{InstanceId, Timestamp};
use durable_host::work::{Attempt, Look, Timer};

use crate::call::{Caller, POST, Service};
use crate::happening::Ask;
use crate::process::Process;
use crate::queue::{Letter, Receipt};
use crate::store::Line;
use crate::world::World;

/// A safety net's message is delivered after this.
const SAFETY: Duration = Duration::from_secs(30);
/// A message that is to be seen behind a delivery comes so long after it was put.
const DELAY: Duration = Duration::from_secs(1);
/// Storing that takes longer may be seen too early.
const IN_TIME: Duration = Duration::from_millis(700);
/// A write whose outcome is not known is over by then.
const WHEN_CLEAR: Duration = Duration::from_secs(30);
/// What is due sooner is a message at once.
pub const NEAR: Duration = Duration::from_secs(3600);
/// A commit that has not landed so long after it was prepared never will.
const PROMISED: Duration = Duration::from_secs(30);
const FAR_HANDLE: u8 = b'r';
const QUEUED_HANDLE: u8 = b'q';

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A letter that is new.
#[must_use]
pub const fn letter(ask: Ask) -> Letter {
    Letter { ask, again: false }
}

#[derive(Default)]
struct Nets {
    last: u64,
    newest: BTreeMap<(InstanceId, [u8; 8]), u64>,
    all: BTreeMap<u64, Net>,
}

struct Net {
    of: (InstanceId, [u8; 8]),
    receipt: Receipt,
    delivered: Timestamp,
}

/// The safety nets of one process.
pub struct SafetyNet {
    process: Process,
    nets: Arc<Mutex<Nets>>,
}

impl SafetyNet {
    /// None yet.
    #[must_use]
    pub fn new(process: Process) -> Self {
        Self { process, nets: Arc::default() }
    }
}

impl Wake for SafetyNet {
    fn cover(&self, instance: &InstanceId, incarnation: Incarnation, revision: u64, _: Timestamp) -> PortFuture<Result<Handle, StoreError>> {
        let (of, now) = ((instance.clone(), incarnation.0), self.process.now());
        let serves = {
            let nets = lock(&self.nets);
            let net = nets.newest.get(&of).and_then(|number| nets.all.get(number));
            net.is_some_and(|net| now.until(net.delivered) > SAFETY / 2)
        };
        if serves {
            return Box::pin(std::future::ready(Ok(Handle::new())));
        }
        let look = Look { instance: instance.to_string(), life: incarnation.to_string(), revision, hop: 0, due: None };
        let put = self.process.caller().put(letter(Ask::Look(look)), SAFETY);
        let nets = self.nets.clone();
        Box::pin(async move {
            let receipt = put.await?;
            let mut nets = lock(&nets);
            nets.last += 1;
            let number = nets.last;
            nets.newest.insert(of.clone(), number);
            nets.all.insert(number, Net { of, receipt, delivered: now.after(SAFETY) });
            Ok(number.to_be_bytes().to_vec())
        })
    }

    fn release(&self, handle: Handle) -> PortFuture<()> {
        let receipt = (|| {
            let number = u64::from_be_bytes(handle.as_slice().try_into().ok()?);
            let mut nets = lock(&self.nets);
            let net = nets.all.remove(&number)?;
            if nets.newest.get(&net.of) == Some(&number) {
                nets.newest.remove(&net.of);
            }
            (net.delivered > self.process.now()).then_some(net.receipt)
        })();
        match receipt {
            Some(receipt) => self.process.caller().take_back(receipt),
            None => Box::pin(std::future::ready(())),
        }
    }
}

/// The store with a wake-up before every message that is put into an inbox.
#[derive(Clone)]
pub struct Covered {
    /// The store.
    pub line: Line,
    /// The queue.
    pub caller: Caller,
    /// For how long things take.
    pub world: Arc<World>,
}

impl Covered {
    async fn behind<T>(&self, look: Look, write: PortFuture<StoreResult<T>>, needs_one: impl FnOnce(&T) -> bool) -> StoreResult<T> {
        let ask = Ask::Look(look);
        let begun = self.world.now();
        self.caller.put(letter(ask.clone()), DELAY).await?;
        match write.await {
            Ok(done) if begun.until(self.world.now()) > IN_TIME && needs_one(&done) => self.caller.put(letter(ask), DELAY).await.map(|_| done),
            Ok(done) => Ok(done),
            Err(trouble) => {
                drop(self.caller.put(letter(ask), WHEN_CLEAR).await);
                Err(trouble)
            }
        }
    }
}

fn look(instance: &InstanceId, life: Option<Incarnation>, revision: u64) -> Look {
    Look { instance: instance.to_string(), life: life.map(|life| life.to_string()).unwrap_or_default(), revision, hop: 0, due: None }
}

impl Store for Covered {
    fn delivers_atomically(&self) -> bool {
        self.line.delivers_atomically()
    }

    fn create(&self, create: Create) -> PortFuture<StoreResult<Created>> {
        if create.header.status != RuntimeStatus::Pending || create.header.fault.is_some() {
            return self.line.create(create);
        }
        let (covered, look) = (self.clone(), look(&create.instance, Some(create.header.incarnation), create.header.revision));
        Box::pin(async move { covered.behind(look, covered.line.create(create), |created| matches!(created, Created::Created(_))).await })
    }

    fn load(&self, instance: &InstanceId, known: Option<Known>) -> PortFuture<StoreResult<Option<Loaded>>> {
        self.line.load(instance, known)
    }

    fn status(&self, instance: &InstanceId) -> PortFuture<StoreResult<Option<StatusRecord>>> {
        self.line.status(instance)
    }

    fn commit(&self, commit: Commit) -> PortFuture<CommitOutcome> {
        self.line.commit(commit)
    }

    fn deliver(&self, instance: &InstanceId, incarnation: Option<Incarnation>, message: Message) -> PortFuture<StoreResult<Delivered>> {
        let (covered, instance, look) = (self.clone(), instance.clone(), look(instance, incarnation, 0));
        Box::pin(async move {
            let write = covered.line.deliver(&instance, incarnation, message);
            covered.behind(look, write, |delivered| *delivered == Delivered::Delivered).await
        })
    }

    fn list(&self, query: ListQuery, token: Option<PageToken>) -> PortFuture<StoreResult<Page>> {
        self.line.list(query, token)
    }

    fn history(&self, instance: &InstanceId, incarnation: Incarnation, execution: u32, range: Range<u64>) -> PortFuture<StoreResult<Vec<EventBytes>>> {
        self.line.history(instance, incarnation, execution, range)
    }

    fn purge_begin(&self, instance: &InstanceId) -> PortFuture<StoreResult<Purge>> {
        self.line.purge_begin(instance)
    }

    fn purge_step(&self, instance: &InstanceId, incarnation: Incarnation) -> PortFuture<StoreResult<Purge>> {
        self.line.purge_step(instance, incarnation)
    }
}

/// The alarms of one process.
pub struct HostAlarms {
    /// The process.
    pub process: Process,
}

fn handle(kind: u8, at: Timestamp, receipt: Receipt) -> Handle {
    [&[kind][..], &at.0.to_be_bytes(), &receipt.0.to_be_bytes(), &receipt.1.to_be_bytes()].concat()
}

impl Alarms for HostAlarms {
    fn arm(&self, key: AlarmKey, at: Timestamp) -> PortFuture<Result<Handle, StoreError>> {
        let (now, process) = (self.process.now(), self.process.clone());
        let (instance, life) = (key.instance.to_string(), key.incarnation.to_string());
        let timer = Timer { instance, life, revision: key.number, due: at, armed: now };
        if now.until(at) > NEAR {
            let world = process.world.clone();
            return process.caller().call(Service::Post, POST, Err, move |_| {
                let mut state = world.state();
                let number = state.number();
                state.queue.far.insert((at, number), timer);
                state.plan_hour();
                Ok(handle(FAR_HANDLE, at, (number, 0)))
            });
        }
        let put = process.caller().put(letter(Ask::Timer(timer)), now.until(at));
        Box::pin(async move {
            let receipt = put.await?;
            process.ring(key.instance, at);
            Ok(handle(QUEUED_HANDLE, at, receipt))
        })
    }

    fn disarm(&self, handle: Handle) -> PortFuture<()> {
        let number = |from: usize| handle.get(from..from + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        let (Some(at), Some(first), Some(second)) = (number(1), number(9), number(17)) else { return Box::pin(std::future::ready(())) };
        let at = Timestamp(at.cast_signed());
        if at <= self.process.now() {
            return Box::pin(std::future::ready(()));
        }
        if handle.first() == Some(&FAR_HANDLE) {
            let world = self.process.world.clone();
            return self.process.caller().call(
                Service::Post,
                POST,
                |_| (),
                move |_| {
                    world.state().queue.far.remove(&(at, first));
                },
            );
        }
        self.process.caller().take_back((first, second))
    }
}

/// How long attempts may take, and where.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The limit of an attempt whose activity names none.
    pub attempt: Duration,
    /// An attempt whose limit is longer is handed on.
    pub in_place: Duration,
    /// No attempt is longer than this.
    pub longest: Duration,
    /// So many run in place at a time.
    pub at_a_time: usize,
    /// How long a message may wait until somebody is given it.
    pub queued: Duration,
    /// For how long behind its limit a worker's word counts.
    pub grace: Duration,
}

impl Limits {
    /// The usual ones, but for the longest attempt in place.
    #[must_use]
    pub const fn new(in_place: Duration) -> Self {
        let s = Duration::from_secs;
        Self { attempt: s(30), in_place, longest: s(570), at_a_time: 3, queued: s(600), grace: s(15) }
    }
}

type Key = (String, u32);

#[derive(Default)]
struct Places {
    running: BTreeSet<Key>,
    promised: BTreeMap<Key, Timestamp>,
}

struct Taken {
    key: Key,
    places: Arc<Mutex<Places>>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        lock(&self.places).running.remove(&self.key);
    }
}

/// Runs and hands on the activities of one process.
pub struct HostDispatch {
    process: Process,
    limits: Limits,
    places: Arc<Mutex<Places>>,
}

impl HostDispatch {
    /// Of this process.
    #[must_use]
    pub fn new(process: Process, limits: Limits) -> Self {
        Self { process, limits, places: Arc::default() }
    }

    fn limit(&self, task: &ActivityTask) -> Duration {
        task.timeout.unwrap_or(self.limits.attempt).min(self.limits.longest)
    }

    fn promise(&self, task: &ActivityTask, now: Timestamp) -> bool {
        let (key, mut places) = ((task.effect.to_string(), task.attempt), lock(&self.places));
        places.promised.retain(|_, until| *until > now);
        let has_one = places.running.contains(&key) || places.promised.contains_key(&key);
        let room = has_one || places.running.len() + places.promised.len() < self.limits.at_a_time;
        if room {
            places.promised.insert(key, now.after(PROMISED));
        }
        room
    }
}

impl Dispatch for HostDispatch {
    fn place(&self, task: &ActivityTask) -> Place {
        let (limit, now) = (self.limit(task), self.process.now());
        if limit > self.limits.in_place || !self.promise(task, now) {
            return Place::Elsewhere(now.after(self.limits.queued + limit + self.limits.grace));
        }
        Place::Here
    }

    fn run(&self, task: ActivityTask) -> PortFuture<Outcome> {
        let key = (task.effect.to_string(), task.attempt);
        {
            let mut places = lock(&self.places);
            places.promised.remove(&key);
            places.running.insert(key.clone());
        }
        let taken = Taken { key, places: self.places.clone() };
        let run = self.process.attempt(task.clone(), self.limit(&task));
        Box::pin(async move {
            let _taken = taken;
            run.await
        })
    }

    fn hand_on(&self, task: ActivityTask) -> PortFuture<Result<(), StoreError>> {
        let limit = u64::try_from(self.limit(&task).as_millis()).unwrap_or(u64::MAX);
        // Every second input is too large to travel.
        let bytes = if task.effect.sequence.is_multiple_of(2) { 0 } else { usize::MAX };
        let put = self.process.caller().put(letter(Ask::Activity(Attempt::of(&task, limit, false, bytes))), Duration::ZERO);
        Box::pin(async move { put.await.map(drop) })
    }
}

//! One invocation's engine, as `adapters/aws` has it: made for it, stopped with it; short timers are waited for in place.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use durable::header::ActivityTask;
use durable::message::Outcome;
use durable::ports::{AlarmKey, Alarms, Dispatch, Handle, Place, PortFuture, StoreError};
use durable::{Engine, EngineConfig, InstanceId, Ports, Shard, Timestamp};
use durable_host::work::{Attempt, Timer};
use futures_util::future::{BoxFuture, Either, select};

use crate::ended::{Ended, wait_for};
use crate::happening::{Ask, Way};
use crate::invoked::Called;
use crate::lambda::{send, whole_seconds_up};
use crate::process::{Around, NoWake, Process, run_all};

/// What is kept of an invocation's time for its end.
const KEPT: Duration = Duration::from_secs(3);
/// What is due sooner than this is waited for in place.
const SOON: Duration = Duration::from_secs(10);
/// What an attempt or an alarm in place has to leave of the invocation.
const LEAVES: Duration = Duration::from_secs(5);
/// However short invocations are, an attempt gets so much.
const LEAST: Duration = Duration::from_secs(1);
/// How many attempts handed on by one invocation count as a few.
const A_FEW: usize = 8;

/// How the function is set up.
#[derive(Debug, Clone)]
pub struct Platform {
    /// What an invocation has.
    pub whole: Duration,
    /// The limit of an attempt whose activity names none.
    pub attempt: Duration,
    /// How long an event may wait until its invocation begins.
    pub queued: Duration,
    /// For how long behind its deadline an invocation's word counts.
    pub grace: Duration,
    /// How many attempts run in place.
    pub in_place: usize,
}

impl Platform {
    /// The usual settings.
    #[must_use]
    pub const fn new(whole: Duration) -> Self {
        Self { whole, attempt: Duration::from_secs(30), queued: Duration::from_secs(60), grace: Duration::from_secs(15), in_place: 3 }
    }
}

/// An engine for as long as one invocation.
pub struct Invocation {
    /// The engine.
    pub engine: Engine,
    /// By then everything of it has to be done.
    pub deadline: Timestamp,
    alarms: Arc<InvocationAlarms>,
    process: Process,
    ended: BoxFuture<'static, ()>,
}

struct InvocationAlarms {
    process: Process,
    deadline: Timestamp,
    until: Timestamp,
    in_place: Mutex<BTreeSet<(Timestamp, InstanceId)>>,
}

impl InvocationAlarms {
    fn waiting(&self) -> MutexGuard<'_, BTreeSet<(Timestamp, InstanceId)>> {
        self.in_place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_in_place(&self) -> Option<Timestamp> {
        self.waiting().first().map(|(at, _)| *at)
    }

    fn take_due(&self, now: Timestamp) -> Vec<InstanceId> {
        let mut waiting = self.waiting();
        let mut due = Vec::new();
        while waiting.first().is_some_and(|(at, _)| *at <= now) {
            due.extend(waiting.pop_first().map(|(_, instance)| instance));
        }
        due
    }
}

impl Alarms for InvocationAlarms {
    fn arm(&self, key: AlarmKey, at: Timestamp) -> PortFuture<Result<Handle, StoreError>> {
        let now = self.process.now();
        if now.until(at) <= SOON && at.after(LEAVES) <= self.deadline {
            self.waiting().insert((at, key.instance));
            let handle = [&b"i"[..], &self.until.0.to_be_bytes()].concat();
            return Box::pin(std::future::ready(Ok(handle)));
        }
        let (instance, life) = (key.instance.to_string(), key.incarnation.to_string());
        let timer = Timer { instance, life, revision: key.number, due: at, armed: now };
        let armed = arm(&self.process, timer);
        Box::pin(async move {
            armed.await?;
            Ok([b"s", &at.0.to_be_bytes()[..]].concat())
        })
    }

    fn disarm(&self, _: Handle) -> PortFuture<()> {
        // One that is not stopped rings for nothing, which is worse.
        Box::pin(std::future::ready(()))
    }
}

/// Has a timer's event come when it is due by the service's clock.
pub fn arm(process: &Process, timer: Timer) -> PortFuture<Result<(), StoreError>> {
    let after = process.world.now().until(whole_seconds_up(timer.due));
    send(process, Ask::Timer(timer), Way::StateMachine, after)
}

struct InvocationDispatch {
    process: Process,
    platform: Platform,
    deadline: Timestamp,
    here: Arc<AtomicUsize>,
    elsewhere: AtomicUsize,
}

impl InvocationDispatch {
    fn limit(&self, task: &ActivityTask) -> Duration {
        task.timeout.unwrap_or(self.platform.attempt).min(self.platform.whole.saturating_sub(LEAVES + LEAVES).max(LEAST))
    }
}

impl Dispatch for InvocationDispatch {
    fn place(&self, task: &ActivityTask) -> Place {
        let (limit, now) = (self.limit(task), self.process.now());
        let fits = now.after(limit + LEAVES) <= self.deadline;
        let room = |here: usize| (here < self.platform.in_place).then_some(here + 1);
        if fits && self.here.fetch_update(Ordering::SeqCst, Ordering::SeqCst, room).is_ok() {
            return Place::Here;
        }
        self.elsewhere.fetch_add(1, Ordering::SeqCst);
        Place::Elsewhere(now.after(self.platform.queued + limit + self.platform.grace))
    }

    fn run(&self, task: ActivityTask) -> PortFuture<Outcome> {
        let limit = self.limit(&task);
        let (run, here) = (self.process.attempt(task, limit), self.here.clone());
        Box::pin(async move {
            let outcome = run.await;
            let _ = here.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |here| here.checked_sub(1));
            outcome
        })
    }

    fn hand_on(&self, task: ActivityTask) -> PortFuture<Result<(), StoreError>> {
        let limit = u64::try_from(self.limit(&task).as_millis()).unwrap_or(u64::MAX);
        // Every second input is too large to travel.
        let bytes = if task.effect.sequence.is_multiple_of(2) { 0 } else { usize::MAX };
        let attempt = Attempt::of(&task, limit, self.elsewhere.load(Ordering::SeqCst) > A_FEW, bytes);
        send(&self.process, Ask::Activity(attempt), Way::Asynchronous, Duration::ZERO)
    }
}

impl Invocation {
    /// Begins one for a call.
    #[must_use]
    pub fn begin(called: &Called) -> Self {
        let process = called.process.clone();
        let (now, whole, grace) = (process.now(), called.platform.whole, called.platform.grace);
        let deadline = now.after(now.until(called.limit).saturating_sub(KEPT.min(whole / 4)));
        let alarms = Arc::new(InvocationAlarms { process: process.clone(), deadline, until: deadline.after(grace), in_place: Mutex::default() });
        let dispatch =
            InvocationDispatch { process: process.clone(), platform: called.platform.clone(), deadline, here: Arc::default(), elsewhere: AtomicUsize::new(0) };
        let shared = Arc::new(process.clone());
        let ports = Ports {
            store: Arc::new(process.line()),
            alarms: alarms.clone(),
            wake: Arc::new(NoWake),
            dispatch: Arc::new(dispatch),
            clock: shared.clone(),
            entropy: shared.clone(),
            guard: shared,
        };
        let config = EngineConfig { exclusive: false, deadline: Some(deadline), claim: grace, ..EngineConfig::default() };
        let (engine, shards) = Engine::new(process.build.app.clone(), ports, config);
        let ended = run_beside(&called.around, process.number, shards);
        Self { engine, deadline, alarms, process, ended }
    }

    /// Drives until nothing is left to do or the time is over, and ends. Gives what is unfinished.
    pub async fn finish(self) -> Vec<InstanceId> {
        let end = self.process.world.sleep(self.process.now().until(self.deadline));
        select(Box::pin(self.until_idle()), end).await;
        let mut unfinished = self.engine.unfinished().await;
        // The engine names them in no order.
        unfinished.sort();
        self.engine.stop();
        let moment = self.process.world.sleep(Duration::from_secs(1));
        let Self { engine, ended, .. } = self;
        if let Either::Right(_) = select(ended, moment).await {
            drop(engine.replace_shard(0));
        }
        unfinished
    }

    async fn until_idle(&self) {
        loop {
            self.engine.idle().await;
            let Some(at) = self.alarms.next_in_place() else { return };
            self.process.world.sleep(self.process.now().until(at)).await;
            for instance in self.alarms.take_due(self.process.now()) {
                self.engine.look(&instance, false);
            }
        }
    }
}

/// Runs shards beside their process, and tells of their end.
fn run_beside(around: &Rc<Around>, process: u32, shards: Vec<Shard>) -> BoxFuture<'static, ()> {
    let ended = Arc::new(Ended::default());
    let told = ended.clone();
    around.spawn(process, async move {
        run_all(shards).await;
        told.tell();
    });
    Box::pin(wait_for(ended))
}

//! What outlives a crash of the simulated process, and the ports that reach it: virtual time, random bytes, alarms, and which activities ran.
//!
//! Must never: read the real clock or a real source of randomness.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use durable::header::ActivityTask;
use durable::ids::Incarnation;
use durable::message::Outcome;
use durable::ports::{AlarmKey, Alarms, Clock, Dispatch, Entropy, Handle, Place, PortFuture, StoreError, TurnGuard, Wake};
use durable::{App, InstanceId, Timestamp};

use crate::build::{Random, at};

/// Everything outside the simulated process but its store.
pub struct World(Mutex<State>);

struct State {
    now: Timestamp,
    /// Decides the order of things: which task is polled, how long a call takes.
    random: Random,
    /// Random bytes for the engine, apart from the order of things.
    bytes: Random,
    sleepers: BTreeMap<(Timestamp, u64), Waker>,
    alarms: BTreeMap<(Timestamp, u64), AlarmKey>,
    numbers: u64,
    crash: bool,
    slowest_call: Duration,
    slowest_activity: Duration,
    /// Activities that take exactly this long.
    slow: BTreeMap<String, Duration>,
    /// How many attempts of each effect were begun, by its text.
    runs: BTreeMap<String, u32>,
    covers: BTreeMap<u64, InstanceId>,
    /// Attempts that were handed on, by when their worker begins. They outlive the process.
    handed_on: BTreeMap<(Timestamp, u64), ActivityTask>,
}

/// How long a worker has for an attempt that is handed on to it.
const WORKER_HAS: Duration = Duration::from_secs(120);

/// What time brings.
#[derive(Default)]
pub struct Come {
    /// Alarms that ring.
    pub alarms: Vec<AlarmKey>,
    /// Attempts whose workers begin.
    pub attempts: Vec<ActivityTask>,
}

impl World {
    /// A world in which all that is random follows from the seed.
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            now: at(0),
            random: Random::new(seed ^ 0x51d5),
            bytes: Random::new(seed.wrapping_add(77)),
            sleepers: BTreeMap::new(),
            alarms: BTreeMap::new(),
            numbers: 0,
            crash: false,
            slowest_call: Duration::ZERO,
            slowest_activity: Duration::from_millis(100),
            slow: BTreeMap::new(),
            runs: BTreeMap::new(),
            covers: BTreeMap::new(),
            handed_on: BTreeMap::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.state().now
    }

    /// A number below `limit`.
    pub fn below(&self, limit: u64) -> u64 {
        self.state().random.below(limit.max(1))
    }

    /// True about once in `times`.
    pub fn once_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Store calls take up to this long, before and after they happen.
    pub fn slow_calls(&self, slowest: Duration) {
        self.state().slowest_call = slowest;
    }

    /// Activities take up to this long.
    pub fn slow_activities(&self, slowest: Duration) {
        self.state().slowest_activity = slowest;
    }

    /// The activity of this name takes exactly this long.
    pub fn slow(&self, activity: &str, takes: Duration) {
        self.state().slow.insert(activity.to_owned(), takes);
    }

    /// The process dies as soon as the code that runs now comes back.
    pub fn ask_for_crash(&self) {
        self.state().crash = true;
    }

    /// True once after [`World::ask_for_crash`].
    pub fn take_crash(&self) -> bool {
        std::mem::take(&mut self.state().crash)
    }

    /// When the next sleeper, alarm or worker is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let state = self.state();
        let sleeper = state.sleepers.keys().next().map(|(at, _)| *at);
        let alarm = state.alarms.keys().next().map(|(at, _)| *at);
        let worker = state.handed_on.keys().next().map(|(at, _)| *at);
        sleeper.into_iter().chain(alarm).chain(worker).min()
    }

    /// Time passes up to `to` (never back). Sleepers wake, and what rings or begins is given back.
    pub fn advance_to(&self, to: Timestamp) -> Come {
        let mut woken = Vec::new();
        let mut come = Come::default();
        {
            let mut state = self.state();
            state.now = state.now.max(to);
            let now = state.now;
            while let Some(entry) = state.sleepers.first_entry().filter(|e| e.key().0 <= now) {
                woken.push(entry.remove());
            }
            while let Some(entry) = state.alarms.first_entry().filter(|e| e.key().0 <= now) {
                come.alarms.push(entry.remove());
            }
            while let Some(entry) = state.handed_on.first_entry().filter(|e| e.key().0 <= now) {
                come.attempts.push(entry.remove());
            }
        }
        woken.into_iter().for_each(Waker::wake);
        come
    }

    /// A worker is to begin this attempt after a while.
    pub fn queue(&self, task: ActivityTask, after: Duration) {
        let mut state = self.state();
        state.numbers += 1;
        let place = (state.now.after(after), state.numbers);
        state.handed_on.insert(place, task);
    }

    /// Workers die before they begin: nobody makes what was handed on. How much that was.
    pub fn lose_workers(&self) -> usize {
        std::mem::take(&mut self.state().handed_on).len()
    }

    /// Alarms that have been armed and have not rung.
    #[must_use]
    pub fn alarms(&self) -> Vec<(Timestamp, InstanceId)> {
        self.state().alarms.iter().map(|((at, _), key)| (*at, key.instance.clone())).collect()
    }

    /// How many attempts of an effect were begun.
    #[must_use]
    pub fn runs_of(&self, effect: &str) -> u32 {
        self.state().runs.get(effect).copied().unwrap_or(0)
    }

    /// Safety nets that are up.
    #[must_use]
    pub fn covers(&self) -> Vec<InstanceId> {
        self.state().covers.values().cloned().collect()
    }

    /// The process is gone: nobody sleeps any more, nets and alarms stay.
    pub fn forget_process(&self) {
        let mut state = self.state();
        state.sleepers.clear();
        state.crash = false;
    }

    /// A pause as long as a store call takes today.
    pub fn call_pause(self: &Arc<Self>) -> Sleep {
        let until = {
            let mut state = self.state();
            let longest = u64::try_from(state.slowest_call.as_micros()).unwrap_or(u64::MAX);
            let pause = if longest == 0 { 0 } else { state.random.below(longest) };
            state.now.after(Duration::from_micros(pause))
        };
        self.sleep_until(until)
    }

    /// Ends when virtual time has come to `until`.
    pub fn sleep_until(self: &Arc<Self>, until: Timestamp) -> Sleep {
        Sleep { world: self.clone(), until, number: None }
    }
}

/// A wait for virtual time.
pub struct Sleep {
    world: Arc<World>,
    until: Timestamp,
    number: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let world = self.world.clone();
        let mut state = world.state();
        if let Some(number) = self.number {
            state.sleepers.remove(&(self.until, number));
        }
        if state.now >= self.until {
            return Poll::Ready(());
        }
        state.numbers += 1;
        let number = state.numbers;
        state.sleepers.insert((self.until, number), cx.waker().clone());
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = self.world.state().sleepers.remove(&(self.until, number));
            drop(waker);
        }
    }
}

/// The ports of one process: they end with it, what they wrote into the world stays.
pub struct Process {
    /// The world.
    pub world: Arc<World>,
    /// The code that this process runs.
    pub app: Arc<App>,
    /// One attempt in so many is handed on to another worker; none if 0.
    pub hands_on: u64,
}

impl Clock for Process {
    fn now(&self) -> Timestamp {
        self.world.now()
    }

    fn sleep_until(&self, at: Timestamp) -> PortFuture<()> {
        Box::pin(self.world.sleep_until(at))
    }
}

impl Entropy for Process {
    fn fill(&self, buffer: &mut [u8]) {
        let mut state = self.world.state();
        for chunk in buffer.chunks_mut(8) {
            let bytes = state.bytes.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

impl Alarms for Process {
    fn arm(&self, key: AlarmKey, at: Timestamp) -> PortFuture<Result<Handle, StoreError>> {
        let world = self.world.clone();
        Box::pin(async move {
            world.call_pause().await;
            let mut state = world.state();
            state.numbers += 1;
            let number = state.numbers;
            state.alarms.insert((at, number), key);
            Ok([at.0.to_be_bytes(), number.to_be_bytes()].concat())
        })
    }

    fn disarm(&self, handle: Handle) -> PortFuture<()> {
        let world = self.world.clone();
        Box::pin(async move {
            let read = |range: std::ops::Range<usize>| handle.get(range).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes);
            if let (Some(at), Some(number)) = (read(0..8), read(8..16)) {
                world.state().alarms.remove(&(Timestamp(at.cast_signed()), number));
            }
        })
    }
}

impl Wake for Process {
    fn cover(&self, instance: &InstanceId, _: Incarnation, _: u64, _: Timestamp) -> PortFuture<Result<Handle, StoreError>> {
        let mut state = self.world.state();
        state.numbers += 1;
        let number = state.numbers;
        state.covers.insert(number, instance.clone());
        Box::pin(async move { Ok(number.to_be_bytes().to_vec()) })
    }

    fn release(&self, handle: Handle) -> PortFuture<()> {
        if let Ok(number) = handle.as_slice().try_into().map(u64::from_be_bytes) {
            self.world.state().covers.remove(&number);
        }
        Box::pin(async {})
    }
}

impl Dispatch for Process {
    fn place(&self, _: &ActivityTask) -> Place {
        if self.hands_on > 0 && self.world.once_in(self.hands_on) { Place::Elsewhere(self.world.now().after(WORKER_HAS)) } else { Place::Here }
    }

    fn hand_on(&self, task: ActivityTask) -> PortFuture<Result<(), StoreError>> {
        let world = self.world.clone();
        Box::pin(async move {
            world.call_pause().await;
            if world.once_in(8) {
                return Err(StoreError::Unavailable("no worker is to be had".to_owned()));
            }
            let after = Duration::from_millis(world.below(20_000));
            world.queue(task, after);
            Ok(())
        })
    }

    fn run(&self, task: ActivityTask) -> PortFuture<Outcome> {
        let until = {
            let mut state = self.world.state();
            *state.runs.entry(task.effect.to_string()).or_default() += 1;
            let longest = u64::try_from(state.slowest_activity.as_micros()).unwrap_or(u64::MAX);
            let takes = state.random.below(longest.max(1));
            let takes = state.slow.get(&task.name).copied().unwrap_or(Duration::from_micros(takes));
            state.now.after(takes)
        };
        let (world, app) = (self.world.clone(), self.app.clone());
        Box::pin(async move {
            world.sleep_until(until).await;
            app.run_activity(task).await
        })
    }
}

impl TurnGuard for Process {
    fn enter(&self, _: usize, _: &InstanceId, _: Incarnation, _: u64) {}
    fn leave(&self, _: usize) {}
}

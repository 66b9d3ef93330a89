//! Virtual time, the order of things, the clocks of machines, what is on its way to somebody, and trouble.
//!
//! Everything here outlives a process. Must never: read the real clock or a real source of randomness, or depend on anything but the seed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use durable::Timestamp;
use durable::ids::EffectId;
use durable_tests::build::{Random, at};

use crate::faults::{Fault, Faults};
use crate::happening::{Happening, Record};
use crate::queue::QueueState;

/// How many machines there are, each with a clock of its own.
pub const MACHINES: usize = 3;

/// The world.
pub struct World(Mutex<State>);

/// All of it.
pub struct State {
    /// The true time.
    pub now: Timestamp,
    random: Random,
    bytes: Random,
    sleepers: BTreeMap<(Timestamp, u64), Waker>,
    agenda: BTreeMap<(Timestamp, u64), Happening>,
    numbers: u64,
    killed: Vec<u32>,
    /// Trouble.
    pub faults: Faults,
    /// How far the clock of each machine is from the true time, in microseconds.
    pub offsets: [i64; MACHINES],
    /// Until when the store, and the services that carry messages, cannot be reached.
    pub outage: (Timestamp, Timestamp),
    /// Store calls take up to this long, before and after they happen.
    pub slowest_call: Duration,
    /// Activities take up to this long.
    pub slowest_activity: Duration,
    /// How many attempts of each effect were begun.
    pub runs: HashMap<EffectId, u32>,
    /// Changes of instances on their way, by shard.
    pub streams: Vec<VecDeque<Record>>,
    /// The queue service.
    pub queue: QueueState,
    /// How many processes died.
    pub deaths: u64,
    trace: Option<Vec<String>>,
}

impl World {
    /// A world in which all that is random follows from the seed.
    #[must_use]
    pub fn new(seed: u64, faults: Faults, trace: bool) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            now: at(0),
            random: Random::new(seed ^ 0x51d5),
            bytes: Random::new(seed.wrapping_add(77)),
            sleepers: BTreeMap::new(),
            agenda: BTreeMap::new(),
            numbers: 0,
            killed: Vec::new(),
            faults,
            offsets: [0; MACHINES],
            outage: (Timestamp(0), Timestamp(0)),
            slowest_call: Duration::ZERO,
            slowest_activity: Duration::from_millis(100),
            runs: HashMap::new(),
            streams: Vec::new(),
            queue: QueueState::default(),
            deaths: 0,
            trace: trace.then(Vec::new),
        })))
    }

    /// What is in it. Held for a moment only.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The true time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.state().now
    }

    /// The time as a machine has it.
    #[must_use]
    pub fn clock(&self, machine: usize) -> Timestamp {
        let state = self.state();
        Timestamp(state.now.0 + state.offsets[machine % MACHINES])
    }

    /// A number below `limit`.
    pub fn below(&self, limit: u64) -> u64 {
        self.state().random.below(limit.max(1))
    }

    /// True about once in `times`.
    pub fn once_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Random bytes.
    pub fn fill(&self, buffer: &mut [u8]) {
        let mut state = self.state();
        for chunk in buffer.chunks_mut(8) {
            let bytes = state.bytes.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }

    /// A new number.
    pub fn number(&self) -> u64 {
        self.state().number()
    }

    /// One chance for trouble.
    pub fn trouble(&self, kinds: &[Fault]) -> Option<(Fault, u64)> {
        let mut state = self.state();
        let now = state.now;
        let fault = state.faults.chance(now, kinds);
        if let Some((fault, _)) = fault {
            state.note(|| format!("FAULT {}", fault.name()));
        }
        fault
    }

    /// Something is to happen after a while.
    pub fn plan(&self, after: Duration, what: Happening) {
        let mut state = self.state();
        let when = state.now.after(after);
        state.plan_at(when, what);
    }

    /// The process dies as soon as the code that runs now comes back.
    pub fn kill(&self, process: u32) {
        self.state().killed.push(process);
    }

    /// Those that are to die.
    pub fn take_killed(&self) -> Vec<u32> {
        std::mem::take(&mut self.state().killed)
    }

    /// When the next sleeper wakes or something happens.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let state = self.state();
        let sleeper = state.sleepers.keys().next().map(|(at, _)| *at);
        sleeper.into_iter().chain(state.agenda.keys().next().map(|(at, _)| *at)).min()
    }

    /// Time passes up to `to`. Sleepers wake, and what happens is given back.
    pub fn advance_to(&self, to: Timestamp) -> Vec<Happening> {
        let (mut woken, mut happenings) = (Vec::new(), Vec::new());
        {
            let mut state = self.state();
            state.now = state.now.max(to);
            let now = state.now;
            while let Some(entry) = state.sleepers.first_entry().filter(|e| e.key().0 <= now) {
                woken.push(entry.remove());
            }
            while let Some(entry) = state.agenda.first_entry().filter(|e| e.key().0 <= now) {
                happenings.push(entry.remove());
            }
        }
        woken.into_iter().for_each(Waker::wake);
        happenings
    }

    /// A pause as long as a call takes today.
    pub fn call_pause(self: &Arc<Self>) -> Sleep {
        let pause = {
            let mut state = self.state();
            let longest = u64::try_from(state.slowest_call.as_micros()).unwrap_or(u64::MAX);
            if longest == 0 { 0 } else { state.random.below(longest) }
        };
        self.sleep(Duration::from_micros(pause))
    }

    /// Ends after so much true time.
    pub fn sleep(self: &Arc<Self>, time: Duration) -> Sleep {
        Sleep { world: self.clone(), until: self.now().after(time), number: None }
    }

    /// Writes a line into the trace, if there is one.
    pub fn note(&self, line: impl FnOnce() -> String) {
        self.state().note(line);
    }

    /// True if what happens is written down.
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.state().trace.is_some()
    }

    /// What was written down.
    pub fn take_trace(&self) -> Vec<String> {
        self.state().trace.take().unwrap_or_default()
    }
}

impl State {
    /// Something is to happen then.
    pub fn plan_at(&mut self, when: Timestamp, what: Happening) {
        let place = (when, self.number());
        self.agenda.insert(place, what);
    }

    /// A new number.
    pub const fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.random.below(limit.max(1))
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let seconds = (self.now.0 - at(0).0) as f64 / 1e6;
            trace.push(format!("{seconds:>12.3}  {}", line()));
        }
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
        let number = state.number();
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

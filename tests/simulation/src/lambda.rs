//! The Lambda host: short invocations, each with an engine of its own; a stream of changes, asynchronous events, state machines that wait.
//!
//! What an invocation does with an event is what `adapters/aws` does; what it decides by is the same code. The platform ends it at its limit.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use durable::{InstanceId, Timestamp};

use crate::call::{POST, Service};
use crate::faults::Fault;
use crate::happening::{Ask, Event, Happening, Record, Way};
use crate::invocation::{Invocation, Platform};
use crate::invoked::{Called, Failed};
use crate::process::{Around, Host, Process, Request};
use crate::store::SHARDS;
use crate::world::World;

/// Records that one invocation is given at most.
const BATCH: usize = 10;

/// What a process was given, and who gives it again if it dies.
#[derive(Debug)]
enum Held {
    Records(usize, Vec<Record>),
    Event(Event),
    Request,
}

/// What all invocations share.
#[derive(Default)]
pub struct Shared {
    /// The build that has announced itself last.
    pub latest: Option<String>,
    held: BTreeMap<u32, Held>,
    busy: [bool; SHARDS],
}

/// The host.
pub struct Lambda {
    platform: Platform,
    shared: Rc<RefCell<Shared>>,
}

impl Lambda {
    /// A function whose invocations have so much time.
    #[must_use]
    pub fn new(whole: Duration) -> Self {
        Self { platform: Platform::new(whole), shared: Rc::default() }
    }

    fn begin(&self, around: &Rc<Around>, held: Held) -> Called {
        let process = around.process();
        let whole = self.platform.whole;
        let (world, number) = (around.world.clone(), process.number);
        world.note(|| format!("p{number} is invoked on machine {} with {held:?}", process.machine));
        around.spawn(number, async move {
            world.sleep(whole).await;
            world.note(|| format!("p{number} has reached its limit"));
            world.kill(number);
        });
        self.shared.borrow_mut().held.insert(number, held);
        let limit = process.now().after(whole);
        Called { process, around: around.clone(), platform: self.platform.clone(), shared: self.shared.clone(), limit }
    }

    fn stream(&self, around: &Rc<Around>, shard: usize) {
        if self.shared.borrow().busy[shard] {
            return;
        }
        let records: Vec<Record> = {
            let mut state = around.world.state();
            let Some(stream) = state.streams.get_mut(shard) else { return };
            let count = stream.len().min(BATCH);
            stream.drain(..count).collect()
        };
        if records.is_empty() {
            return;
        }
        self.shared.borrow_mut().busy[shard] = true;
        let called = self.begin(around, Held::Records(shard, records.clone()));
        let shared = self.shared.clone();
        around.spawn(called.process.number, async move {
            let number = called.process.number;
            let failed = called.stream(&records).await;
            if let Some(held) = shared.borrow_mut().held.get_mut(&number) {
                *held = Held::Request;
            }
            called.end_of_stream(shard, records, failed, &shared);
            called.end().await;
            called.process.world.kill(number);
        });
    }

    fn event(&self, around: &Rc<Around>, event: Event) {
        let called = self.begin(around, Held::Event(event.clone()));
        let shared = self.shared.clone();
        around.spawn(called.process.number, async move {
            let number = called.process.number;
            let done = match event.way {
                Way::GivenUp => called.given_up(event.ask.clone()).await,
                _ => called.work(event.ask.clone(), event.request).await,
            };
            if let Err(failed) = done {
                called.process.world.note(|| format!("p{number} failed: {failed:?}"));
                again(&called.process.world, event, Some(&failed));
            }
            shared.borrow_mut().held.insert(number, Held::Request);
            called.end().await;
            called.process.world.kill(number);
        });
    }
}

/// An event is tried again as its way says, or given up.
fn again(world: &Arc<World>, event: Event, failed: Option<&Failed>) {
    let jitter = Duration::from_millis(world.below(3_000));
    let (way, tries) = (event.way, event.tries);
    let (after, next) = match way {
        Way::Asynchronous if tries >= 2 => (Duration::from_secs(2), Event { way: Way::GivenUp, tries: 0, request: world.number(), ..event }),
        Way::Asynchronous | Way::GivenUp if tries < 2 => (Duration::from_secs(60) * (tries + 1), Event { tries: tries + 1, ..event }),
        Way::StateMachine if tries < 30 => {
            let (first, factor, cap) = if matches!(failed, Some(Failed::NotYet)) { (2, 2_u64, 60) } else { (5, 3, 900) };
            let pause = factor.saturating_pow(tries).saturating_mul(first).min(cap);
            // Each of its tries is a request of its own.
            (Duration::from_secs(pause), Event { tries: tries + 1, request: world.number(), ..event })
        }
        _ => {
            world.note(|| format!("DEAD LETTER {event:?}"));
            return;
        }
    };
    world.plan(after + jitter, Happening::Event(next));
}

impl Called {
    fn end_of_stream(&self, shard: usize, records: Vec<Record>, failed: Option<Vec<InstanceId>>, shared: &Rc<RefCell<Shared>>) {
        let from = match failed {
            // The whole batch is given again.
            None => 0,
            Some(failed) => records.iter().position(|record| failed.contains(&record.instance)).unwrap_or(records.len()),
        };
        give_back(&self.process.world, shard, records, from);
        shared.borrow_mut().busy[shard] = false;
    }
}

/// Puts records back into their stream, from the first that failed on, and has it read on.
fn give_back(world: &Arc<World>, shard: usize, mut records: Vec<Record>, from: usize) {
    let mut left = records.split_off(from.min(records.len()));
    left.iter_mut().for_each(|record| record.tries += 1);
    left.retain(|record| record.tries <= 100);
    let failed = !left.is_empty();
    {
        let mut state = world.state();
        let Some(stream) = state.streams.get_mut(shard) else { return };
        for record in left.into_iter().rev() {
            stream.push_front(record);
        }
        if stream.is_empty() {
            return;
        }
    }
    let pause = if failed { 1_000 + world.below(9_000) } else { 0 };
    world.plan(Duration::from_millis(pause), Happening::Stream(shard));
}

impl Host for Lambda {
    fn boot(&mut self, _: &Rc<Around>) {}

    fn happen(&mut self, around: &Rc<Around>, what: Happening) {
        match what {
            Happening::Stream(shard) => self.stream(around, shard),
            Happening::Event(event) => self.event(around, event),
            _ => {}
        }
    }

    fn died(&mut self, around: &Rc<Around>, process: u32) {
        let held = self.shared.borrow_mut().held.remove(&process);
        match held {
            Some(Held::Records(shard, records)) => {
                self.shared.borrow_mut().busy[shard] = false;
                give_back(&around.world, shard, records, 0);
            }
            Some(Held::Event(event)) => again(&around.world, event, None),
            Some(Held::Request) | None => {}
        }
    }

    fn alive(&self) -> Vec<u32> {
        self.shared.borrow().held.keys().copied().collect()
    }

    fn request(&mut self, around: &Rc<Around>, number: usize, request: &Request) -> Option<u32> {
        let called = self.begin(around, Held::Request);
        let (process, request) = (called.process.number, request.clone());
        around.spawn(process, async move {
            let invocation = called.begin();
            let answer = request(invocation.engine.client()).await;
            called.around.answer(number, answer);
            let unfinished = invocation.finish().await;
            if called.pass_on(unfinished, None).await.is_err() {
                called.process.world.note(|| "what is unfinished could not be passed on".to_owned());
            }
            called.end().await;
            called.process.world.kill(process);
        });
        Some(process)
    }

    fn deployed(&mut self, around: &Rc<Around>) {
        // Invocations under way end by themselves; the next ones run what is deployed. Whoever deploys calls the function once.
        let called = self.begin(around, Held::Request);
        let process = called.process.number;
        around.spawn(process, async move {
            called.end().await;
            called.process.world.kill(process);
        });
    }
}

/// Puts an event on its way, asynchronously.
#[must_use]
pub fn send(process: &Process, ask: Ask, way: Way, after: Duration) -> durable::ports::PortFuture<durable::ports::StoreResult<()>> {
    let world = process.world.clone();
    process.caller().call(Service::Post, POST, Err, move |_| {
        let quick = Duration::from_millis(world.below(500));
        let event = Event { ask, way, tries: 0, request: world.number() };
        let late = match world.trouble(&[Fault::Twice, Fault::Delayed]) {
            Some((Fault::Twice, more)) => {
                let request = if more & (1 << 40) == 0 { event.request } else { world.number() };
                world.plan(after + Duration::from_millis(more % 30_000), Happening::Event(Event { request, ..event.clone() }));
                Duration::ZERO
            }
            // An alarm may be late by hours, an event by minutes.
            Some((_, more)) if way == Way::StateMachine => Duration::from_secs(more % 10_800),
            Some((_, more)) => Duration::from_secs(more % 600),
            None => Duration::ZERO,
        };
        world.plan(after + quick + late, Happening::Event(event));
        Ok(())
    })
}

/// Whole seconds, rounded up: services cut fractions off, and an alarm never rings early.
#[must_use]
pub fn whole_seconds_up(at: Timestamp) -> Timestamp {
    Timestamp((at.0 + 999_999).div_euclid(1_000_000) * 1_000_000)
}

impl Called {
    /// An engine for this call.
    #[must_use]
    pub fn begin(&self) -> Invocation {
        Invocation::begin(self)
    }
}

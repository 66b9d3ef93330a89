//! The Lambda host: short invocations, each with an engine of its own; a stream of changes, asynchronous events, state machines that wait.
//!
//! What an invocation does with an event is the code that `adapters/aws` runs. The platform ends it at its limit.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use durable::ports::{PortFuture, StoreResult};
use durable::{Shard, Timestamp};
use durable_host::Running;
use durable_host::invoked::{AlarmService, Call, CallError, Function, Invoker, Setup, Shared, Work};
use durable_host::stores::CloudStore;
use futures_channel::oneshot;

use crate::call::{POST, Service};
use crate::faults::Fault;
use crate::happening::{Event, Happening, Record, Way};
use crate::process::{Around, Host, Process, Request, run_all};
use crate::store::SHARDS;
use crate::world::World;

/// Records that one invocation is given at most.
const BATCH: usize = 10;

/// Such a function has its timers in a scheduler; a shorter one in state machines.
const LONG: Duration = Duration::from_secs(300);

/// What a process was given, and who gives it again if it dies.
#[derive(Debug)]
enum Held {
    Records(usize, Vec<Record>),
    Event(Event),
    Request,
}

/// What is under way.
#[derive(Default)]
struct UnderWay {
    held: BTreeMap<u32, Held>,
    busy: [bool; SHARDS],
}

/// The host.
pub struct Lambda {
    whole: Duration,
    under_way: Rc<RefCell<UnderWay>>,
}

impl Lambda {
    /// A function whose invocations have so much time.
    #[must_use]
    pub fn new(whole: Duration) -> Self {
        Self { whole, under_way: Rc::default() }
    }

    fn begin(&self, around: &Rc<Around>, held: Held) -> Call<Called> {
        let process = around.process();
        let whole = self.whole;
        let (world, number) = (around.world.clone(), process.number);
        world.note(|| format!("p{number} is invoked on machine {} with {held:?}", process.machine));
        around.spawn(number, async move {
            world.sleep(whole).await;
            world.note(|| format!("p{number} has reached its limit"));
            world.kill(number);
        });
        let request = match &held {
            Held::Event(event) => event.request.to_string(),
            _ => number.to_string(),
        };
        self.under_way.borrow_mut().held.insert(number, held);
        let limit = process.now().after(whole);
        // A function with much time has its timers in a scheduler, which calls it as anybody does.
        let timers = if whole >= LONG { Way::Asynchronous } else { Way::StateMachine };
        Call::new(Called::new(process, around.clone(), timers), request, limit)
    }

    fn stream(&self, around: &Rc<Around>, shard: usize) {
        if self.under_way.borrow().busy[shard] {
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
        self.under_way.borrow_mut().busy[shard] = true;
        let call = self.begin(around, Held::Records(shard, records.clone()));
        let (number, under_way) = (call.function().process.number, self.under_way.clone());
        around.spawn(number, async move {
            let failed = call.stream(records.iter().map(|record| record.seen.clone()).collect()).await;
            if let Some(held) = under_way.borrow_mut().held.get_mut(&number) {
                *held = Held::Request;
            }
            let from = match &failed {
                // The whole batch is given again.
                Err(_) => 0,
                Ok(streamed) => records.iter().position(|record| streamed.failed.contains(&record.seen.instance)).unwrap_or(records.len()),
            };
            give_back(&call.function().process.world, shard, records, from);
            under_way.borrow_mut().busy[shard] = false;
            end(&call).await;
        });
    }

    fn event(&self, around: &Rc<Around>, event: Event) {
        let call = self.begin(around, Held::Event(event.clone()));
        let (number, under_way) = (call.function().process.number, self.under_way.clone());
        around.spawn(number, async move {
            let work = event.work.clone();
            let done = if event.way == Way::GivenUp { call.given_up(work).await } else { call.work(work).await };
            let world = &call.function().process.world;
            if let Err(failed) = done {
                world.note(|| format!("p{number} failed: {failed}"));
                again(world, event, Some(&failed));
            }
            under_way.borrow_mut().held.insert(number, Held::Request);
            end(&call).await;
        });
    }
}

/// An event is tried again as its way says, or given up.
fn again(world: &Arc<World>, event: Event, failed: Option<&CallError>) {
    let jitter = Duration::from_millis(world.below(3_000));
    let (way, tries) = (event.way, event.tries);
    let (after, next) = match way {
        Way::Asynchronous if tries >= 2 => (Duration::from_secs(2), Event { way: Way::GivenUp, tries: 0, request: world.number(), ..event }),
        Way::Asynchronous | Way::GivenUp if tries < 2 => (Duration::from_secs(60) * (tries + 1), Event { tries: tries + 1, ..event }),
        Way::StateMachine if tries < 30 => {
            let (first, factor, cap) = if matches!(failed, Some(CallError::NotYet(_))) { (2, 2_u64, 60) } else { (5, 3, 900) };
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
        let held = self.under_way.borrow_mut().held.remove(&process);
        match held {
            Some(Held::Records(shard, records)) => {
                self.under_way.borrow_mut().busy[shard] = false;
                give_back(&around.world, shard, records, 0);
            }
            Some(Held::Event(event)) => again(&around.world, event, None),
            Some(Held::Request) | None => {}
        }
    }

    fn alive(&self) -> Vec<u32> {
        self.under_way.borrow().held.keys().copied().collect()
    }

    fn request(&mut self, around: &Rc<Around>, number: usize, request: &Request) -> Option<u32> {
        let call = self.begin(around, Held::Request);
        let (process, request) = (call.function().process.number, request.clone());
        around.spawn(process, async move {
            let world = &call.function().process.world;
            let Ok(invocation) = call.begin() else { return world.kill(process) };
            let answer = request(invocation.client()).await;
            call.function().around.answer(number, answer);
            let done = invocation.finish().await;
            if call.pass_on(done.unfinished, None).await.is_err() {
                world.note(|| "what is unfinished could not be passed on".to_owned());
            }
            end(&call).await;
        });
        Some(process)
    }

    fn deployed(&mut self, around: &Rc<Around>) {
        // Invocations under way end by themselves; the next ones run what is deployed. Whoever deploys calls the function once.
        let call = self.begin(around, Held::Request);
        let process = call.function().process.number;
        around.spawn(process, async move { end(&call).await });
    }
}

/// The services that bring events, as one process reaches them.
struct Events {
    process: Process,
    /// How timers come.
    timers: Way,
}

impl Events {
    fn send(&self, work: Work, way: Way, after: Duration) -> PortFuture<StoreResult<()>> {
        let world = self.process.world.clone();
        self.process.caller().call(Service::Post, POST, Err, move |_| {
            let quick = Duration::from_millis(world.below(500));
            let event = Event { work, way, tries: 0, request: world.number() };
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
}

impl Invoker for Events {
    fn send(&self, work: Work) -> PortFuture<StoreResult<()>> {
        Self::send(self, work, Way::Asynchronous, Duration::ZERO)
    }
}

impl AlarmService for Events {
    /// It comes when it is due by the service's clock. The same alarm armed twice rings twice: meaner than the real ones.
    fn arm(&self, _: String, at: Timestamp, work: Work) -> PortFuture<StoreResult<()>> {
        let after = self.process.world.now().until(whole_seconds_up(at));
        Self::send(self, work, self.timers, after)
    }

    /// One that is not stopped rings for nothing, which is worse.
    fn disarm(&self, _: String) -> PortFuture<()> {
        Box::pin(std::future::ready(()))
    }
}

/// Whole seconds, rounded up: services cut fractions off, and an alarm never rings early.
fn whole_seconds_up(at: Timestamp) -> Timestamp {
    Timestamp((at.0 + 999_999).div_euclid(1_000_000) * 1_000_000)
}

/// What is around a call here.
#[derive(Clone)]
struct Called {
    process: Process,
    around: Rc<Around>,
    shared: Shared,
}

impl Called {
    fn new(process: Process, around: Rc<Around>, timers: Way) -> Self {
        let (machine, events) = (Arc::new(process.clone()), Arc::new(Events { process: process.clone(), timers }));
        let s = Duration::from_secs;
        // Every second process lets no input travel.
        let input_bytes = if process.number.is_multiple_of(2) { 0 } else { usize::MAX };
        let shared = Shared {
            app: process.build.app.clone(),
            entropy: machine.clone(),
            guard: machine.clone(),
            machine,
            invoker: events.clone(),
            alarms: events,
            died: Vec::new(),
            setup: Setup { hub: "hub".to_owned(), attempt: s(30), queued: s(60), grace: s(15), in_place: 3, input_bytes },
        };
        Self { process, around, shared }
    }
}

impl Function for Called {
    fn shared(&self) -> &Shared {
        &self.shared
    }

    fn store(&self, _: Timestamp) -> Arc<dyn CloudStore> {
        Arc::new(self.process.line())
    }

    fn run(&self, shards: Vec<Shard>) -> StoreResult<PortFuture<()>> {
        let (ended, over) = oneshot::channel::<()>();
        self.around.spawn(self.process.number, async move {
            run_all(shards).await;
            drop(ended);
        });
        Ok(Box::pin(async move {
            let _ = over.await;
        }))
    }

    /// No program of the simulation loops for ever.
    fn stuck_turn(&self) -> PortFuture<Running> {
        Box::pin(std::future::pending())
    }
}

/// What every call does at its end.
async fn end(call: &Call<Called>) {
    if let Err(trouble) = call.announce_build().await {
        call.function().process.world.note(|| format!("a build is not announced: {trouble}"));
    }
    call.function().process.world.kill(call.function().process.number);
}

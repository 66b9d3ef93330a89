//! The whole engine in one thread, without real time: a virtual clock, seeded randomness, a store with faults, alarms that survive a crash,
//! activities that end in any order, several shards whose tasks are polled in an order that the seed chooses.
//!
//! [`Sim::crash`] drops the process (engine, shards, everything in flight) and begins another one over what survives: the store, the alarms,
//! the clients. Clients ask again, with the same message id, until they get an answer. Must never: depend on anything but the seed.

pub mod model;
pub mod program;
mod record;
mod world;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use durable::header::{ActivityTask, Header};
use durable::history::Event;
use durable::ids::{EffectId, MessageId};
use durable::machine::{Live, Stored};
use durable::ports::{Delivered, Dispatch, ListQuery, Loaded, Store};
use durable::{App, Client, ClientError, Engine, EngineConfig, InstanceId, Payload, Ports, Start, Timestamp, limits};
use futures_executor::block_on;

pub use record::{Execution, ExecutionKey, Line, RecordedStore, check_history};
pub use world::{Come, Process, Sleep, World};

use crate::FaultyStore;
use crate::faulty::Plan;

/// One try of a request.
pub type Attempt = Pin<Box<dyn Future<Output = Result<(), ClientError>>>>;

/// What a client wants, until it has its answer.
struct Request {
    make: Box<dyn Fn(Client) -> Attempt>,
    tries: u32,
    next: Timestamp,
    running: bool,
    answer: Option<Result<(), ClientError>>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

enum Done {
    Shard,
    Work,
    Answer(usize, Result<(), ClientError>),
}

struct Task {
    future: Pin<Box<dyn Future<Output = Done>>>,
    woken: Arc<Flag>,
}

/// How a simulated process is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// All that is random follows from it.
    pub seed: u64,
    /// Deliveries to others in the same transaction, or by an outbox.
    pub delivers_atomically: bool,
    /// Number of shards.
    pub shards: usize,
    /// Instances that a shard keeps in memory.
    pub live: usize,
    /// No other process owns the store.
    pub exclusive: bool,
    /// One attempt in so many is handed on to a worker that outlives the process; none if 0.
    pub hands_on: u64,
    /// How many messages an inbox holds.
    pub room: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self { seed: 1, delivers_atomically: true, shards: 2, live: 100, exclusive: true, hands_on: 0, room: limits::INBOX_MESSAGES }
    }
}

/// A simulated process, its store and its clients.
pub struct Sim {
    /// What survives a crash, beside the store.
    pub world: Arc<World>,
    /// The store with its faults.
    pub store: FaultyStore<RecordedStore>,
    /// How many times the process died.
    pub crashes: u32,
    setup: Setup,
    app: Arc<App>,
    engine: Engine,
    tasks: Vec<Task>,
    requests: Vec<Request>,
}

impl Sim {
    /// Begins a process that runs this app.
    #[must_use]
    pub fn new(app: App, setup: Setup) -> Self {
        let world = World::new(setup.seed);
        let store = FaultyStore::new(Arc::new(RecordedStore::new(setup.delivers_atomically, setup.room)), Plan::none());
        let app = Arc::new(app);
        let (engine, tasks) = boot(&world, &store, &app, &setup);
        Self { world, store, crashes: 0, setup, app, engine, tasks, requests: Vec::new() }
    }

    /// The engine of the process that runs now.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// How many attempts it takes for one to be handed on; 0 if none ever is.
    #[must_use]
    pub const fn hands_on(&self) -> u64 {
        self.setup.hands_on
    }

    /// The app that runs now.
    #[must_use]
    pub const fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The process dies, and another one begins: it looks at what the store says is left to do.
    pub fn crash(&mut self) {
        self.crashes += 1;
        self.tasks.clear();
        self.world.forget_process();
        let (engine, tasks) = boot(&self.world, &self.store, &self.app, &self.setup);
        (self.engine, self.tasks) = (engine, tasks);
        let memory = self.store.inner().memory().clone();
        for instance in memory.runnable() {
            self.engine.look(&instance, true);
        }
        // Alarms that rang and were not seen to the end ring again; later ones survive by themselves.
        let due = memory.due().into_iter().filter(|(at, _)| *at <= self.world.now());
        due.for_each(|(_, instance)| self.engine.look(&instance, true));
        for request in &mut self.requests {
            request.running = false;
        }
    }

    /// Another build is deployed: the process ends, and one with this app begins. It looks at every faulted instance, as a new build does.
    pub fn deploy(&mut self, app: App) {
        self.app = Arc::new(app);
        self.crash();
        for loaded in self.all() {
            if loaded.1.header.fault.is_some() {
                self.engine.look(&loaded.0, true);
            }
        }
    }

    /// The host gives up the shard of an instance, and begins another in its place.
    pub fn replace_shard_of(&mut self, id: &str) {
        let id = InstanceId::new(id).unwrap();
        let shard = self.engine.replace_shard(self.engine.shard_of(&id));
        self.tasks.push(run(shard));
        for instance in self.store.inner().memory().runnable() {
            self.engine.look(&instance, true);
        }
    }

    /// Runs this beside the process; it ends with it.
    pub fn spawn(&mut self, future: impl Future<Output = ()> + 'static) {
        let future = Box::pin(async move {
            future.await;
            Done::Work
        });
        self.tasks.push(Task { future, woken: Arc::new(Flag(AtomicBool::new(true))) });
    }

    /// A client asks for this, again and again until it is answered by more than store trouble. Gives the number of the request.
    pub fn ask(&mut self, after: Duration, make: impl Fn(Client) -> Attempt + 'static) -> usize {
        let next = self.world.now().after(after);
        self.requests.push(Request { make: Box::new(make), tries: 0, next, running: false, answer: None });
        self.requests.len() - 1
    }

    /// A client starts an instance. One that is there when the start is tried again counts as started.
    pub fn start(&mut self, name: &str, id: &str, input: &impl serde::Serialize) -> usize {
        self.start_after(Duration::ZERO, name, id, input)
    }

    /// The same, later.
    pub fn start_after(&mut self, after: Duration, name: &str, id: &str, input: &impl serde::Serialize) -> usize {
        let input = self.app.encode(input).unwrap();
        let (name, id) = (name.to_owned(), InstanceId::new(id).unwrap());
        self.ask(after, move |client| {
            let start = Start::new(name.clone(), input.clone()).id(id.clone());
            Box::pin(async move { client.start(start).await.map(|_| ()) })
        })
    }

    /// A client raises an event, each try under the same id.
    pub fn raise(&mut self, after: Duration, id: &str, name: &str, data: &impl serde::Serialize, message: MessageId) -> usize {
        let data: Payload = self.app.encode(data).unwrap();
        let (name, id) = (name.to_owned(), InstanceId::new(id).unwrap());
        self.ask(after, move |client| {
            let (name, id, data) = (name.clone(), id.clone(), data.clone());
            Box::pin(async move { client.raise_event(&id, &name, data, Some(message)).await })
        })
    }

    /// The answer to a request, once there is one.
    #[must_use]
    pub fn answer(&self, request: usize) -> Option<&Result<(), ClientError>> {
        self.requests[request].answer.as_ref()
    }

    /// Runs until nothing can happen before `end` any more.
    pub fn run_until(&mut self, end: Timestamp) {
        for _ in 0..2_000_000_u32 {
            if self.world.take_crash() {
                self.crash();
            }
            self.begin_requests();
            if self.poll_one() {
                continue;
            }
            let request = self.requests.iter().filter(|r| r.answer.is_none() && !r.running).map(|r| r.next).min();
            let Some(next) = self.world.next_due().into_iter().chain(request).min().filter(|next| *next <= end) else { return };
            let come = self.world.advance_to(next);
            for alarm in come.alarms {
                self.engine.look(&alarm.instance, false);
            }
            for task in come.attempts {
                self.work(task);
            }
        }
        panic!("the simulation does not come to rest: {:?}", self.world.next_due());
    }

    /// Runs until nothing at all is left to happen within a virtual year.
    pub fn run(&mut self) {
        self.run_until(self.world.now().after(Duration::from_secs(365 * 86_400)));
    }

    /// Lets so much virtual time pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.world.now().after(time);
        self.run_until(end);
        let come = self.world.advance_to(end);
        assert!(come.alarms.is_empty() && come.attempts.is_empty(), "what was due has rung");
    }

    /// A worker makes an attempt that was handed on to it, and delivers the outcome; where that fails it is given the attempt again.
    fn work(&mut self, task: ActivityTask) {
        let process = Process { world: self.world.clone(), app: self.app.clone(), hands_on: 0 };
        let (engine, world, again) = (self.engine.clone(), self.world.clone(), task.clone());
        let drive = self.world.once_in(2);
        self.spawn(async move {
            let (effect, attempt) = (task.effect.clone(), task.attempt);
            let outcome = process.run(task).await;
            let delivered = engine.activity_ended(&effect, attempt, outcome, drive).await;
            if matches!(delivered, Err(_) | Ok(Delivered::Full)) {
                world.queue(again, Duration::from_secs(60));
            } else if !drive {
                // The store's own wake-up calls somebody.
                engine.look(&effect.instance, true);
            }
        });
    }

    fn begin_requests(&mut self) {
        let now = self.world.now();
        for (number, request) in self.requests.iter_mut().enumerate() {
            if request.running || request.answer.is_some() || request.next > now {
                continue;
            }
            request.running = true;
            request.tries += 1;
            let attempt = (request.make)(self.engine.client());
            let future = Box::pin(async move { Done::Answer(number, attempt.await) });
            self.tasks.push(Task { future, woken: Arc::new(Flag(AtomicBool::new(true))) });
        }
    }

    /// Polls one of the tasks that something came for. False if there is none.
    fn poll_one(&mut self) -> bool {
        let woken: Vec<usize> = self.tasks.iter().enumerate().filter(|(_, task)| task.woken.0.load(Ordering::SeqCst)).map(|(i, _)| i).collect();
        if woken.is_empty() {
            return false;
        }
        let chosen = woken[self.world.below(woken.len() as u64) as usize];
        let task = &mut self.tasks[chosen];
        task.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(task.woken.clone());
        if let std::task::Poll::Ready(done) = task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            drop(self.tasks.swap_remove(chosen));
            if let Done::Answer(number, answer) = done {
                let request = &mut self.requests[number];
                request.running = false;
                match answer {
                    Err(ClientError::Store(_) | ClientError::Stopping | ClientError::TooManyMessages(_)) => {
                        request.next = self.world.now().after(Duration::from_millis(300));
                    }
                    answer => request.answer = Some(answer),
                }
            }
        }
        true
    }

    /// An instance as it is stored.
    #[must_use]
    pub fn stored(&self, id: &str) -> Option<Loaded> {
        block_on(self.store.inner().memory().load(&InstanceId::new(id).unwrap(), None)).unwrap()
    }

    /// The header of an instance that is stored.
    #[must_use]
    pub fn header(&self, id: &str) -> Header {
        self.stored(id).unwrap_or_else(|| panic!("{id} should be stored")).header
    }

    /// The output of an instance, as JSON.
    #[must_use]
    pub fn output(&self, id: &str) -> serde_json::Value {
        let output = self.stored(id).unwrap_or_else(|| panic!("{id} should be stored")).output;
        output.map_or(serde_json::Value::Null, |output| self.app.decode(&output).unwrap())
    }

    /// The history of an instance, decoded.
    #[must_use]
    pub fn history(&self, id: &str) -> Vec<Event> {
        self.stored(id).unwrap_or_else(|| panic!("{id} should be stored")).events.iter().map(|bytes| Event::from_bytes(bytes).unwrap()).collect()
    }

    /// All instances that are stored.
    #[must_use]
    pub fn all(&self) -> Vec<(InstanceId, Loaded)> {
        let memory = self.store.inner().memory().clone();
        let page = block_on(memory.list(ListQuery { top: usize::MAX, ..ListQuery::default() }, None)).unwrap();
        page.items.into_iter().filter_map(|item| Some((item.instance.clone(), block_on(memory.load(&item.instance, None)).unwrap()?))).collect()
    }

    /// What must hold when nothing is left to happen.
    pub fn check_quiet(&self) {
        assert!(self.requests.iter().all(|r| r.answer.is_some()), "every client has its answer");
        for (id, loaded) in self.all() {
            let header = &loaded.header;
            if header.fault.is_some() {
                continue;
            }
            let events = || loaded.events.iter().map(|e| Event::from_bytes(e).unwrap()).collect::<Vec<_>>();
            assert!(loaded.inbox.is_empty(), "{id}: messages are left behind: {:?} {header:#?} {:#?}", loaded.inbox, events());
            assert!(!header.has_work(), "{id}: work is left behind: {header:#?} {:#?}", events());
            assert!(header.due().is_none_or(|at| at > self.world.now()), "{id}: a timer is left behind: {header:#?}");
            let stored = Stored { header, input: &loaded.input, history: &loaded.events };
            let live = Live::replay(&self.app, &id, &stored);
            assert!(live.is_ok(), "{id}: a cold replay gives a fault: {:?} {:#?}", live.err(), events());
        }
        self.check_activities();
    }

    /// Every activity that was ever asked for by a commit has been run.
    fn check_activities(&self) {
        for ((instance, incarnation, execution), book) in self.store.inner().executions() {
            let mut epoch = 0;
            for event in &book.events {
                match event {
                    Event::ExecutionRewound { .. } => epoch += 1,
                    Event::ActivityScheduled { sequence, .. } => {
                        let effect = EffectId { instance: instance.clone(), incarnation, execution, epoch, sequence: *sequence };
                        assert!(self.world.runs_of(&effect.to_string()) > 0, "activity {effect} was never run: {:#?}", book.events);
                    }
                    _ => {}
                }
            }
        }
    }
}

fn boot(world: &Arc<World>, store: &FaultyStore<RecordedStore>, app: &Arc<App>, setup: &Setup) -> (Engine, Vec<Task>) {
    let process = Arc::new(Process { world: world.clone(), app: app.clone(), hands_on: setup.hands_on });
    let ports = Ports {
        store: Arc::new(Line { world: world.clone(), store: store.clone() }),
        alarms: process.clone(),
        wake: process.clone(),
        dispatch: process.clone(),
        clock: process.clone(),
        entropy: process.clone(),
        guard: process,
    };
    let config = EngineConfig { shards: setup.shards, live_per_shard: setup.live, exclusive: setup.exclusive, ..EngineConfig::default() };
    let (engine, shards) = Engine::new(app.clone(), ports, config);
    (engine, shards.into_iter().map(run).collect())
}

fn run(shard: durable::Shard) -> Task {
    let future = Box::pin(async move {
        shard.run().await;
        Done::Shard
    });
    Task { future, woken: Arc::new(Flag(AtomicBool::new(true))) }
}

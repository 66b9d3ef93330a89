//! One process: the clock of its machine, random bytes, attempts of activities, and what all hosts share.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use durable::header::ActivityTask;
use durable::ids::Incarnation;
use durable::message::Outcome;
use durable::ports::{Clock, Entropy, PortFuture, TurnGuard};
use durable::{App, Client, ClientError, Failure, InstanceId, KIND_TIMEOUT, Shard, Timestamp};
use durable_host::Machine;
use durable_tests::build::at;
use futures_util::future::{Either, select};

use crate::book::Writer;
use crate::call::Caller;
use crate::happening::Happening;
use crate::store::{Line, SimStore};
use crate::tasks::Work;
use crate::world::World;

/// A build of the program.
#[derive(Clone)]
pub struct Build {
    /// What it runs.
    pub app: Arc<App>,
    /// True if it matches what the histories were made by.
    pub matching: bool,
}

/// An answer to a client.
pub type Answer = Result<(), ClientError>;

/// What a client asks of an engine, each time anew.
pub type Request = std::rc::Rc<dyn Fn(Client) -> std::pin::Pin<Box<dyn Future<Output = Answer>>>>;

/// What hosts are given.
pub struct Around {
    /// The world.
    pub world: Arc<World>,
    /// The store.
    pub store: SimStore,
    /// The build that is deployed.
    pub build: RefCell<Build>,
    spawned: RefCell<Vec<(u32, Work)>>,
    answers: RefCell<Vec<(usize, Answer)>>,
}

impl Around {
    /// Around these.
    #[must_use]
    pub fn new(world: Arc<World>, store: SimStore, build: Build) -> Self {
        Self { world, store, build: RefCell::new(build), spawned: RefCell::default(), answers: RefCell::default() }
    }

    /// Begins a future of a process.
    pub fn spawn(&self, process: u32, future: impl Future<Output = ()> + 'static) {
        self.spawned.borrow_mut().push((process, Box::pin(future)));
    }

    /// Those that have begun.
    pub fn take_spawned(&self) -> Vec<(u32, Work)> {
        self.spawned.take()
    }

    /// Answers a request.
    pub fn answer(&self, request: usize, answer: Answer) {
        self.answers.borrow_mut().push((request, answer));
    }

    /// The answers since the last call.
    pub fn take_answers(&self) -> Vec<(usize, Answer)> {
        self.answers.take()
    }

    /// A new process on some machine, with the build that is deployed.
    #[must_use]
    pub fn process(&self) -> Process {
        let number = u32::try_from(self.world.number()).unwrap_or(u32::MAX);
        let machine = usize::try_from(self.world.below(crate::world::MACHINES as u64)).unwrap_or(0);
        Process { world: self.world.clone(), number, machine, build: self.build.borrow().clone(), store: self.store.clone() }
    }
}

/// A process, and what of it is ports.
#[derive(Clone)]
pub struct Process {
    /// The world.
    pub world: Arc<World>,
    /// Its number.
    pub number: u32,
    /// Where it runs.
    pub machine: usize,
    /// What it runs.
    pub build: Build,
    store: SimStore,
}

impl Process {
    /// The time as it has it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.world.clock(self.machine)
    }

    /// Its calls.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller { world: self.world.clone(), process: self.number }
    }

    /// Its way to the store.
    #[must_use]
    pub fn line(&self) -> Line {
        Line { caller: self.caller(), writer: Writer { process: self.number, matching: self.build.matching }, store: self.store.clone() }
    }

    /// Has this process ring for an instance when its clock shows that time.
    pub fn ring(&self, instance: InstanceId, at: Timestamp) {
        self.world.plan(self.now().until(at), Happening::Ring(self.number, instance, at));
    }

    fn make(&self, task: ActivityTask) -> PortFuture<Outcome> {
        let (world, app) = (self.world.clone(), self.build.app.clone());
        let takes = {
            let mut state = world.state();
            *state.runs.entry(task.effect.clone()).or_default() += 1;
            let longest = u64::try_from(state.slowest_activity.as_micros()).unwrap_or(u64::MAX);
            let takes = state.below(longest);
            // Some take much longer than most.
            Duration::from_micros(if state.below(40) == 0 { takes * 8 } else { takes })
        };
        world.note(|| format!("attempt {} of {} takes {takes:?}", task.attempt, task.effect));
        Box::pin(async move {
            let attempt = task.attempt;
            let work = world.sleep(takes);
            let end = world.sleep(task.timeout.unwrap_or(takes * 2));
            match select(work, end).await {
                Either::Left(_) => app.run_activity(task).await,
                Either::Right(_) => Outcome::Failed(Failure { attempts: attempt, ..Failure::new(KIND_TIMEOUT, "it was cut off") }),
            }
        })
    }
}

impl Clock for Process {
    fn now(&self) -> Timestamp {
        Self::now(self)
    }

    fn sleep_until(&self, at: Timestamp) -> PortFuture<()> {
        Box::pin(self.world.sleep(Self::now(self).until(at)))
    }
}

impl Machine for Process {
    fn uptime(&self) -> Duration {
        at(0).until(self.world.now())
    }

    fn attempt(&self, task: ActivityTask) -> PortFuture<Outcome> {
        self.make(task)
    }
}

impl Entropy for Process {
    fn fill(&self, buffer: &mut [u8]) {
        self.world.fill(buffer);
    }
}

impl TurnGuard for Process {
    fn enter(&self, _: usize, _: &InstanceId, _: Incarnation, _: u64) {}
    fn leave(&self, _: usize) {}
}

/// Runs shards.
pub async fn run_all(shards: Vec<Shard>) {
    futures_util::future::join_all(shards.into_iter().map(Shard::run)).await;
}

/// A host: what begins processes, and is told of what comes to them.
pub trait Host {
    /// The first processes begin.
    fn boot(&mut self, around: &std::rc::Rc<Around>);
    /// Something comes.
    fn happen(&mut self, around: &std::rc::Rc<Around>, what: Happening);
    /// A process has died.
    fn died(&mut self, around: &std::rc::Rc<Around>, process: u32);
    /// All processes that live are to die.
    fn alive(&self) -> Vec<u32>;
    /// A client sends a request. False if nobody takes it.
    fn request(&mut self, around: &std::rc::Rc<Around>, number: usize, request: &Request) -> Option<u32>;
    /// Another build is deployed: what begins from now on runs it, and old processes are replaced.
    fn deployed(&mut self, around: &std::rc::Rc<Around>);
}

//! The embedded host: one process at a time owns the store, which names what is left to do and what is due.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use durable::header::ActivityTask;
use durable::message::Outcome;
use durable::ports::{AlarmKey, Alarms, Dispatch, Handle, PortFuture, StoreError};
use durable::{Engine, EngineConfig, InstanceId, Ports, Timestamp};
use durable_host::{Machine, NoWake};

use crate::happening::Happening;
use crate::process::{Around, Host, Process, Request, run_all};

/// An attempt whose activity names no limit.
const ATTEMPT: Duration = Duration::from_secs(30);

/// The host.
#[derive(Default)]
pub struct Embedded {
    running: Option<(Process, Engine)>,
}

struct StoreAlarms(Process);

impl Alarms for StoreAlarms {
    fn arm(&self, _: AlarmKey, _: Timestamp) -> PortFuture<Result<Handle, StoreError>> {
        Box::pin(std::future::ready(Err(StoreError::Damaged("alarms are the store's".to_owned()))))
    }

    fn disarm(&self, _: Handle) -> PortFuture<()> {
        Box::pin(std::future::ready(()))
    }

    fn kept_by_store(&self) -> bool {
        true
    }

    fn moved(&self, instance: &InstanceId, _: Option<Timestamp>, to: Option<Timestamp>) {
        if let Some(at) = to {
            self.0.ring(instance.clone(), at);
        }
    }
}

struct InPlace(Process);

impl Dispatch for InPlace {
    fn run(&self, task: ActivityTask) -> PortFuture<Outcome> {
        let timeout = Some(task.timeout.unwrap_or(ATTEMPT * 100));
        self.0.attempt(ActivityTask { timeout, ..task })
    }
}

impl Embedded {
    fn begin(&mut self, around: &Rc<Around>) {
        let process = around.process();
        let shared = Arc::new(process.clone());
        let ports = Ports {
            store: Arc::new(process.line()),
            alarms: Arc::new(StoreAlarms(process.clone())),
            wake: Arc::new(NoWake),
            dispatch: Arc::new(InPlace(process.clone())),
            clock: shared.clone(),
            entropy: shared.clone(),
            guard: shared,
        };
        let live = [1, 2, 100][usize::try_from(around.world.below(3)).unwrap_or(0)];
        let config = EngineConfig { shards: 1 + usize::try_from(around.world.below(3)).unwrap_or(0), live_per_shard: live, ..EngineConfig::default() };
        let (engine, shards) = Engine::new(process.build.app.clone(), ports, config);
        around.world.note(|| format!("p{} begins (matching: {})", process.number, process.build.matching));
        around.spawn(process.number, run_all(shards));
        let memory = around.store.memory();
        for instance in memory.runnable() {
            engine.look(&instance, true);
        }
        for (at, instance) in memory.due() {
            process.ring(instance, at);
        }
        // A new build looks at every instance that bears a fault.
        for instance in around.store.all() {
            if around.store.load_now(&instance).is_some_and(|loaded| loaded.header.fault.is_some()) {
                engine.look(&instance, true);
            }
        }
        self.running = Some((process, engine));
    }
}

impl Host for Embedded {
    fn boot(&mut self, around: &Rc<Around>) {
        self.begin(around);
    }

    fn happen(&mut self, around: &Rc<Around>, what: Happening) {
        match what {
            Happening::Boot(_) if self.running.is_none() => self.begin(around),
            Happening::Ring(number, instance, at) => {
                let Some((process, engine)) = self.running.as_ref().filter(|(process, _)| process.number == number) else { return };
                if process.now() < at { process.ring(instance, at) } else { engine.look(&instance, false) }
            }
            _ => {}
        }
    }

    fn died(&mut self, around: &Rc<Around>, process: u32) {
        if self.running.as_ref().is_some_and(|(running, _)| running.number == process) {
            self.running = None;
            let down = around.world.below(10_000);
            around.world.plan(Duration::from_millis(down), Happening::Boot(0));
        }
    }

    fn alive(&self) -> Vec<u32> {
        self.running.iter().map(|(process, _)| process.number).collect()
    }

    fn request(&mut self, around: &Rc<Around>, number: usize, request: &Request) -> Option<u32> {
        let (process, engine) = self.running.as_ref()?;
        let (attempt, told) = (request(engine.client()), around.clone());
        around.spawn(process.number, async move { told.answer(number, attempt.await) });
        Some(process.number)
    }

    fn deployed(&mut self, around: &Rc<Around>) {
        for process in self.alive() {
            around.world.kill(process);
        }
    }
}

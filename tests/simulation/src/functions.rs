//! The Functions host: up to three processes that live long, each with one engine; everything that must not be lost is a message in a queue.
//!
//! What a process does with a message is what `adapters/azure` does. The platform kills it without a word.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use durable::{Engine, EngineConfig, Ports};

use crate::faults::Fault;
use crate::handler::Handler;
use crate::happening::{Ask, Happening};
use crate::nets::{Covered, HostAlarms, HostDispatch, Limits, SafetyNet};
use crate::process::{Around, Host, Process, Request, run_all};
use crate::queue::Letter;

/// A message that was delivered so often goes to the poison queue.
const DELIVERIES: u32 = 20;
/// A message is invisible for so long while somebody has it.
const LEASE: Duration = Duration::from_secs(600);
/// A message that was not done is visible again after this.
const AGAIN: Duration = Duration::from_secs(5);

/// One process.
#[derive(Clone)]
struct Running {
    process: Process,
    engine: Engine,
    handler: Rc<Handler>,
}

/// The host.
pub struct Functions {
    limits: Limits,
    processes: BTreeMap<u32, Running>,
    /// The build that has announced itself last.
    latest: Rc<RefCell<Option<String>>>,
    /// Processes that are to be there.
    wanted: usize,
    /// Messages that processes have, to be visible again when they die.
    held: Rc<RefCell<Held>>,
}

/// Of each process, the messages that it has, and under which lease.
type Held = BTreeMap<u32, Vec<(u64, u64)>>;

impl Functions {
    /// So many processes, whose attempts in place may take so long.
    #[must_use]
    pub fn new(wanted: usize, in_place: Duration) -> Self {
        Self { limits: Limits::new(in_place), processes: BTreeMap::new(), latest: Rc::default(), wanted, held: Rc::default() }
    }

    fn begin(&mut self, around: &Rc<Around>) {
        let process = around.process();
        let caller = process.caller();
        let shared = Arc::new(process.clone());
        let ports = Ports {
            store: Arc::new(Covered { line: process.line(), caller: caller.clone(), world: around.world.clone() }),
            alarms: Arc::new(HostAlarms { process: process.clone() }),
            wake: Arc::new(SafetyNet::new(process.clone())),
            dispatch: Arc::new(HostDispatch::new(process.clone(), self.limits.clone())),
            clock: shared.clone(),
            entropy: shared.clone(),
            guard: shared,
        };
        let live = [1, 2, 100][usize::try_from(around.world.below(3)).unwrap_or(0)];
        let config = EngineConfig {
            shards: 1 + usize::try_from(around.world.below(2)).unwrap_or(0),
            live_per_shard: live,
            claim: self.limits.in_place + self.limits.grace,
            deadline: None,
            exclusive: false,
        };
        let (engine, shards) = Engine::new(process.build.app.clone(), ports, config);
        around.world.note(|| format!("p{} begins on machine {} (matching: {})", process.number, process.machine, process.build.matching));
        around.spawn(process.number, run_all(shards));
        let handler = Rc::new(Handler::new(process.clone(), engine.clone(), self.limits.clone()));
        let build = Some(process.build.app.build_id().to_owned());
        if *self.latest.borrow() != build {
            let (world, latest) = (around.world.clone(), self.latest.clone());
            around.spawn(process.number, async move {
                while caller.put(Letter { ask: Ask::Faulted(None), again: false }, Duration::ZERO).await.is_err() {
                    world.sleep(Duration::from_secs(10)).await;
                }
                *latest.borrow_mut() = build;
            });
        }
        self.processes.insert(process.number, Running { process, engine, handler });
    }

    fn some_process(&self, around: &Rc<Around>) -> Option<Running> {
        let nth = around.world.below(self.processes.len() as u64);
        self.processes.values().nth(usize::try_from(nth).ok()?).cloned()
    }

    /// A message may be visible: somebody is given it.
    fn message(&self, around: &Rc<Around>, number: u64) {
        let world = &around.world;
        let Some(running) = self.some_process(around) else {
            if world.state().queue.messages.contains_key(&number) {
                world.plan(Duration::from_secs(2), Happening::Message(number));
            }
            return;
        };
        let (letter, pop) = {
            let mut state = world.state();
            let (now, pop) = (state.now, state.number());
            let Some(message) = state.queue.messages.get_mut(&number) else { return };
            if message.visible > now {
                // Somebody has it, or it was put later.
                return;
            }
            message.deliveries += 1;
            if message.deliveries > DELIVERIES {
                let letter = message.letter.clone();
                state.queue.messages.remove(&number);
                state.queue.poison.push(letter);
                state.plan_hour();
                return;
            }
            (message.visible, message.pop) = (now.after(LEASE), pop);
            let (visible, letter) = (message.visible, message.letter.clone());
            state.plan_at(visible, Happening::Message(number));
            (letter, pop)
        };
        let process = running.process.number;
        world.note(|| format!("p{process} is given message {number}: {letter:?}"));
        self.held.borrow_mut().entry(process).or_default().push((number, pop));
        let (world, held) = (world.clone(), self.held.clone());
        around.spawn(process, async move {
            let done = running.handler.handle(letter, number).await;
            // The Functions host deletes it, or makes it visible again; it may fail to.
            let fails = world.trouble(&[Fault::FailBefore]).is_some();
            if let Some(held) = held.borrow_mut().get_mut(&process) {
                held.retain(|of| *of != (number, pop));
            }
            let mut state = world.state();
            match done {
                Ok(()) if !fails => {
                    state.delete((number, pop));
                }
                _ => {
                    let when = state.now.after(AGAIN);
                    if let Some(message) = state.queue.messages.get_mut(&number).filter(|message| message.pop == pop) {
                        message.visible = when;
                        state.plan_at(when, Happening::Message(number));
                    }
                }
            }
        });
    }

    fn hour(&self, around: &Rc<Around>) {
        around.world.state().queue.hour_planned = false;
        let Some(running) = self.some_process(around) else {
            around.world.state().plan_hour();
            return;
        };
        let world = around.world.clone();
        around.spawn(running.process.number, async move {
            running.handler.hour().await;
            world.state().plan_hour();
        });
    }
}

impl Host for Functions {
    fn boot(&mut self, around: &Rc<Around>) {
        for _ in 0..self.wanted {
            self.begin(around);
        }
    }

    fn happen(&mut self, around: &Rc<Around>, what: Happening) {
        match what {
            Happening::Message(number) => self.message(around, number),
            Happening::Hour => self.hour(around),
            Happening::Boot(_) if self.processes.len() < self.wanted => self.begin(around),
            Happening::Ring(number, instance, at) => {
                let Some(running) = self.processes.get(&number) else { return };
                if running.process.now() < at { running.process.ring(instance, at) } else { running.engine.look(&instance, false) }
            }
            _ => {}
        }
    }

    fn died(&mut self, around: &Rc<Around>, process: u32) {
        self.processes.remove(&process);
        let held = self.held.borrow_mut().remove(&process).unwrap_or_default();
        let world = &around.world;
        // If only the process has died, its messages are delivered again at once; if its machine has, when their leases end.
        if world.once_in(2) {
            let mut state = world.state();
            let when = state.now.after(AGAIN);
            for (number, pop) in held {
                if let Some(message) = state.queue.messages.get_mut(&number).filter(|message| message.pop == pop) {
                    message.visible = when;
                    state.plan_at(when, Happening::Message(number));
                }
            }
        }
        // The hourly function may have run in it.
        world.state().plan_hour();
        let down = world.below(20_000);
        world.plan(Duration::from_millis(down), Happening::Boot(0));
    }

    fn alive(&self) -> Vec<u32> {
        self.processes.keys().copied().collect()
    }

    fn request(&mut self, around: &Rc<Around>, number: usize, request: &Request) -> Option<u32> {
        let running = self.some_process(around)?;
        let (attempt, told) = (request(running.engine.client()), around.clone());
        around.spawn(running.process.number, async move { told.answer(number, attempt.await) });
        Some(running.process.number)
    }

    fn deployed(&mut self, around: &Rc<Around>) {
        for process in self.alive() {
            around.world.kill(process);
        }
    }
}

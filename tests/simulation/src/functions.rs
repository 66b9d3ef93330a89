//! The Functions host: up to three processes that live long, each with one engine; everything that must not be lost is a message in a queue.
//!
//! What a process does with a message is the code that `adapters/azure` runs. The platform kills it without a word.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use durable::{Engine, EngineConfig, Ports};
use durable_host::queued::{
    Attempts, Bells, Covered, Handler, HostAlarms, HostDispatch, Hourly, Letter, Limits, Pauses, PoisonQueue, Queues, SafetyNet, announce_build,
};
use durable_host::stores::CloudStore;

use crate::faults::Fault;
use crate::happening::Happening;
use crate::process::{Around, Host, Process, Request, run_all};
use crate::queue::Mail;

/// A message that was delivered so often goes to the poison queue.
const DELIVERIES: u32 = 20;
/// A message is invisible for so long while somebody has it.
const LEASE: Duration = Duration::from_secs(600);
/// A message that was not done is visible again after this.
const AGAIN: Duration = Duration::from_secs(5);

/// A safety net's message is delivered after this.
const SAFETY: Duration = Duration::from_secs(30);

/// How long attempts may take, and where. Every second process lets no input travel.
fn limits(in_place: Duration, process: u32) -> Limits {
    let s = Duration::from_secs;
    let input_bytes = if process.is_multiple_of(2) { 0 } else { usize::MAX };
    Limits { attempt: s(30), in_place, longest: s(570), at_a_time: 3, queued: s(600), grace: s(15), input_bytes }
}

/// One process.
#[derive(Clone)]
struct Running {
    process: Process,
    engine: Engine,
    handler: Rc<Handler>,
}

/// The host.
pub struct Functions {
    in_place: Duration,
    processes: BTreeMap<u32, Running>,
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
        Self { in_place, processes: BTreeMap::new(), wanted, held: Rc::default() }
    }

    fn begin(&mut self, around: &Rc<Around>) {
        let process = around.process();
        let (mail, machine, bells) = (Arc::new(Mail(process.caller())), Arc::new(process.clone()), Bells::default());
        let (store, limits): (Arc<dyn CloudStore>, _) = (Arc::new(process.line()), limits(self.in_place, process.number));
        let queues = Queues { work: mail.clone(), activities: mail.clone(), alarms: mail.clone() };
        let ports = Ports {
            store: Arc::new(Covered::new(store.clone(), mail.clone(), machine.clone())),
            alarms: Arc::new(HostAlarms::new(mail.clone(), mail.clone(), bells.clone(), machine.clone())),
            wake: Arc::new(SafetyNet::new(mail.clone(), machine.clone(), SAFETY)),
            dispatch: Arc::new(HostDispatch::new(machine.clone(), mail.clone(), limits.clone())),
            clock: machine.clone(),
            entropy: machine.clone(),
            guard: machine.clone(),
        };
        let live = [1, 2, 100][usize::try_from(around.world.below(3)).unwrap_or(0)];
        let config = EngineConfig {
            shards: 1 + usize::try_from(around.world.below(2)).unwrap_or(0),
            live_per_shard: live,
            claim: limits.in_place + limits.grace,
            deadline: None,
            exclusive: false,
        };
        let (engine, shards) = Engine::new(process.build.app.clone(), ports, config);
        around.world.note(|| format!("p{} begins on machine {} (matching: {})", process.number, process.machine, process.build.matching));
        around.spawn(process.number, run_all(shards));
        around.spawn(process.number, bells.ring(engine.clone(), machine.clone()));
        let build = process.build.app.build_id().to_owned();
        around.spawn(process.number, announce_build(store.clone(), mail.clone(), machine.clone(), build));
        let handler = Rc::new(Handler {
            engine: engine.clone(),
            store,
            queues: queues.clone(),
            poison: Arc::new([mail.clone() as Arc<dyn PoisonQueue>]),
            hourly: Hourly::new(mail, queues, machine.clone()),
            machine,
            longest: limits.longest,
            pauses: Pauses::new(SAFETY, limits.grace),
            attempts: Attempts::default(),
        });
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
        let (body, pop) = {
            let mut state = world.state();
            let (now, pop) = (state.now, state.number());
            let Some(message) = state.queue.messages.get_mut(&number) else { return };
            if message.visible > now {
                // Somebody has it, or it was put later.
                return;
            }
            message.deliveries += 1;
            if message.deliveries > DELIVERIES {
                if let Some(message) = state.queue.messages.remove(&number) {
                    state.queue.poison.insert(number, message);
                }
                state.plan_hour();
                return;
            }
            (message.visible, message.pop) = (now.after(LEASE), pop);
            let (visible, body) = (message.visible, message.body.clone());
            state.plan_at(visible, Happening::Message(number));
            (body, pop)
        };
        let process = running.process.number;
        world.note(|| format!("p{process} is given message {number}: {body}"));
        self.held.borrow_mut().entry(process).or_default().push((number, pop));
        let (world, held) = (world.clone(), self.held.clone());
        around.spawn(process, async move {
            let done = match Letter::read(body.as_bytes()) {
                Ok(letter) => running.handler.handle(letter, Some(number.to_string())).await.map_err(|undone| undone.to_string()),
                Err(not_ours) => Err(not_ours.to_string()),
            };
            if let Err(undone) = &done {
                world.note(|| format!("p{process} message {number} undone: {undone}"));
            }
            // The Functions host deletes it, or makes it visible again; it may fail to.
            let fails = world.trouble(&[Fault::FailBefore]).is_some();
            if let Some(held) = held.borrow_mut().get_mut(&process) {
                held.retain(|of| *of != (number, pop));
            }
            let mut state = world.state();
            match done {
                Ok(()) if !fails => {
                    state.delete(number, pop);
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
            if let Err(undone) = running.handler.hour().await {
                world.note(|| format!("the hour is undone: {undone}"));
            }
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

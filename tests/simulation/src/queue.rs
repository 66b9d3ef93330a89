//! The queue service of the simulated Functions host: messages that are invisible for a while, counted deliveries, a poison queue; and the table of
//! far alarms.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use durable::Timestamp;
use durable::ports::{PortFuture, StoreResult};
use durable_host::queued::{FarAlarm, FarAlarms, Letter, PoisonQueue, Post, Receipt, Taken};

use crate::call::{Caller, POST, READ, Service};
use crate::faults::Fault;
use crate::happening::Happening;
use crate::world::{State, World};

/// A message.
#[derive(Debug, Clone)]
pub struct Message {
    /// What it says, as it travels.
    pub body: String,
    /// From then on somebody may be given it.
    pub visible: Timestamp,
    /// How often it was delivered.
    pub deliveries: u32,
    /// Only who knows this may delete it.
    pub pop: u64,
}

/// All messages, and the table of far alarms.
#[derive(Debug, Default)]
pub struct QueueState {
    /// Messages by number.
    pub messages: BTreeMap<u64, Message>,
    /// What was delivered too often.
    pub poison: BTreeMap<u64, Message>,
    /// Far alarms.
    pub far: BTreeMap<(Timestamp, u128), FarAlarm>,
    /// The hourly function has its next run.
    pub hour_planned: bool,
}

/// Names a message and its pop.
fn receipt(number: u64, pop: u64) -> Receipt {
    Receipt { id: number.to_string(), pop: pop.to_string() }
}

/// Takes a message out, if nobody was given it since.
fn delete(messages: &mut BTreeMap<u64, Message>, receipt: &Receipt) {
    let Ok(number) = receipt.id.parse() else { return };
    if messages.get(&number).is_some_and(|message| message.pop.to_string() == receipt.pop) {
        messages.remove(&number);
    }
}

impl State {
    fn put(&mut self, body: String, after: Duration) -> Receipt {
        let (number, pop, visible) = (self.number(), self.number(), self.now.after(after));
        self.queue.messages.insert(number, Message { body, visible, deliveries: 0, pop });
        let polled = Duration::from_millis(self.below(2_000));
        self.plan_at(visible.after(polled), Happening::Message(number));
        receipt(number, pop)
    }

    /// It is done: the one that was delivered under this pop goes.
    pub fn delete(&mut self, number: u64, pop: u64) {
        delete(&mut self.queue.messages, &receipt(number, pop));
    }

    /// Has the hourly function run, as long as there is something for it.
    pub fn plan_hour(&mut self) {
        if !self.queue.hour_planned && (!self.queue.far.is_empty() || !self.queue.poison.is_empty()) {
            self.queue.hour_planned = true;
            let hour = 3_600_000_000;
            let next = Timestamp((self.now.0 / hour + 1) * hour + 1_000);
            self.plan_at(next, Happening::Hour);
        }
    }
}

fn put(world: &Arc<World>, body: String, after: Duration) -> Receipt {
    let doubled = world.trouble(&[Fault::Twice, Fault::Delayed]);
    let mut state = world.state();
    match doubled {
        Some((Fault::Twice, _)) => {
            // Two messages that say the same: what a client's repeat of an unclear request leaves.
            state.put(body.clone(), after);
            state.put(body, after)
        }
        Some((_, more)) => {
            let late = after + Duration::from_secs(more % 7_200);
            state.put(body, late)
        }
        None => state.put(body, after),
    }
}

/// The service, as one process reaches it.
#[derive(Clone)]
pub struct Mail(pub Caller);

impl Mail {
    fn call<T: Send + 'static>(&self, apply: impl FnOnce(&mut State) -> T + Send + 'static) -> PortFuture<StoreResult<T>> {
        let world = self.0.world.clone();
        self.0.call(Service::Post, POST, Err, move |_| Ok(apply(&mut world.state())))
    }
}

impl Post for Mail {
    fn put(&self, letter: Letter, after: Duration) -> PortFuture<StoreResult<Receipt>> {
        let world = self.0.world.clone();
        self.0.call(Service::Post, POST, Err, move |_| Ok(put(&world, letter.body(), after)))
    }

    fn take_back(&self, receipt: Receipt) -> PortFuture<()> {
        let taken = self.call(move |state| delete(&mut state.queue.messages, &receipt));
        Box::pin(async move { drop(taken.await) })
    }
}

impl PoisonQueue for Mail {
    fn name(&self) -> &str {
        "poison"
    }

    fn take(&self, for_so_long: Duration) -> PortFuture<StoreResult<Vec<Taken>>> {
        self.call(move |state| {
            let (now, pop) = (state.now, state.number());
            let visible = state.queue.poison.iter_mut().filter(|(_, message)| message.visible <= now);
            let given = visible.take(2).map(|(number, message)| {
                (message.visible, message.pop) = (now.after(for_so_long), pop);
                Taken { receipt: receipt(*number, pop), letter: Letter::read(message.body.as_bytes()) }
            });
            given.collect()
        })
    }

    fn delete(&self, receipt: Receipt) -> PortFuture<StoreResult<()>> {
        self.call(move |state| delete(&mut state.queue.poison, &receipt))
    }
}

impl FarAlarms for Mail {
    fn put(&self, alarm: FarAlarm) -> PortFuture<StoreResult<()>> {
        self.call(move |state| {
            state.queue.far.insert((alarm.timer.due, alarm.digest), alarm);
            state.plan_hour();
        })
    }

    fn remove(&self, due: Timestamp, digest: u128) -> PortFuture<StoreResult<()>> {
        self.call(move |state| drop(state.queue.far.remove(&(due, digest))))
    }

    fn earliest(&self, before: Timestamp) -> PortFuture<StoreResult<Vec<FarAlarm>>> {
        let world = self.0.world.clone();
        self.0.call(Service::Post, READ, Err, move |_| {
            let state = world.state();
            Ok(state.queue.far.range(..=(before, u128::MAX)).map(|(_, alarm)| alarm.clone()).take(3).collect())
        })
    }
}

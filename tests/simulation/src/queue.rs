//! The queue service of the simulated Functions host: messages that are invisible for a while, counted deliveries, a poison queue, far alarms.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use durable::Timestamp;
use durable::ports::{PortFuture, StoreResult};
use durable_host::work::Timer;

use crate::call::{Caller, POST, Service};
use crate::faults::Fault;
use crate::happening::{Ask, Happening};
use crate::world::{State, World};

/// What is asked, and whether it stood in a poison queue before.
#[derive(Debug, Clone)]
pub struct Letter {
    /// What is asked.
    pub ask: Ask,
    /// It comes from the poison queue.
    pub again: bool,
}

/// A message.
#[derive(Debug, Clone)]
pub struct Message {
    /// What it says.
    pub letter: Letter,
    /// From then on somebody may be given it.
    pub visible: Timestamp,
    /// How often it was delivered.
    pub deliveries: u32,
    /// Only who knows this may delete it.
    pub pop: u64,
}

/// By what a message is taken back: its number and its pop.
pub type Receipt = (u64, u64);

/// All messages, and the table of far alarms.
#[derive(Debug, Default)]
pub struct QueueState {
    /// Messages by number.
    pub messages: BTreeMap<u64, Message>,
    /// What was delivered too often.
    pub poison: Vec<Letter>,
    /// Far alarms.
    pub far: BTreeMap<(Timestamp, u64), Timer>,
    /// The hourly function has its next run.
    pub hour_planned: bool,
}

impl State {
    /// Puts a message.
    pub fn put(&mut self, letter: Letter, after: Duration) -> Receipt {
        let (number, pop, visible) = (self.number(), self.number(), self.now.after(after));
        self.queue.messages.insert(number, Message { letter, visible, deliveries: 0, pop });
        let polled = Duration::from_millis(self.below(2_000));
        self.plan_at(visible.after(polled), Happening::Message(number));
        (number, pop)
    }

    /// Deletes a message, if nobody was given it since.
    pub fn delete(&mut self, (number, pop): Receipt) -> bool {
        let mine = self.queue.messages.get(&number).is_some_and(|message| message.pop == pop);
        if mine {
            self.queue.messages.remove(&number);
        }
        mine
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

impl Caller {
    /// Puts a message into the queue.
    pub fn put(&self, letter: Letter, after: Duration) -> PortFuture<StoreResult<Receipt>> {
        let world = self.world.clone();
        self.call(Service::Post, POST, Err, move |_| Ok(put(&world, letter, after)))
    }

    /// Takes one back. Best effort.
    pub fn take_back(&self, receipt: Receipt) -> PortFuture<()> {
        let world = self.world.clone();
        self.call(
            Service::Post,
            POST,
            |_| (),
            move |_| {
                world.state().delete(receipt);
            },
        )
    }
}

fn put(world: &Arc<World>, letter: Letter, after: Duration) -> Receipt {
    let doubled = world.trouble(&[Fault::Twice, Fault::Delayed]);
    let mut state = world.state();
    match doubled {
        Some((Fault::Twice, _)) => {
            // Two messages that say the same: what a client's repeat of an unclear request leaves.
            state.put(letter.clone(), after);
            state.put(letter, after)
        }
        Some((_, more)) => {
            let late = after + Duration::from_secs(more % 7_200);
            state.put(letter, late)
        }
        None => state.put(letter, after),
    }
}

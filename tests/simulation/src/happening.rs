//! What time brings: calls of the platform, deliveries, the steps of clients, and troubles that were planned.

use durable::{InstanceId, Timestamp};
use durable_host::invoked::{Seen, Work};

use crate::faults::Fault;

/// A change of an instance's item.
#[derive(Debug, Clone)]
pub struct Record {
    /// What is told of it.
    pub seen: Seen,
    /// How often it was given to somebody who failed.
    pub tries: u32,
}

/// How an event came to Lambda.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Asynchronously: three tries, then it is given up.
    Asynchronous,
    /// Back over the event bus: three tries, then it lies in a queue that nobody reads.
    GivenUp,
    /// From a state machine that waits: tried for long.
    StateMachine,
}

/// An event on its way to Lambda.
#[derive(Debug, Clone)]
pub struct Event {
    /// What is asked.
    pub work: Work,
    /// How it comes.
    pub way: Way,
    /// How often it came before.
    pub tries: u32,
    /// Names the request: the same for each try.
    pub request: u64,
}

/// Something that happens at a time.
pub enum Happening {
    /// A write whose caller has given up is carried out after all.
    Late(Box<dyn FnOnce() + Send>),
    /// A shard of the stream may be read.
    Stream(usize),
    /// An event comes to Lambda.
    Event(Event),
    /// A message in the queue may be visible.
    Message(u64),
    /// The hourly function runs.
    Hour,
    /// A process rings by itself for an instance, at a time of its own clock.
    Ring(u32, InstanceId, Timestamp),
    /// A process begins on a machine.
    Boot(usize),
    /// A client tries a request.
    Request(usize),
    /// A trouble that was planned under a number.
    Planned(Fault, u64),
    /// The build that matches is back.
    Back,
}

impl std::fmt::Debug for Happening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Late(_) => f.write_str("a late write lands"),
            Self::Stream(shard) => write!(f, "stream {shard}"),
            Self::Event(event) => write!(f, "{event:?}"),
            Self::Message(number) => write!(f, "message {number}"),
            Self::Hour => f.write_str("the hour"),
            Self::Ring(process, instance, _) => write!(f, "process {process} rings for {instance}"),
            Self::Boot(machine) => write!(f, "boot on machine {machine}"),
            Self::Request(number) => write!(f, "request {number}"),
            Self::Planned(fault, number) => write!(f, "planned {number}: {}", fault.name()),
            Self::Back => f.write_str("the matching build is back"),
        }
    }
}

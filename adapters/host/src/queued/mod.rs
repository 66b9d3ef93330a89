//! A host whose processes live long and serve many messages each, which a queue delivers until they are done, and which the platform kills without
//! a word: what puts a message before everything that must not be forgotten, and what a process does with each message.
//!
//! Must never: know which queue that is, or how messages travel.

mod alarms;
mod covered;
mod dispatch;
mod handler;
mod letter;
mod net;
mod post;
#[cfg(test)]
mod testing;

pub use alarms::{Bells, FarAlarm, FarAlarms, HostAlarms, Hourly};
pub use covered::Covered;
pub use dispatch::{HostDispatch, Limits};
pub use handler::{Attempts, Handler, HandlerError, Pauses, announce_build};
pub use letter::{Letter, NotOurs, Work};
pub use net::SafetyNet;
pub use post::{PoisonQueue, Post, Queues, Receipt, Taken};

//! What every host needs around the engine, whatever its store: clock, random bytes, attempts of activities, a watch over turns; what stores in a
//! cloud's table have alike; and where wake-ups travel as messages, what those say, what they find, and what a process does with them, for hosts whose
//! processes live long ([`queued`]), and for those whose processes are called ([`invoked`]).
//!
//! Must never: know a store, a cloud, or the wire.

pub mod frames;
pub mod invoked;
mod machine;
mod peeked;
mod ports;
pub mod queued;
pub mod stores;
pub mod turns;
mod verdict;
pub mod wakeups;
pub mod wanted;
mod watchdog;
pub mod work;

pub use machine::{Machine, ThisMachine, within};
pub use peeked::Peeked;
pub use ports::{Activities, NoWake, SystemClock, SystemEntropy, attempt, build_of_this_program, in_background, rest_every};
pub use verdict::{Verdict, busy_until, verdict};
pub use watchdog::{Running, Suspect, Watchdog};

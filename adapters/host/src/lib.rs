//! What every host needs around the engine, whatever its store: clock, random bytes, attempts of activities, a watch over turns; what stores in a
//! cloud's table have alike; and where wake-ups travel as messages, what those say, and what they find.
//!
//! Must never: know a store, a cloud, or the wire.

pub mod frames;
mod peeked;
mod ports;
pub mod stores;
pub mod turns;
mod verdict;
pub mod wakeups;
pub mod wanted;
mod watchdog;
pub mod work;

pub use peeked::Peeked;
pub use ports::{Activities, NoWake, SystemClock, SystemEntropy, attempt, build_of_this_program, in_background, rest_every};
pub use verdict::{Verdict, busy_until, verdict};
pub use watchdog::{Running, Suspect, Watchdog};

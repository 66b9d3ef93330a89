//! What every host needs around the engine, whatever its store: clock, random bytes, attempts of activities, a watch over turns, and what
//! stores in a cloud's table have alike.
//!
//! Must never: know a store, a cloud, or the wire.

pub mod frames;
mod peeked;
mod ports;
pub mod stores;
mod watchdog;

pub use peeked::Peeked;
pub use ports::{Activities, NoWake, SystemClock, SystemEntropy, attempt, build_of_this_program};
pub use watchdog::{Running, Suspect, Watchdog};

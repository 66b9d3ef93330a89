//! What every host needs around the engine, whatever its store: clock, random bytes, attempts of activities, a watch over turns, and how
//! events stand one behind the other.
//!
//! Must never: know a store, a cloud, or the wire.

pub mod frames;
mod ports;
mod watchdog;

pub use ports::{Activities, NoWake, SystemClock, SystemEntropy, attempt, build_of_this_program};
pub use watchdog::{Running, Suspect, Watchdog};

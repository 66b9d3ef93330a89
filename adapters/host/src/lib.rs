//! What every host needs around the engine, whatever its store: clock, random bytes, attempts of activities, and a watch over turns.
//!
//! Must never: know a store, a cloud, or the wire.

mod ports;
mod watchdog;

pub use ports::{Activities, NoWake, SystemClock, SystemEntropy, attempt, build_of_this_program};
pub use watchdog::{Running, Suspect, Watchdog};

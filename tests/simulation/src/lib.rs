//! Deterministic simulation: the whole system (core, engine, what drives it on each host, and the services around) in one thread on virtual time,
//! all from one seed, under faults; and an oracle that judges each run.
//!
//! [`run`] runs one seed. The binary runs many, and makes one that fails smaller. Must never: depend on anything but the seed.

#![allow(clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "this crate is test code: small numbers that it has drawn itself")]

pub mod book;
pub mod call;
pub mod clients;
mod embedded;
pub mod faults;
mod functions;
mod guard;
pub mod happening;
mod lambda;
pub mod oracle;
mod process;
pub mod queue;
mod shrink;
mod sim;
pub mod store;
mod tasks;
pub mod world;

pub use shrink::{kind, shrink};
pub use sim::{Flavour, Plan, Report, run};

//! What touches the world. An activity may run more than once for one call, and may use clocks, randomness, tasks and the environment.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros, reason = "activities are not replayed")]
#![allow(clippy::iter_over_hash_type, reason = "activities are not replayed")]

pub mod log;
pub mod status_narrator;
#[cfg(test)]
mod stub;
pub mod webhook;

//! The suites that every store and host must pass, as functions that a test file calls, and the stores that they need.
//!
//! A store's test file names its factory once ([`conformance_suite!`]) and every behaviour shows as a test of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "this crate is test code: a panic is how a test says that something is wrong"
)]

#[cfg(feature = "azurite")]
pub mod azurite;
pub mod build;
pub mod conformance;
pub mod differential;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
pub mod faulty;
#[cfg(feature = "functions")]
pub mod functions;
#[cfg(feature = "hostile")]
pub mod hostile;
pub mod memory;
#[cfg(any(feature = "dynamodb", feature = "azurite"))]
pub mod proxy;
pub mod sim;
pub mod tools;

pub use faulty::FaultyStore;
pub use memory::MemoryStore;

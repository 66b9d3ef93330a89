//! Durable Orchestrator on a laptop or one server: the embedded store.
//!
//! Must never: know another cloud, or answer a write that is not durable.

pub mod store;

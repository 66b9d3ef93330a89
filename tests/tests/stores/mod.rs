//! What stores in a cloud are tested for alike, each on a server of its own.

pub mod bad;
pub mod engine;
pub mod faults;
pub mod hubs;
pub mod network;
pub mod sizes;

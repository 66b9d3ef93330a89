//! What stores in a cloud are tested for alike, each on a server of its own.

pub mod engine;
pub mod network;
pub mod sizes;

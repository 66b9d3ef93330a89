//! The host on AWS Lambda.

pub mod store;

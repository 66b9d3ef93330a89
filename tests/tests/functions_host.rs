//! The host for custom handlers that other suites rely on: held, rule by rule, to what Azure Functions gives and what it refuses.
//!
//! Must never be kinder than Azure: a handler that passes here has to pass there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod functions;
mod support;

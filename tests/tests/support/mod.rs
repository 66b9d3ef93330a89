//! What the end-to-end suites share: real server processes, each with a folder of its own, and a small HTTP client.
//!
//! Must never: end a process that it did not start, or wait for a time where it can wait for a condition.
#![allow(dead_code, unused_imports, reason = "each suite uses a part of it")]

mod bootstrap;
mod build;
mod http;
mod process;
mod random;
pub mod readme;
pub mod sdk;
mod server;
mod webhook;

use std::time::{Duration, Instant};

use serde_json::Value;

pub use bootstrap::{bootstrap, published, release_workload};
pub use build::{aws_driver, custom_handler, misbehaving, template, workload, workload_azure, workload_lambda};
pub use http::{Answer, Http};
pub use process::{asleep, processor_ticks, switches, switches_since};
pub use random::Random;
pub use server::{Folder, Launch, Refused, Server};
pub use webhook::{Push, Webhook};

/// How long anything may take that ought to happen at once. A slow machine needs some of it; a failing test all of it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again until there is an answer.
#[track_caller]
pub fn wait_for<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < patience, "waited {patience:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until an instance is in this state, and gives its status.
#[track_caller]
pub fn wait_until(http: &mut Http, instance: &str, status: &str) -> Value {
    wait_where(http, instance, &format!("to be {status}"), |shown| shown["runtimeStatus"] == status)
}

/// Waits until what is shown of an instance is as it should be.
#[track_caller]
pub fn wait_where(http: &mut Http, instance: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        last = http.status(instance);
        if is(&last) {
            return last;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited {PATIENCE:?} for instance {instance} {what}; it is {last}");
}

/// The output of an instance that has to complete.
#[track_caller]
pub fn output_of(http: &mut Http, instance: &str) -> Value {
    let shown = wait_where(http, instance, "to end", |shown| matches!(shown["runtimeStatus"].as_str(), Some("Completed" | "Failed" | "Terminated")));
    assert_eq!(shown["runtimeStatus"], "Completed", "{shown}");
    shown["output"].clone()
}

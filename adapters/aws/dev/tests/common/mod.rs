//! What the suites share: a cloud around the fixture, its answers, and files that it writes to.
#![allow(dead_code, reason = "each suite uses a part of it")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_lambda::config::retry::RetryConfig;
use aws_types::SdkConfig;
use durable_aws_dev::function::Outcome;
use durable_aws_dev::lambda::AsyncOptions;
use durable_aws_dev::{Builder, Cloud};
use serde_json::Value;
use tempfile::TempDir;

/// How long a condition is waited for before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A cloud whose function is the fixture.
pub fn fixture() -> Builder {
    Cloud::builder().bootstrap(env!("CARGO_BIN_EXE_durable-aws-dev-fixture"))
}

/// Asynchronous retries that a test can wait for.
pub fn quick() -> AsyncOptions {
    AsyncOptions { retries: vec![Duration::from_millis(40), Duration::from_millis(80)], backoff: Duration::from_millis(20), ..AsyncOptions::default() }
}

/// The configuration of an SDK client of this cloud, which says at once what it was refused.
pub fn client_config(cloud: &Cloud) -> SdkConfig {
    durable_aws_dev::client_config(&cloud.api()).unwrap().into_builder().retry_config(RetryConfig::disabled()).build()
}

/// Sends an event, and gives what the function answers.
pub async fn answer(cloud: &Cloud, event: Value) -> Value {
    match cloud.invoke(event.to_string()).await.unwrap() {
        Outcome::Answered(payload) => serde_json::from_slice(&payload).unwrap(),
        Outcome::Failed(error) => panic!("the function failed: {}", String::from_utf8_lossy(&error)),
    }
}

/// Sends an event, and gives the error that the function ends with.
pub async fn error(cloud: &Cloud, event: Value) -> Value {
    match cloud.invoke(event.to_string()).await.unwrap() {
        Outcome::Failed(error) => serde_json::from_slice(&error).unwrap(),
        Outcome::Answered(payload) => panic!("the function answered {}", String::from_utf8_lossy(&payload)),
    }
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "it did not come to this: {what}");
}

/// A file that the function appends to.
pub struct Lines(TempDir);

impl Lines {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("lines")
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    pub fn read(&self) -> Vec<String> {
        std::fs::read_to_string(self.path()).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

/// The state of a process, as the system shows it (`T` is stopped); none once it is gone.
#[cfg(target_os = "linux")]
pub fn process_state(process: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

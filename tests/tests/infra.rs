//! What `infra/` describes, without a cloud: `infra/check/run` lints the templates, carries out the timers' definition, compares policy and roles
//! with the adapters' calls, stages what is published to Azure, and finds every fault that is planted for it.
//!
//! Must never be skipped: without python3 or node it fails, and says what to install.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn what_is_made_in_a_cloud_passes_its_checks_and_they_find_what_is_planted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let checks = Command::new("bash").arg(root.join("infra/check/run")).stdin(Stdio::null()).output().expect("bash can be run");
    let said = format!("{}{}", String::from_utf8_lossy(&checks.stdout), String::from_utf8_lossy(&checks.stderr));
    assert!(checks.status.success(), "infra/check/run failed with {}:\n{said}", checks.status);
    println!("{said}");
}

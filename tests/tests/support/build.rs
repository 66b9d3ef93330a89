//! The programs under test, built once per test process by the cargo that runs the tests.
//!
//! They are built as parts of the whole workspace with its suites, so that all is compiled already when the whole workspace's tests run. Must
//! never: test an older build than the sources say.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The program around the template, as a user builds it.
pub fn template() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("--bin", "durable-orchestrator"))
}

/// A server whose orchestrators make trouble.
pub fn misbehaving() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("--example", "misbehaving"))
}

/// A server whose orchestrators make work.
pub fn workload() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("--example", "workload"))
}

/// The same work as a Lambda function.
pub fn workload_lambda() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("--example", "workload_lambda"))
}

/// The local driver of the AWS host.
pub fn aws_driver() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("--bin", "durable-aws-dev"))
}

/// The same work as a custom handler of Azure Functions.
pub fn workload_azure() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("--example", "workload_azure"))
}

/// A custom handler that does what a test tells it.
pub fn custom_handler() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("--example", "custom_handler"))
}

fn build(kind: &str, name: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // An example of the suites stands beside a program, for its dependencies are compiled as the suites need them only then.
    let what = if kind == "--bin" { vec![kind, name, "--example", "workload"] } else { vec![kind, name] };
    command.args(["build", "--workspace", "--message-format=json"]).args(what).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    forget_this_package(&mut command);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let built = command.stderr(Stdio::inherit()).output().expect("cargo can be run");
    assert!(built.status.success(), "`cargo build {}` failed: its messages stand above", kind.to_owned() + " " + name);
    let messages = String::from_utf8_lossy(&built.stdout);
    let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let program = messages.find_map(|message| (message["target"]["name"] == name).then(|| message["executable"].as_str().map(PathBuf::from))?);
    program.unwrap_or_else(|| panic!("cargo names no program {name}"))
}

/// What cargo tells the tests of their own package would make it build some packages again and again.
pub fn forget_this_package(command: &mut Command) {
    let of_tests = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"].iter().any(|known| name.starts_with(known));
    for (name, _) in std::env::vars().filter(|(name, _)| of_tests(name)) {
        command.env_remove(name);
    }
}

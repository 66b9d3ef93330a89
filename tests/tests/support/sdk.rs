//! The suites of the clients that people have already, which are scripts in their own languages (`tests/sdk`).
//!
//! Must never be skipped: without python3 or npm a test fails, and says what to install.

use std::path::{Path, PathBuf};
use std::process::Command;

use durable_tests::tools::{self, installed, npm_ci, pip, run};

/// Who is asked.
pub struct Server<'s> {
    /// An address, and the path below which the APIs are, if there is one.
    pub at: &'s str,
    /// The task hub.
    pub hub: &'s str,
    /// The key, if one is asked for.
    pub key: Option<&'s str>,
}

impl<'s> Server<'s> {
    /// A server with the usual hub and without a key.
    pub fn local(at: &'s str) -> Self {
        Self { at, hub: "TestHubName", key: None }
    }
}

/// Has the Python client do all that it offers.
pub fn python(server: &Server) {
    const MISSING: &str = "install Python 3.10 or later with pip (for example `apt-get install python3 python3-pip`), or let `bash tests/run` do it";
    let (suite, folder) = (suites().join("python"), packages("python"));
    pip(&suite.join("requirements.txt"), &folder, MISSING);
    let mut python = Command::new("python3");
    python.arg(suite.join("suite.py")).env("PYTHONPATH", folder).env("PYTHONDONTWRITEBYTECODE", "1");
    ask(python, server);
}

/// Has the JavaScript client do all that it offers.
pub fn javascript(server: &Server) {
    const MISSING: &str = "install Node.js 20 or later with npm (for example `apt-get install nodejs npm`), or let `bash tests/run` do it";
    let (suite, folder) = (suites().join("javascript"), packages("javascript"));
    let node = run(Command::new("node").arg("--version"), MISSING);
    let lock = std::fs::read_to_string(suite.join("package-lock.json")).expect("the lock file");
    installed(&folder, &format!("{node}{lock}"), |folder| {
        npm_ci(&suite, folder, MISSING);
    });
    let mut node = Command::new("node");
    node.arg(suite.join("suite.mjs")).env("SDK_PACKAGES", folder);
    ask(node, server);
}

fn ask(mut suite: Command, server: &Server) {
    suite.arg(server.at).env("TASK_HUB", server.hub).env_remove("SDK_KEY");
    if let Some(key) = server.key {
        suite.env("SDK_KEY", key);
    }
    println!("{}", run(&mut suite, "the suite says what is wrong"));
}

fn suites() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk")
}

/// Where packages are kept from run to run.
fn packages(language: &str) -> PathBuf {
    tools::target().join("sdk").join(language)
}

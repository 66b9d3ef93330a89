//! The clients that people have already: the Python and the JavaScript client of Durable Functions, each with a suite in its own language
//! (`tests/sdk`). Must never be skipped: without python3 or npm a test fails, and says what to install.

use std::path::{Path, PathBuf};
use std::process::Command;

use durable_tests::tools::{self, installed, npm_ci, run};

fn suites() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk")
}

/// Where packages are kept from run to run.
fn packages(language: &str) -> PathBuf {
    tools::target().join("sdk").join(language)
}

/// Has the Python client do all that it offers. `server` is an address, and the path below which the APIs are, if there is one.
pub fn python(server: &str, hub: &str) {
    const MISSING: &str = "install Python 3.10 or later with pip (for example `apt-get install python3 python3-pip`), or let `bash tests/run` do it";
    let (suite, folder) = (suites().join("python"), packages("python"));
    let requirements = suite.join("requirements.txt");
    let python = run(Command::new("python3").arg("--version"), MISSING);
    let wanted = format!("{python}{}", std::fs::read_to_string(&requirements).expect("the requirements"));
    installed(&folder, &wanted, |folder| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--target"]).arg(folder).arg("-r").arg(&requirements);
        run(&mut pip, MISSING);
    });
    let mut python = Command::new("python3");
    python.arg(suite.join("suite.py")).arg(server).env("TASK_HUB", hub).env("PYTHONPATH", folder).env("PYTHONDONTWRITEBYTECODE", "1");
    println!("{}", run(&mut python, "the suite says what is wrong"));
}

/// The same for the JavaScript client.
pub fn javascript(server: &str, hub: &str) {
    const MISSING: &str = "install Node.js 20 or later with npm (for example `apt-get install nodejs npm`), or let `bash tests/run` do it";
    let (suite, folder) = (suites().join("javascript"), packages("javascript"));
    let node = run(Command::new("node").arg("--version"), MISSING);
    let lock = std::fs::read_to_string(suite.join("package-lock.json")).expect("the lock file");
    installed(&folder, &format!("{node}{lock}"), |folder| {
        npm_ci(&suite, folder, MISSING);
    });
    let mut node = Command::new("node");
    node.arg(suite.join("suite.mjs")).arg(server).env("TASK_HUB", hub).env("SDK_PACKAGES", folder);
    println!("{}", run(&mut node, "the suite says what is wrong"));
}

//! Programs for the clouds, built as a user builds them: by `infra/aws/build` and `infra/azure/stage`, in the profile that is deployed.
//!
//! Must never: build them in another way than a user does, or test an older build than the sources say.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use durable_tests::tools::{self, run};

use super::build::forget_this_package;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const MISSING: &str = "it needs bash, and Python 3.10 or later with venv and pip (for example `apt-get install python3-venv python3-pip`), \
                       or let `bash tests/run` install them";

/// The program around the template.
pub fn bootstrap() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("durable-orchestrator", &[]))
}

/// The orchestrators that make work, and trouble.
pub fn release_workload() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("release_workload", &["--package", "durable-tests-lambda"]))
}

/// The folder that is published to Azure, with the program around the template.
pub fn published() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let target = tools::target();
        let (folder, _lock) = (target.join("azure-tested"), alone(&target));
        script(&target, "infra/azure/stage", &[folder.to_str().expect("a path in UTF-8")]);
        folder
    })
}

/// One test program builds at a time, with the tool that it takes. Two may want the same.
fn alone(target: &Path) -> File {
    let lock = File::create(target.join("release.lock")).expect("the lock can be made");
    lock.lock().expect("the lock can be taken");
    script(target, "infra/check/cargo-lambda", &[]);
    lock
}

/// Builds a function. Gives a copy: the build writes over its result each time, which cannot be done while that runs.
fn build(name: &str, what: &[&str]) -> PathBuf {
    let target = tools::target();
    // What is beside the result itself would be deployed with it.
    let copies = target.join("lambda-tested");
    std::fs::create_dir_all(&copies).expect("the folder can be made");
    let _lock = alone(&target);
    script(&target, "infra/aws/build", what);
    let (built, copy, tested) = (target.join("lambda").join(name).join("bootstrap"), copies.join("copy"), copies.join(name));
    std::fs::copy(&built, &copy).unwrap_or_else(|e| panic!("infra/aws/build made no {}: {e}", built.display()));
    std::fs::rename(copy, &tested).expect("the copy can take its place");
    tested
}

fn script(target: &Path, script: &str, arguments: &[&str]) {
    let mut bash = Command::new("bash");
    bash.arg(script).args(arguments).current_dir(ROOT).env("CARGO_TARGET_DIR", target);
    forget_this_package(&mut bash);
    run(&mut bash, MISSING);
}

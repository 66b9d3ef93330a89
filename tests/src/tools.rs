//! Programs in other languages that suites need: run to their end, with packages that are installed once, beside what cargo builds.
//!
//! Must never be skipped: where a tool is missing, a test fails and says what to install.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder that cargo builds into.
#[must_use]
pub fn target() -> PathBuf {
    let program = std::env::current_exe().expect("a test knows its own file");
    let found = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    found.unwrap_or_else(|| panic!("{} does not stand in a target folder of cargo", program.display())).to_owned()
}

/// Runs a command to its end; a panic with all that it said if it fails. `missing` says what to install if there is no such command.
#[track_caller]
pub fn run(command: &mut Command, missing: &str) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("{:?} cannot be run ({e}): {missing}", command.get_program()));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed with {}: {missing}\n{said}", output.status);
    said
}

/// Installs packages into a folder, unless exactly these are there already. A broken-off installation is begun again.
pub fn installed(folder: &Path, wanted: &str, install: impl FnOnce(&Path)) {
    std::fs::create_dir_all(folder.parent().expect("a folder in the target folder")).expect("the folder can be made");
    // Two test programs may want the same; one waits for the other.
    let lock = File::create(folder.with_extension("lock")).expect("the lock can be made");
    lock.lock().expect("the lock can be taken");
    let stamp = folder.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|present| present == wanted) {
        return;
    }
    if folder.exists() {
        std::fs::remove_dir_all(folder).expect("an older installation can be removed");
    }
    std::fs::create_dir_all(folder).expect("the folder can be made");
    install(folder);
    std::fs::write(stamp, wanted).expect("the stamp can be written");
}

/// Installs exactly the packages of Python that a file of requirements names, for a `PYTHONPATH` that holds the folder.
#[track_caller]
pub fn pip(requirements: &Path, folder: &Path, missing: &str) {
    let python = run(Command::new("python3").arg("--version"), missing);
    let wanted = format!("{python}{}", std::fs::read_to_string(requirements).expect("the requirements"));
    installed(folder, &wanted, |folder| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--target"]).arg(folder).arg("-r").arg(requirements);
        run(&mut pip, missing);
    });
}

/// Installs exactly the packages of npm that a lock file names.
#[track_caller]
pub fn npm_ci(lock: &Path, folder: &Path, missing: &str) {
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(lock.join(file), folder.join(file)).expect("the lock file can be copied");
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(folder).current_dir(folder);
    run(&mut npm, missing);
}

//! What is published to Azure, staged around a program: by the script that a user runs.

use std::path::Path;
use std::process::Command;

use crate::tools::run;

/// Stages `infra/azure` with this program into a folder, which is empty or was staged before.
#[track_caller]
pub fn stage(program: &Path, folder: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/azure/stage");
    run(Command::new("bash").arg(script).arg(folder).arg("--binary").arg(program), "install bash");
}

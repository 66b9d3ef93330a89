//! Counting by callgrind. Must never: count what comes before the repeats.

use std::process::Command;

use crate::Failed;
use crate::cases::Case;

/// Instructions of one repeat of a case.
pub(crate) fn each(case: &Case) -> Result<u64, Failed> {
    let (once, twice) = (total(case, case.times)?, total(case, 2 * case.times)?);
    Ok(twice.saturating_sub(once) / case.times)
}

/// Instructions of a whole run.
fn total(case: &Case, times: u64) -> Result<u64, Failed> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe()?);
    command.args(["run", case.name, &times.to_string()]);
    let ran = command.output().map_err(|e| format!("valgrind cannot be run ({e}): install it, for example `apt-get install valgrind`"))?;
    let said = String::from_utf8_lossy(&ran.stderr);
    if !ran.status.success() {
        return Err(format!("case `{}` failed under valgrind: {said}", case.name).into());
    }
    let collected = said.lines().find_map(|line| line.split_once("Collected :")).map(|(_, number)| number.trim().parse());
    Ok(collected.ok_or_else(|| format!("valgrind does not say what it counted: {said}"))??)
}

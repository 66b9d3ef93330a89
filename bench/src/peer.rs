//! A peer in the same run: a program of its own, because it links another version of SQLite, built when it is asked for.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::Failed;
use crate::figures::Row;

/// Numbers of the peer that the table shows.
const SHOWN: [&str; 5] = ["per_second", "whole_cpu_seconds_per_1000", "p50_ms", "p99_ms", "failed"];

/// Runs the peer; gives its rows.
pub(crate) async fn measure(folder: &Path, seconds: f64, outstanding: &[usize]) -> Result<Vec<Row>, Failed> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer/Cargo.toml");
    // More than 64 at a time it does not end within minutes.
    let outstanding: Vec<_> = outstanding.iter().filter(|n| **n <= 64).map(ToString::to_string).collect();
    let mut command = Command::new("cargo");
    command.args(["run", "--release", "--quiet", "--locked", "--manifest-path"]).arg(manifest).arg("--").arg("--folder").arg(folder);
    command.args(["--seconds", &seconds.to_string(), "--outstanding", &outstanding.join(",")]);
    let ran = command.stderr(Stdio::inherit()).output().await?;
    if !ran.status.success() {
        return Err(format!("the peer ended with {}; to be built it needs libssl-dev and pkg-config", ran.status).into());
    }
    // Its log of locks it ran into comes between.
    String::from_utf8(ran.stdout)?.lines().filter(|line| line.starts_with('{')).map(row).collect()
}

fn row(line: &str) -> Result<Row, Failed> {
    let line: Value = serde_json::from_str(line)?;
    let row = Row::new(line["what"].as_str().unwrap_or("peer"), line["n"].as_u64().unwrap_or(0));
    SHOWN.iter().try_fold(row, |row, name| Ok(row.value(name, line[name].as_f64().ok_or_else(|| format!("the peer does not say {name}: {line}"))?)))
}

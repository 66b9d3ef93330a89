//! The calls of a server that matter for what it has promised, as `strace` tells them, and how one of them is made to fail.
//!
//! `strace` counts the calls that a filter lets through for each thread apart; a point is named by that count. Must never: count what other files
//! and sockets are asked.

use std::path::Path;
use std::process::{Command, Stdio};

use super::single_faults::Kind;

/// How an answer to a client is named.
pub const ANSWER: &str = "answer";

/// What writes.
const WRITES: &str = "pwrite64,write,ftruncate";
/// What makes durable.
const SYNCS: &str = "fsync,fdatasync";
/// What answers.
const ANSWERS: &str = "writev,sendto";

/// The files that hold what was promised.
const FILES: [&str; 3] = ["durable.db", "durable.db-wal", "commits.hwm"];

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// What it is, for people.
    pub asked: String,
    /// Which call of its thread, from 1, among those of its group: files, or answers.
    pub when: u64,
}

impl Point {
    fn answers(&self) -> bool {
        self.asked.starts_with(ANSWER)
    }
}

/// Fails with a sentence if the tool is missing.
pub fn there() {
    let there = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(there.is_ok_and(|status| status.success()), "strace is missing: install the package strace");
}

/// A `strace` that tells all points in a file.
pub fn tells(to: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-s", "0", "-o"]).arg(to).arg("-e").arg(format!("trace={WRITES},{SYNCS},{ANSWERS}"));
    command
}

/// A `strace` that has this go wrong at a point, and tells that in a file.
pub fn strikes(data: &Path, to: &Path, point: &Point, kind: Kind) -> Command {
    let group = if point.answers() { ANSWERS.to_owned() } else { format!("{WRITES},{SYNCS}") };
    let what = match kind {
        Kind::KillBefore | Kind::KillAfter => "signal=KILL",
        Kind::Cut => "error=ECONNRESET",
        Kind::Throttle => "error=ENOSPC",
        Kind::Error => "error=EIO",
    };
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-s", "0", "-o"]).arg(to).arg("-e").arg(format!("trace={group}"));
    command.arg("-e").arg(format!("inject={group}:{what}:when={}", point.when));
    if !point.answers() {
        for file in FILES {
            command.arg("-P").arg(data.join(file));
        }
    }
    command
}

/// The points in what `strace` has told.
pub fn read(told: &str) -> Vec<Point> {
    let mut counts = std::collections::HashMap::new();
    let mut points = Vec::new();
    for line in told.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some(asked) = asked(call.trim_start()) else { continue };
        let count = counts.entry((thread.to_owned(), asked.starts_with(ANSWER))).or_insert(0);
        *count += 1;
        points.push(Point { asked, when: *count });
    }
    points
}

/// What a line tells, if it is the beginning of a call that matters.
fn asked(call: &str) -> Option<String> {
    let (name, rest) = call.split_once('(')?;
    let on = rest.split_once('<')?.1.split_once('>')?.0;
    if ANSWERS.split(',').any(|answer| answer == name) {
        return Some(ANSWER.to_owned());
    }
    let file = FILES.into_iter().find(|file| Path::new(on).file_name().is_some_and(|is| is == *file))?;
    let does = if SYNCS.split(',').any(|sync| sync == name) { "sync" } else { "write" };
    Some(format!("{does} {file}"))
}

/// True if `strace` tells that it has made a call fail.
pub fn refused(told: &str) -> bool {
    told.contains("(INJECTED)")
}

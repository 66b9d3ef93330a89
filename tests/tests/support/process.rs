//! What the system counts of a process (Linux).

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use super::{PATIENCE, wait_for};

/// Processor time of a process in ticks of 1/100 s, user and system together.
pub fn processor_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum()
}

/// How often each thread of a process has gone to sleep by itself.
pub fn switches(pid: u32) -> BTreeMap<String, u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let of = |status: String| status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok());
    let each = threads.flatten().filter_map(|thread| {
        let count = of(fs::read_to_string(thread.path().join("status")).ok()?)?;
        Some((thread.file_name().to_string_lossy().into_owned(), count))
    });
    each.collect()
}

/// How often threads have woken up since. Those that have ended meanwhile do not count.
pub fn switches_since(pid: u32, before: &BTreeMap<String, u64>) -> u64 {
    switches(pid).iter().map(|(thread, count)| count - before.get(thread).unwrap_or(&0)).sum()
}

/// Waits until nothing moves in a process: two seconds without a thread that woke up. (A store that has been idle for a second tidies up.)
pub fn asleep(pid: u32) {
    let mut before = switches(pid);
    let mut since = Instant::now();
    wait_for("the process to fall asleep", PATIENCE, || {
        if switches_since(pid, &before) > 0 {
            (before, since) = (switches(pid), Instant::now());
        }
        (since.elapsed() > Duration::from_secs(2)).then_some(())
    });
}

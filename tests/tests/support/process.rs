//! What the system counts of a process (Linux).

use std::fs;
use std::time::Duration;

use super::{PATIENCE, wait_for};

/// Processor time of a process in ticks of 1/100 s, user and system together.
pub fn processor_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum()
}

/// How often the threads of a process have gone to sleep by themselves.
pub fn voluntary_switches(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let of = |status: String| status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok());
    threads.flatten().filter_map(|thread| of(fs::read_to_string(thread.path().join("status")).ok()?)).sum()
}

/// Waits until nothing moves in a process: half a second without a thread that woke up.
pub fn asleep(pid: u32) {
    let mut before = voluntary_switches(pid);
    wait_for("the process to fall asleep", PATIENCE, || {
        std::thread::sleep(Duration::from_millis(500));
        let now = voluntary_switches(pid);
        (std::mem::replace(&mut before, now) == now).then_some(())
    });
}

//! What the system says of the machine and of a process (Linux).

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Names of the threads that are the engine's, as they begin.
const ENGINE_THREADS: [&str; 4] = ["shard-", "durable-", "activities", "watchdog"];

/// The machine, in a few words.
pub(crate) fn describe() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(':')).map_or("unknown", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let gib = kilobytes(&memory, "MemTotal:") as f64 / f64::from(1 << 20);
    format!("{cores} cores ({model}), {gib:.0} GiB, Linux {}", kernel.trim())
}

/// How many programs wanted the processor in the last minute.
pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// The processor time that a process has taken.
pub(crate) fn cpu_of(pid: u32) -> Duration {
    ticks(Path::new(&format!("/proc/{pid}/stat")))
}

/// The processor time of this process: the engine's threads, and all of them.
pub(crate) fn own_cpu() -> (Duration, Duration) {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let engine = threads.filter(|thread| {
        let name = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        ENGINE_THREADS.iter().any(|prefix| name.starts_with(prefix))
    });
    (engine.map(|thread| ticks(&thread.path().join("stat"))).sum(), ticks(Path::new("/proc/self/stat")))
}

fn ticks(stat: &Path) -> Duration {
    let stat = fs::read_to_string(stat).unwrap_or_default();
    // Fields 14 and 15 (user and system time in ticks of 1/100 s), counted behind the name in parentheses.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Memory of a process in bytes: now, and at most so far.
pub(crate) fn memory_of(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    (kilobytes(&status, "VmRSS:") * 1024, kilobytes(&status, "VmHWM:") * 1024)
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

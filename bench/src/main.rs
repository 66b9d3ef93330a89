//! One command, one table: `cargo run --release -p durable-bench`.
//!
//! A *lifecycle* is: start, a first activity, a durable wait, the event raised, a second activity, completion, and the result read. Each
//! result is checked. Durability is always on: every answer comes after the fsync that covers it.

mod app;
mod drive;
mod limits;
mod wire;

use std::time::Duration;

use clap::Parser;

/// Measures the embedded engine on this machine.
#[derive(Debug, Parser)]
struct Args {
    /// Seconds for each measurement.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Lifecycles outstanding at a time.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 512])]
    outstanding: Vec<usize>,
    /// Where the data goes: a folder on the disk that is to be measured.
    #[arg(long, default_value = ".")]
    folder: std::path::PathBuf,
    /// Prints one JSON line for each measurement instead of the table.
    #[arg(long)]
    json: bool,
}

/// What one measurement came to.
pub(crate) struct Measured {
    pub what: String,
    pub outstanding: usize,
    pub done: u64,
    pub wall: Duration,
    pub cpu: Duration,
    /// Transactions of the store per lifecycle, each one fsync.
    pub syncs: f64,
    /// Commits of instances per lifecycle.
    pub commits: f64,
    /// From the raise to the completion seen: median and 99th percentile.
    pub wake: (Duration, Duration),
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let args = Args::parse();
    let seconds = Duration::from_secs_f64(args.seconds);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let syncs = limits::fdatasyncs_per_second(&args.folder, Duration::from_secs(1))?;
    if !args.json {
        println!("durable {} · {} cores · SQLite WAL, synchronous=FULL: every answer after its fsync", env!("CARGO_PKG_VERSION"), cores());
        println!("limit: {syncs:.0} fdatasync/s of a 4 KiB append, one at a time\n");
        println!("| lifecycles | outstanding | per second | CPU s per 1000 | fsyncs each | commits each | wake p50 ms | wake p99 ms | of the fsync limit |");
        println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    }
    for outstanding in &args.outstanding {
        let measured = runtime.block_on(drive::in_process(&args.folder, *outstanding, seconds))?;
        report(&measured, syncs, args.json);
    }
    for outstanding in &args.outstanding {
        let measured = runtime.block_on(wire::over_http(&args.folder, *outstanding, seconds))?;
        report(&measured, syncs, args.json);
    }
    Ok(())
}

fn report(m: &Measured, limit: f64, json: bool) {
    let rate = m.done as f64 / m.wall.as_secs_f64();
    let cpu = m.cpu.as_secs_f64() * 1000.0 / (m.done as f64).max(1.0);
    let (p50, p99) = (m.wake.0.as_secs_f64() * 1e3, m.wake.1.as_secs_f64() * 1e3);
    // One lifecycle at a time waits for its four fsyncs one after the other.
    let ratio = rate * m.commits / limit;
    if json {
        let line = serde_json::json!({
            "what": m.what, "outstanding": m.outstanding, "lifecycles": m.done, "per_second": rate, "cpu_seconds_per_1000": cpu,
            "fsyncs_each": m.syncs, "commits_each": m.commits, "wake_p50_ms": p50, "wake_p99_ms": p99,
            "fdatasync_limit_per_second": limit, "durability": "WAL, synchronous=FULL",
        });
        println!("{line}");
    } else {
        println!("| {} | {} | {rate:.0} | {cpu:.3} | {:.2} | {:.2} | {p50:.2} | {p99:.2} | {ratio:.2} |", m.what, m.outstanding, m.syncs, m.commits);
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

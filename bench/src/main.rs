//! One command, one table: `cargo run --release -p durable-bench`.
//!
//! Durability is always on: every answer comes after the fsync that covers it. What each row means stands in the modules below.

mod clients;
mod figures;
mod http;
mod lifecycle;
mod limits;
mod long;
mod machine;
#[cfg(feature = "peer")]
mod peer;
mod served;
mod server;
mod sleepers;
mod start;
mod workload;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use figures::Report;
use lifecycle::Story;
use limits::Limits;

/// As in the template's program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whatever went wrong: a benchmark ends with it.
pub(crate) type Failed = Box<dyn std::error::Error + Send + Sync>;

/// With fewer seconds than this, counts are cut to a [`SMOKE_SCALE`]th share: it is a smoke run.
const WHOLE_SECONDS: f64 = 2.0;
const SMOKE_SCALE: f64 = 0.01;

/// Measures the embedded engine on this machine.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    role: Option<Role>,
    /// Seconds for each measurement of a rate.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// The share of the full counts (10,000, 100,000 and 1,000,000 sleepers, …); 1 unless the seconds are few.
    #[arg(long)]
    scale: Option<f64>,
    /// Only these sections.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Section>,
    /// Lifecycles outstanding at a time.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 512])]
    outstanding: Vec<usize>,
    /// How many sleep, before the scale.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    sleepers: Vec<u64>,
    /// Where the data goes: a folder on the disk that is to be measured.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// Writes one JSON line for each measurement to this file too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    Limits,
    Lifecycle,
    Sequence,
    Fanout,
    Sleepers,
    Purge,
    Start,
    /// Duroxide with its SQLite store, which is built first.
    #[cfg(feature = "peer")]
    Peer,
}

/// What this program is when it is started by itself.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
enum Role {
    /// The server under measurement.
    #[command(hide = true)]
    Serve { folder: PathBuf },
    /// A server without an engine.
    #[command(hide = true)]
    ServeNothing,
}

fn main() -> Result<(), Failed> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = match &args.role {
        Some(Role::Serve { folder }) => runtime.block_on(server::serve(folder)),
        Some(Role::ServeNothing) => runtime.block_on(server::serve_nothing()),
        None => runtime.block_on(measure(&args)),
    };
    // A thread may still be reading standard input.
    runtime.shutdown_background();
    result
}

impl Args {
    fn wants(&self, section: Section) -> bool {
        self.only.is_empty() || self.only.contains(&section)
    }

    fn scaled(&self, count: u64) -> u64 {
        let scale = self.scale.unwrap_or(if self.seconds < WHOLE_SECONDS { SMOKE_SCALE } else { 1.0 });
        ((count as f64 * scale) as u64).max(10)
    }
}

fn about() -> [(&'static str, String); 4] {
    [
        ("engine", format!("durable {}", env!("CARGO_PKG_VERSION"))),
        ("machine", machine::describe()),
        ("load before", machine::load()),
        ("durability", format!("SQLite {}, WAL, synchronous=FULL, every answer after its fsync", rusqlite::version())),
    ]
}

async fn measure(args: &Args) -> Result<(), Failed> {
    let (folder, time): (&Path, _) = (&args.folder, Duration::from_secs_f64(args.seconds));
    let mut report = Report::begin(args.json.as_deref(), &about())?;
    let limits = if args.wants(Section::Limits) {
        Limits::measure(folder, &args.outstanding, time.min(Duration::from_secs(2)), &mut report).await?
    } else {
        Limits::default()
    };
    if args.wants(Section::Lifecycle) {
        for story in [Story::Lifecycle, Story::Hello] {
            for at_a_time in &args.outstanding {
                report.row(&lifecycle::in_process(folder, story, *at_a_time, time, &limits).await?)?;
            }
            for at_a_time in &args.outstanding {
                report.row(&lifecycle::over_http(folder, story, *at_a_time, time, &limits).await?)?;
            }
        }
    }
    if args.wants(Section::Sequence) {
        for steps in [10, 1_000, 5_000] {
            report.row(&long::sequence(folder, args.scaled(steps)).await?)?;
        }
    }
    if args.wants(Section::Fanout) {
        for width in [100, 10_000] {
            report.row(&long::fan_out(folder, args.scaled(width)).await?)?;
        }
    }
    if args.wants(Section::Sleepers) {
        let mut fewer = None;
        for count in &args.sleepers {
            for row in sleepers::asleep(folder, args.scaled(*count), &mut fewer).await? {
                report.row(&row)?;
            }
        }
    }
    if args.wants(Section::Purge) {
        for row in sleepers::wake_all_and_purge(folder, args.scaled(10_000), args.scaled(100_000)).await? {
            report.row(&row)?;
        }
    }
    if args.wants(Section::Start) {
        report.row(&start::first_answer(folder).await?)?;
    }
    #[cfg(feature = "peer")]
    if args.wants(Section::Peer) {
        for row in peer::measure(folder, args.seconds, &args.outstanding).await? {
            report.row(&row)?;
        }
    }
    Ok(())
}

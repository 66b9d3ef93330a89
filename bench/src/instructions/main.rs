//! Counts the processor's instructions for what is deterministic: a figure that no load on the machine moves.
//!
//! `bench/instructions` runs it. Each case runs under callgrind with so many repeats and with twice as many; the difference is what the
//! repeats cost, without what comes before them. The baseline is `bench/instructions.txt`; a jump that is not written down there fails.

mod cases;
mod compare;
mod count;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use compare::Baseline;

/// Whatever went wrong.
pub(crate) type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Counts instructions.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Counts, and compares with a baseline.
    Check { baseline: PathBuf },
    /// Counts, and writes the baseline.
    Write { baseline: PathBuf },
    /// Runs one case so often: what is counted.
    #[command(hide = true)]
    Run { case: String, times: u64 },
}

fn main() -> ExitCode {
    match run(Args::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("durable-instructions: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> Result<(), Failed> {
    match what {
        What::Run { case, times } => cases::run(&case, times),
        What::Write { baseline } => {
            let counts = cases::CASES.iter().map(|case| Ok((case.name.to_owned(), count::each(case)?))).collect::<Result<Vec<_>, Failed>>()?;
            Ok(std::fs::write(baseline, Baseline::from(counts).to_text())?)
        }
        What::Check { baseline } => {
            let text = std::fs::read_to_string(&baseline).map_err(|e| format!("{}: {e}", baseline.display()))?;
            let baseline = Baseline::from_text(&text)?;
            let mut counts = Vec::new();
            for case in &cases::CASES {
                let now = count::each(case)?;
                println!("{}", baseline.line(case.name, now));
                counts.push((case.name.to_owned(), now));
            }
            baseline.check(&counts).map_err(Into::into)
        }
    }
}

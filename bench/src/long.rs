//! One instance with many activities: one after the other, and side by side.

use std::path::Path;
use std::time::{Duration, Instant};

use durable::header::RuntimeStatus;
use durable::{Client, Start};
use durable_local::{LocalHost, LocalOptions};

use crate::figures::Row;
use crate::workload::{Marks, app};
use crate::{Failed, machine};

/// Steps at which the time per step is told, and over how many before it.
const AT: [(usize, &str); 3] = [(100, "ms_a_step_at_100"), (1000, "ms_a_step_at_1000"), (5000, "ms_a_step_at_5000")];
const WINDOW: usize = 90;

/// So many steps, one after the other.
pub(crate) async fn sequence(folder: &Path, steps: u64) -> Result<Row, Failed> {
    let (mut row, marks) = one(folder, "sequence", steps).await?;
    for (at, name) in AT {
        if let (Some(from), Some(to)) = (at.checked_sub(WINDOW).and_then(|from| marks.get(from)), marks.get(at - 1)) {
            row = row.value(name, to.duration_since(*from).as_secs_f64() * 1e3 / (WINDOW - 1) as f64);
        }
    }
    Ok(row)
}

/// So many steps side by side.
pub(crate) async fn fan_out(folder: &Path, width: u64) -> Result<Row, Failed> {
    Ok(one(folder, "fan_out", width).await?.0)
}

async fn one(folder: &Path, name: &'static str, count: u64) -> Result<(Row, Vec<Instant>), Failed> {
    let folder = tempfile::tempdir_in(folder)?;
    let marks = Marks::default();
    let host = LocalHost::open(app(marks.clone())?, LocalOptions::new(folder.path())).await?;
    let client = host.client();
    run(&client, name, 3).await?;
    marks.take();
    let (before, stats, begun) = (machine::own_cpu(), host.stats(), Instant::now());
    run(&client, name, count).await?;
    let (wall, cpu) = (begun.elapsed(), machine::own_cpu());
    let after = host.stats();
    let row = Row::new(format!("{} of so many activities, per activity", name.replace('_', "-")), count)
        .rate(count, wall)
        .cpu(count, cpu.0 - before.0, cpu.1 - before.1)
        .value("fsyncs_each", (after.transactions - stats.transactions) as f64 / count as f64)
        .value("seconds_in_all", wall.as_secs_f64())
        .value("cpu_seconds_in_all", (cpu.1 - before.1).as_secs_f64());
    host.stop(Duration::from_secs(30)).await;
    Ok((row, marks.take()))
}

async fn run(client: &Client, name: &str, count: u64) -> Result<(), Failed> {
    let started = client.start(Start::new(name, client.app().encode(&count)?)).await?;
    let record = client.wait_for_end(&started.instance).await?;
    let sum: Option<u64> = record.output.as_ref().map(|output| client.app().decode(output)).transpose()?;
    if record.header.status != RuntimeStatus::Completed || sum != Some(count * count.saturating_sub(1) / 2) {
        return Err(format!("{name} of {count} ended wrongly: {:?} {sum:?}", record.header.status).into());
    }
    Ok(())
}

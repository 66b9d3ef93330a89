//! Many instances that sleep: what one costs, how one of them wakes, how all of them wake, and how long a restart takes among them.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Failed;
use crate::figures::Row;
use crate::http::Connection;
use crate::served::Served;
use crate::server::IDLE;

/// Woken one at a time, spread over all.
const WOKEN: u64 = 100;

/// How long nothing is asked while processor time is counted.
const ASLEEP: Duration = Duration::from_secs(3);

/// So many sleepers, and the bytes that their server has in memory.
pub(crate) type Asleep = (u64, u64);

/// So many lifecycles that wait for their event. What one more of them costs is told beside a run with `fewer`: caches and the allocator's reserves
/// are there whatever their number.
pub(crate) async fn asleep(folder: &Path, count: u64, fewer: &mut Option<Asleep>) -> Result<Vec<Row>, Failed> {
    let folder = tempfile::tempdir_in(folder)?;
    let server = Served::on(folder.path()).await?;
    let mut control = server.control().await?;
    let (empty, at_rest) = (Served::settled(folder.path()).await?, server.memory().0);

    let (begun, cpu, stats) = (Instant::now(), server.cpu(), control.stats().await?);
    control.ask(&format!("start lifecycle sleeper {count}")).await?;
    let (took, cpu) = (begun.elapsed(), server.cpu() - cpu);
    let syncs = control.stats().await?.0 - stats.0;
    let disk = Served::settled(folder.path()).await? - empty;
    // By then what is idle has been let go.
    tokio::time::sleep(2 * IDLE + Duration::from_secs(1)).await;
    let (memory, most) = server.memory();
    let each = |bytes: u64| bytes as f64 / count as f64;
    let one_more = fewer.replace((count, memory)).filter(|(fewer, _)| *fewer < count);
    let one_more = one_more.map(|(fewer, less)| memory.saturating_sub(less) as f64 / (count - fewer) as f64);
    let fell_asleep = Row::new("fall asleep", count)
        .rate(count, took)
        .cpu(count, cpu, cpu)
        .value("fsyncs_each", syncs as f64 / count as f64)
        .value("seconds_in_all", took.as_secs_f64())
        .value("disk_bytes_each", each(disk))
        .value("memory_bytes_each", each(memory.saturating_sub(at_rest)))
        .value("MB_in_all", memory as f64 / 1e6)
        .value("MB_at_most", most as f64 / 1e6);
    let fell_asleep = match one_more {
        Some(bytes) => fell_asleep.value("memory_bytes_of_one_more", bytes),
        None => fell_asleep,
    };

    let cpu = server.cpu();
    tokio::time::sleep(ASLEEP).await;
    let idle = (server.cpu() - cpu).as_secs_f64() / ASLEEP.as_secs_f64() * 100.0;
    let woken = WOKEN.min(count);
    let (begun, cpu) = (Instant::now(), server.cpu());
    let times = control.wake("sleeper", woken, count / woken, 1).await?;
    let wake = Row::new("wake one among so many", count).rate(woken, begun.elapsed()).cpu(woken, server.cpu() - cpu, server.cpu() - cpu).latency(times);
    // What was freed while nothing ran is given back when something runs again.
    Served::settled(folder.path()).await?;
    tokio::time::sleep(2 * IDLE).await;
    let memory = server.memory().0.saturating_sub(at_rest);
    let wake = wake.value("percent_of_a_core_asleep", idle).value("memory_bytes_each", each(memory));
    server.stop().await?;

    let begun = Instant::now();
    let server = Served::on(folder.path()).await?;
    Connection::open(server.http).await?.request("GET", "/api/orchestrators/sleeper-0/status", "").await?;
    let restart = Row::new("restart among so many, to the first answer", count)
        .value("seconds_in_all", begun.elapsed().as_secs_f64())
        .value("cpu_seconds_in_all", server.cpu().as_secs_f64())
        .value("MB_in_all", server.memory().0 as f64 / 1e6);
    server.stop().await?;
    Ok(vec![fell_asleep, wake, restart])
}

/// One event to each of so many sleepers, and then a purge of all of them.
pub(crate) async fn wake_all_and_purge(folder: &Path, wake: u64, purge: u64) -> Result<Vec<Row>, Failed> {
    let folder = tempfile::tempdir_in(folder)?;
    let server = Served::on(folder.path()).await?;
    let mut control = server.control().await?;
    control.ask(&format!("start lifecycle sleeper {wake}")).await?;
    let (begun, cpu, stats) = (Instant::now(), server.cpu(), control.stats().await?);
    let times = control.wake("sleeper", wake, 1, 512).await?;
    let (took, cpu, syncs) = (begun.elapsed(), server.cpu() - cpu, control.stats().await?.0 - stats.0);
    let woken = Row::new("an event to each of so many sleepers, to their ends", wake).rate(wake, took).cpu(wake, cpu, cpu);
    let woken = woken.value("fsyncs_each", syncs as f64 / wake as f64).latency(times).value("seconds_in_all", took.as_secs_f64());

    control.ask(&format!("start hello ended {}", purge.saturating_sub(wake))).await?;
    Served::settled(folder.path()).await?;
    let all = purge.max(wake);
    let (begun, cpu, stats) = (Instant::now(), server.cpu(), control.stats().await?);
    let path = "/runtime/webhooks/durabletask/instances?createdTimeFrom=2020-01-01T00:00:00Z";
    let answer = Connection::open(server.http).await?.request("DELETE", path, "").await?;
    let (took, cpu, syncs) = (begun.elapsed(), server.cpu() - cpu, control.stats().await?.0 - stats.0);
    if answer != format!(r#"{{"instancesDeleted":{all}}}"#) {
        return Err(format!("{all} instances were to be purged: {answer}").into());
    }
    let purged = Row::new("purge so many by one request", all).rate(all, took).cpu(all, cpu, cpu);
    let purged = purged.value("fsyncs_each", syncs as f64 / all as f64).value("seconds_in_all", took.as_secs_f64());
    server.stop().await?;
    Ok(vec![woken, purged])
}

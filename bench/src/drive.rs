//! Lifecycles through the client in the same process.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use durable::header::RuntimeStatus;
use durable::{Client, Start};
use durable_local::{LocalHost, LocalOptions};
use tokio::sync::Mutex;

use crate::Measured;
use crate::app::{EVENT, OUTPUT, app, cpu_time, percentiles};

pub(crate) type Failed = Box<dyn std::error::Error + Send + Sync>;

/// So many lifecycles at a time, for so long.
pub(crate) async fn in_process(folder: &Path, outstanding: usize, time: Duration) -> Result<Measured, Failed> {
    let folder = tempfile::tempdir_in(folder)?;
    let host = LocalHost::open(app()?, LocalOptions::new(folder.path())).await?;
    let client = host.client();
    let measured = repeat("in process", outstanding, time, &host, move || {
        let client = client.clone();
        async move { lifecycle(&client).await }
    })
    .await?;
    host.stop(Duration::from_secs(5)).await;
    Ok(measured)
}

/// Repeats a lifecycle on so many tasks, and measures.
pub(crate) async fn repeat<F, Fut>(what: &str, outstanding: usize, time: Duration, host: &LocalHost, once: F) -> Result<Measured, Failed>
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<Duration, Failed>> + Send,
{
    for _ in 0..3 {
        once().await?;
    }
    let (before, cpu, begun) = (host.stats(), cpu_time(), Instant::now());
    let (done, wakes) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..outstanding {
        let (once, done, wakes) = (once.clone(), done.clone(), wakes.clone());
        tasks.spawn(async move {
            let mut own = Vec::new();
            while begun.elapsed() < time {
                own.push(once().await?);
                done.fetch_add(1, Ordering::Relaxed);
            }
            wakes.lock().await.extend(own);
            Ok::<(), Failed>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let (wall, after) = (begun.elapsed(), host.stats());
    let done = done.load(Ordering::Relaxed);
    let wakes = std::mem::take(&mut *wakes.lock().await);
    Ok(Measured {
        what: what.to_owned(),
        outstanding,
        done,
        wall,
        cpu: cpu_time().saturating_sub(cpu),
        syncs: (after.transactions - before.transactions) as f64 / done.max(1) as f64,
        commits: (after.commits - before.commits) as f64 / done.max(1) as f64,
        wake: percentiles(wakes),
    })
}

/// One lifecycle; gives the time from the raise to the completion seen.
async fn lifecycle(client: &Client) -> Result<Duration, Failed> {
    let app = client.app();
    let started = client.start(Start::new("lifecycle", app.encode("Hello")?)).await?;
    let instance = started.instance;
    // Asleep: the first activity has ended and the wait is durable.
    client.wait_until(&instance, |record| record.header.revision >= 2).await?;
    let raised = Instant::now();
    client.raise_event(&instance, "WakeUp", app.encode_text(EVENT.into())?, None).await?;
    let record = client.wait_for_end(&instance).await?;
    let wake = raised.elapsed();
    let output = record.output.ok_or("no output")?;
    if record.header.status != RuntimeStatus::Completed || output.stored().as_ref() != OUTPUT.as_bytes() {
        return Err(format!("instance {instance} ended wrongly: {:?} {output:?}", record.header.status).into());
    }
    Ok(wake)
}

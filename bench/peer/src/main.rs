//! Hello and lifecycle on duroxide with its SQLite store as it comes, one line of JSON for each measurement.
//!
//! A lifecycle raises its event once the orchestration has said that its first activity has ended, so that the wait is real. Callers wait as
//! its client offers it. What it promises at a power loss is said in each line: it asks for `synchronous = WAL`, which SQLite takes as NORMAL.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{OrchestrationStatus, Runtime};
use duroxide::{ActivityContext, Client, OrchestrationContext, OrchestrationRegistry};
use tokio::sync::oneshot;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Measures the peer.
#[derive(Debug, Parser)]
struct Args {
    /// Seconds for each measurement.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Stories outstanding at a time.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64])]
    outstanding: Vec<usize>,
    /// Where the data goes.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
}

/// A story that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who waits for an instance's first activity to have ended.
#[derive(Clone, Default)]
struct Hints(Arc<Mutex<HashMap<String, oneshot::Sender<()>>>>);

impl Hints {
    fn wait_for(&self, instance: &str) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(instance.to_owned(), sender);
        receiver
    }

    /// Also called on replay: only the first call finds somebody.
    fn give(&self, instance: &str) {
        if let Some(waiting) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(instance) {
            let _ = waiting.send(());
        }
    }
}

fn main() -> Result<(), Failed> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for story in ["lifecycle", "hello"] {
        for outstanding in &args.outstanding {
            runtime.block_on(measure(&args.folder, story, *outstanding, Duration::from_secs_f64(args.seconds)))?;
        }
    }
    Ok(())
}

async fn measure(folder: &Path, story: &'static str, outstanding: usize, time: Duration) -> Result<(), Failed> {
    let folder = tempfile::tempdir_in(folder)?;
    let file = folder.path().join("peer.db");
    std::fs::File::create(&file)?;
    let store = Arc::new(SqliteProvider::new(&format!("sqlite:{}", file.display()), None).await?);
    let hints = Hints::default();
    let activities = ActivityRegistry::builder().register("step", |_: ActivityContext, text: String| async move { Ok(format!("Processed: {text}")) }).build();
    let told = hints.clone();
    let orchestrations = OrchestrationRegistry::builder()
        .register("hello", |ctx: OrchestrationContext, text: String| async move { ctx.schedule_activity("step", text).await })
        .register("lifecycle", move |ctx: OrchestrationContext, instance: String| {
            let told = told.clone();
            async move {
                ctx.schedule_activity("step", instance.clone()).await?;
                told.give(&instance);
                let data = ctx.dequeue_event("WakeUp").await;
                ctx.schedule_activity("step", format!("Resumed! Received: {data}")).await
            }
        })
        .build();
    let runtime = Runtime::start_with_store(store.clone(), activities, orchestrations).await;
    let (next, begun, cpu) = (Arc::new(AtomicU64::new(0)), Instant::now(), cpu());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..outstanding {
        let (client, hints, next) = (Client::new(store.clone()), hints.clone(), next.clone());
        tasks.spawn(async move {
            let (mut times, mut failed) = (Vec::new(), 0_u64);
            while begun.elapsed() < time {
                let instance = format!("i{}", next.fetch_add(1, Ordering::Relaxed));
                // Locks that last too long fail its instances: that is part of what is measured.
                match once(&client, &hints, story, &instance).await {
                    Ok(took) => times.push(took),
                    Err(trouble) => {
                        failed += 1;
                        eprintln!("{trouble}");
                    }
                }
            }
            (times, failed)
        });
    }
    let (mut times, mut failed) = (Vec::new(), 0);
    while let Some(ended) = tasks.join_next().await {
        let (more, lost) = ended?;
        times.extend(more);
        failed += lost;
    }
    let (wall, cpu) = (begun.elapsed(), self::cpu().saturating_sub(cpu));
    runtime.shutdown(None).await;
    times.sort_unstable();
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).map_or(0.0, |time| time.as_secs_f64() * 1e3);
    let line = serde_json::json!({
        "what": format!("peer: {story} on duroxide 0.1.32 in process, SQLite WAL, synchronous=NORMAL (not synced)"), "n": outstanding,
        "per_second": times.len() as f64 / wall.as_secs_f64(), "whole_cpu_seconds_per_1000": cpu.as_secs_f64() * 1e3 / (times.len() as f64).max(1.0),
        "p50_ms": at(0.5), "p99_ms": at(0.99), "failed": failed,
    });
    println!("{line}");
    Ok(())
}

/// One story; gives the time from its last request to the completion seen.
async fn once(client: &Client, hints: &Hints, story: &str, instance: &str) -> Result<Duration, Failed> {
    let hint = hints.wait_for(instance);
    let mut asked = Instant::now();
    client.start_orchestration(instance, story, instance).await.map_err(|e| format!("{e:?}"))?;
    let mut wanted = format!("Processed: {instance}");
    if story == "lifecycle" {
        tokio::time::timeout(PATIENCE, hint).await??;
        asked = Instant::now();
        client.enqueue_event(instance, "WakeUp", "true").await.map_err(|e| format!("{e:?}"))?;
        wanted = "Processed: Resumed! Received: true".to_owned();
    } else {
        hints.give(instance);
    }
    match client.wait_for_orchestration(instance, PATIENCE).await {
        Ok(OrchestrationStatus::Completed { output, .. }) if output == wanted => Ok(asked.elapsed()),
        other => Err(format!("instance {instance} ended wrongly: {other:?}").into()),
    }
}

/// The processor time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

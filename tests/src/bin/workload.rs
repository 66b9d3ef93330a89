//! A server whose orchestrators make work: many calls, children, timers, events, executions.
#![allow(missing_docs, reason = "a program for tests")]

#[path = "common/serve.rs"]
mod serve;

use std::time::Duration;

use durable::{App, Context, Error, EventName, Failure, Next, activity, orchestrator};
use durable_orchestrator::activities::log::log_activity;
use durable_orchestrator::base::base_orchestrator;
use serde::{Deserialize, Serialize};

const EVENTS_PER_EXECUTION: usize = 7;

/// Twice the number.
#[activity]
async fn double(n: u64) -> Result<u64, Failure> {
    Ok(2 * n)
}

/// Says in a file that an attempt has begun, if `ATTEMPTS` names one.
fn note(millis: u64) -> Result<(), Failure> {
    if let Ok(path) = std::env::var("ATTEMPTS") {
        let line = format!("{millis}\n");
        let written = std::fs::File::options().create(true).append(true).open(path).and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()));
        written.map_err(|e| Failure::new("Io", e.to_string()))?;
    }
    Ok(())
}

/// Takes this many milliseconds.
#[activity]
async fn slow(millis: u64) -> Result<u64, Failure> {
    note(millis)?;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Ok(millis)
}

/// Takes this many milliseconds, and the whole thread with it.
#[activity]
async fn blocking(millis: u64) -> Result<u64, Failure> {
    note(millis)?;
    std::thread::sleep(Duration::from_millis(millis));
    Ok(millis)
}

#[orchestrator]
async fn runs_slow(ctx: Context, millis: u64) -> Result<u64, Error> {
    ctx.activity(slow, millis).await
}

#[orchestrator]
async fn runs_blocking(ctx: Context, millis: u64) -> Result<u64, Error> {
    ctx.activity(blocking, millis).await
}

#[orchestrator]
async fn fan_out(ctx: Context, width: u64) -> Result<u64, Error> {
    let all = ctx.map(0..width, |ctx, n| async move { ctx.activity(double, n).await }).await;
    all.into_iter().sum()
}

/// A tree of children: `depth` below this one, `width` at each node; gives the number of leaves.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Tree {
    depth: u64,
    width: u64,
}

#[orchestrator]
async fn tree(ctx: Context, of: Tree) -> Result<u64, Error> {
    if of.depth == 0 {
        return Ok(ctx.activity(double, 1).await? / 2);
    }
    let below = Tree { depth: of.depth - 1, width: of.width };
    let all = ctx.map(0..of.width, move |ctx, _| {
        let below = below.clone();
        async move { ctx.sub_orchestration(tree, below).await }
    });
    all.await.into_iter().sum()
}

#[orchestrator]
async fn sleeper(ctx: Context, seconds: f64) -> Result<String, Error> {
    ctx.timer(Duration::from_secs_f64(seconds)).await;
    Ok("woke".to_owned())
}

#[orchestrator]
async fn waits_for_child(ctx: Context, seconds: f64) -> Result<String, Error> {
    let id = format!("child-of-{}", ctx.instance_id());
    ctx.sub_orchestration(sleeper, seconds).instance_id(id).await
}

/// What has been collected so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Collected {
    items: Vec<String>,
}

/// Collects the events `Item` over many executions, in the order in which they are taken, until one of them is empty.
#[orchestrator]
async fn collect(ctx: Context, so_far: Option<Collected>) -> Result<Next<Vec<String>, Option<Collected>>, Error> {
    let mut collected = so_far.unwrap_or_default();
    for _ in 0..EVENTS_PER_EXECUTION {
        let item: String = ctx.event(EventName::new("Item")).await?;
        if item.is_empty() {
            return Ok(Next::Done(collected.items));
        }
        ctx.activity(double, 1).await?;
        collected.items.push(item);
    }
    Ok(Next::Again(Some(collected)))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = App::builder()
        .orchestrator(base_orchestrator)
        .orchestrator(runs_slow)
        .orchestrator(runs_blocking)
        .orchestrator(fan_out)
        .orchestrator(tree)
        .orchestrator(sleeper)
        .orchestrator(waits_for_child)
        .orchestrator(collect)
        .activity(log_activity)
        .activity(double)
        .activity(slow)
        .activity(blocking);
    serve::serve(app.build()?)
}

//! Orchestrators that make work: many calls, children, timers, events, executions; with those of the template, for every host.

use std::time::Duration;

use durable::{ActivityContext, App, AppBuilder, Context, Error, EventName, Failure, InstanceId, Next, activity, orchestrator};
use durable_orchestrator::activities::log::log_activity;
use durable_orchestrator::activities::status_narrator::status_narrator_activity;
use durable_orchestrator::activities::webhook::Webhook;
use durable_orchestrator::base::base_orchestrator;
use durable_orchestrator::standing_intent::standing_intent_orchestrator;
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

/// Succeeds at the third attempt.
#[activity(retry(first = "200ms", attempts = 3))]
async fn third_time_lucky(ctx: ActivityContext, _: ()) -> Result<u32, Failure> {
    if ctx.attempt() < 3 { Err(Failure::new("Unlucky", "not yet")) } else { Ok(ctx.attempt()) }
}

#[orchestrator]
async fn tries(ctx: Context) -> Result<u32, Error> {
    ctx.activity(third_time_lucky, ()).await
}

/// May take so long that a host with little time gives it to another worker.
#[activity(attempt_timeout = "10m")]
async fn patient(millis: u64) -> Result<u64, Failure> {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Ok(millis)
}

#[orchestrator]
async fn runs_patient(ctx: Context, millis: u64) -> Result<u64, Error> {
    ctx.activity(patient, millis).await
}

#[orchestrator]
async fn panics(_: Context) -> Result<(), Error> {
    panic!("out of paper")
}

/// Never comes back.
#[orchestrator]
async fn spins(_: Context) -> Result<(), Error> {
    loop {
        std::hint::spin_loop();
    }
}

/// Gives the data of the event `Go` back, twice.
#[orchestrator]
async fn echo_twice(ctx: Context) -> Result<Vec<String>, Error> {
    let text: String = ctx.event(EventName::new("Go")).await?;
    Ok(vec![text.clone(), text])
}

/// Gathers three events `Item`, each in an execution of its own.
#[orchestrator]
async fn gather(ctx: Context, so_far: Option<Collected>) -> Result<Next<Vec<String>, Option<Collected>>, Error> {
    let mut collected = so_far.unwrap_or_default();
    collected.items.push(ctx.event(EventName::new("Item")).await?);
    Ok(if collected.items.len() == 3 { Next::Done(collected.items) } else { Next::Again(Some(collected)) })
}

/// What is told to whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Telling {
    to: String,
    items: Vec<String>,
}

/// Sends another instance the events `Item`, the last of them after a pause.
#[orchestrator]
async fn tell(ctx: Context, telling: Telling) -> Result<(), Error> {
    let to = InstanceId::new(telling.to)?;
    let last = telling.items.len().saturating_sub(1);
    for (n, item) in telling.items.into_iter().enumerate() {
        if n == last {
            ctx.timer(Duration::from_millis(300)).await;
        }
        ctx.send_event::<String>(&to, EventName::new("Item"), item)?;
    }
    Ok(())
}

/// Fails until there is the file that `MENDED` names.
#[activity]
async fn fragile(_: ()) -> Result<String, Failure> {
    let mended = std::env::var("MENDED").is_ok_and(|path| std::path::Path::new(&path).exists());
    if mended { Ok("mended".to_owned()) } else { Err(Failure::new("Broken", "not yet").non_retryable()) }
}

#[orchestrator]
async fn breaks(ctx: Context) -> Result<String, Error> {
    ctx.activity(fragile, ()).await
}

/// All of them.
pub fn app() -> AppBuilder {
    App::builder()
        .orchestrator(base_orchestrator)
        .orchestrator(standing_intent_orchestrator)
        .orchestrator(runs_slow)
        .orchestrator(runs_blocking)
        .orchestrator(runs_patient)
        .orchestrator(tries)
        .orchestrator(fan_out)
        .orchestrator(tree)
        .orchestrator(sleeper)
        .orchestrator(waits_for_child)
        .orchestrator(collect)
        .orchestrator(panics)
        .orchestrator(spins)
        .orchestrator(echo_twice)
        .orchestrator(gather)
        .orchestrator(tell)
        .orchestrator(breaks)
        .activity(log_activity)
        .activity(status_narrator_activity)
        .activity(double)
        .activity(slow)
        .activity(blocking)
        .activity(patient)
        .activity(third_time_lucky)
        .activity(fragile)
        .resource(Webhook::from_env())
}

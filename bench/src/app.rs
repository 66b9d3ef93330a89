//! The workload: the base lifecycle with activities that do nothing.

use std::time::Duration;

use durable::{App, AppError, Context, Error, EventName, Failure, activity, orchestrator};

/// A step.
#[activity]
async fn step(text: String) -> Result<String, Failure> {
    Ok(format!("Processed: {text}"))
}

/// Two steps around a wait.
#[orchestrator]
async fn lifecycle(ctx: Context, message: String) -> Result<String, Error> {
    ctx.activity(step, message).await?;
    let payload: serde_json::Value = ctx.event(EventName::new("WakeUp")).await?;
    ctx.activity(step, format!("Resumed! Received: {payload}")).await
}

/// What the event carries.
pub(crate) const EVENT: &str = r#"{"approved":true}"#;
/// What a lifecycle must come to.
pub(crate) const OUTPUT: &str = r#""Processed: Resumed! Received: {\"approved\":true}""#;

/// The app that is measured.
pub(crate) fn app() -> Result<App, AppError> {
    App::builder().orchestrator(lifecycle).activity(step).build_id("bench").build()
}

/// The processor time of this whole process so far.
pub(crate) fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields 14 and 15 (user and system time in ticks of 1/100 s), counted behind the name in parentheses.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Median and 99th percentile.
pub(crate) fn percentiles(mut all: Vec<Duration>) -> (Duration, Duration) {
    all.sort_unstable();
    let at = |share: f64| all.get(((all.len() as f64 * share) as usize).min(all.len().saturating_sub(1))).copied().unwrap_or_default();
    (at(0.5), at(0.99))
}

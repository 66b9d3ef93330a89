//! What is run: orchestrators whose activities do nothing, so that all that costs is the engine.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use durable::{ActivityContext, App, AppError, Context, Error, EventName, Failure, activity, orchestrator};

/// When each step of a sequence ran.
#[derive(Clone, Default)]
pub(crate) struct Marks(Arc<Mutex<Vec<Instant>>>);

impl Marks {
    fn add(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
    }

    /// Gives them, and begins afresh.
    pub fn take(&self) -> Vec<Instant> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A step.
#[activity]
async fn step(text: String) -> Result<String, Failure> {
    Ok(format!("Processed: {text}"))
}

/// A step that says when it ran.
#[activity]
async fn mark(ctx: ActivityContext, n: u64) -> Result<u64, Failure> {
    ctx.resource::<Marks>().ok_or_else(|| Failure::new("NoMarks", "the app has no place for marks"))?.add();
    Ok(n)
}

/// Two steps around a wait.
#[orchestrator]
async fn lifecycle(ctx: Context, message: String) -> Result<String, Error> {
    ctx.activity(step, message).await?;
    let payload: serde_json::Value = ctx.event(EventName::new("WakeUp")).await?;
    ctx.activity(step, format!("Resumed! Received: {payload}")).await
}

/// One step.
#[orchestrator]
async fn hello(ctx: Context, message: String) -> Result<String, Error> {
    ctx.activity(step, message).await
}

/// So many steps, one after the other.
#[orchestrator]
async fn sequence(ctx: Context, steps: u64) -> Result<u64, Error> {
    let mut sum = 0;
    for n in 0..steps {
        sum += ctx.activity(mark, n).await?;
    }
    Ok(sum)
}

/// So many steps at a time.
#[orchestrator]
async fn fan_out(ctx: Context, width: u64) -> Result<u64, Error> {
    let all = ctx.map(0..width, |ctx, n| async move { ctx.activity(mark, n).await }).await;
    all.into_iter().sum()
}

/// The event that a lifecycle waits for.
pub(crate) const EVENT: &str = "WakeUp";
/// What it carries.
pub(crate) const EVENT_DATA: &str = r#"{"approved":true}"#;
/// What a lifecycle must come to.
pub(crate) const LIFECYCLE_OUTPUT: &str = r#""Processed: Resumed! Received: {\"approved\":true}""#;
/// What a hello must come to.
pub(crate) const HELLO_OUTPUT: &str = r#""Processed: Hello""#;

/// The app that is measured.
pub(crate) fn app(marks: Marks) -> Result<App, AppError> {
    let app = App::builder().orchestrator(lifecycle).orchestrator(hello).orchestrator(sequence).orchestrator(fan_out);
    app.activity(step).activity(mark).resource(marks).build_id("bench").build()
}

//! The small ports that every host has alike: clock, random bytes, attempts of activities, and no safety net where the store has it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use durable::header::ActivityTask;
use durable::ids::Incarnation;
use durable::message::Outcome;
use durable::ports::{Clock, Dispatch, Entropy, Handle, PortFuture, StoreError, Wake};
use durable::{App, Engine, Failure, InstanceId, KIND_TIMEOUT, Timestamp};
use tokio::runtime::Handle as Runtime;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

/// More often than this nothing is let go.
const SHORTEST_REST: Duration = Duration::from_millis(100);

/// The system's clock, and the runtime's timers.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }

    fn sleep_until(&self, at: Timestamp) -> PortFuture<()> {
        let wait = self.now().until(at);
        // Made when polled, so that it belongs to the runtime that polls it.
        Box::pin(async move { tokio::time::sleep(wait).await })
    }
}

/// The system's random bytes.
#[derive(Debug, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        // Without random bytes two lives of one instance id could meet: better no process than that.
        if let Err(e) = getrandom::fill(buffer) {
            tracing::error!("the system gives no random bytes: {e}");
            std::process::abort();
        }
    }
}

/// Has the engine let go of instances that have been idle for this long, or up to twice as long, again and again.
pub async fn rest_every(engine: Engine, idle: Duration) {
    loop {
        tokio::time::sleep(idle.max(SHORTEST_REST)).await;
        engine.rest();
    }
}

/// Runs activities, so many at a time.
pub struct Activities {
    app: Arc<App>,
    runtime: Runtime,
    at_a_time: Arc<Semaphore>,
}

impl Activities {
    /// Runs the activities of an app on this runtime, `at_a_time` at a time.
    #[must_use]
    pub fn new(app: Arc<App>, runtime: Runtime, at_a_time: usize) -> Self {
        Self { app, runtime, at_a_time: Arc::new(Semaphore::new(at_a_time.clamp(1, Semaphore::MAX_PERMITS))) }
    }
}

impl std::fmt::Debug for Activities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Activities({} free)", self.at_a_time.available_permits())
    }
}

impl Dispatch for Activities {
    fn run(&self, task: ActivityTask) -> PortFuture<Outcome> {
        let (app, at_a_time) = (self.app.clone(), self.at_a_time.clone());
        let attempt = self.runtime.spawn(async move {
            // The semaphore is never closed.
            let _permit = at_a_time.acquire_owned().await;
            attempt(&app, task).await
        });
        Box::pin(async move {
            match attempt.await {
                Ok(outcome) => outcome,
                // The runtime is shutting down: the attempt is lost, and made again after the restart.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

/// One attempt of an activity, cut off at its limit. Never ends with a panic.
pub async fn attempt(app: &App, task: ActivityTask) -> Outcome {
    let (limit, name, number) = (task.timeout, task.name.clone(), task.attempt);
    let run = app.run_activity(task);
    let Some(limit) = limit else { return run.await };
    match tokio::time::timeout(limit, run).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let failure = Failure::new(KIND_TIMEOUT, format!("attempt {number} of activity `{name}` took longer than {limit:?} and was cut off"));
            Outcome::Failed(Failure { attempts: number, ..failure })
        }
    }
}

/// Runs an attempt on the runtime's own threads; it ends with whoever waits for it.
#[must_use]
pub fn in_background(attempt: impl Future<Output = Outcome> + Send + 'static) -> PortFuture<Outcome> {
    let attempt = AbortOnDropHandle::new(tokio::spawn(attempt));
    Box::pin(async move {
        match attempt.await {
            Ok(outcome) => outcome,
            Err(e) => Outcome::Failed(Failure::new("Lost", e.to_string())),
        }
    })
}

/// The store itself names what is left to do: nothing to put up.
#[derive(Debug, Clone, Copy)]
pub struct NoWake;

impl Wake for NoWake {
    fn cover(&self, _: &InstanceId, _: Incarnation, _: u64, _: Timestamp) -> PortFuture<Result<Handle, StoreError>> {
        Box::pin(std::future::ready(Ok(Handle::new())))
    }

    fn release(&self, _: Handle) -> PortFuture<()> {
        Box::pin(std::future::ready(()))
    }
}

/// Names this build by its program file: another file is another build.
#[must_use]
pub fn build_of_this_program() -> String {
    let of_file = || {
        let metadata = std::env::current_exe().ok()?.metadata().ok()?;
        let changed = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(format!("{:x}-{:x}", metadata.len(), changed.as_millis()))
    };
    of_file().unwrap_or_else(|| "unnamed".to_owned())
}

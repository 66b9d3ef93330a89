//! The small ports of the local host: clock, random bytes, activities on threads of their own, and no safety net (the store has it).

use std::sync::Arc;
use std::time::SystemTime;

use durable::header::ActivityTask;
use durable::ids::Incarnation;
use durable::message::Outcome;
use durable::ports::{Clock, Dispatch, Entropy, Handle, PortFuture, StoreError, Wake};
use durable::{App, Failure, InstanceId, KIND_TIMEOUT, Timestamp};
use tokio::runtime::{Builder, Handle as Runtime};
use tokio::sync::Semaphore;

/// The system's clock, and the runtime's timers.
pub(crate) struct SystemClock;

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
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        // Without random bytes two lives of one instance id could meet: better no process than that.
        if let Err(e) = getrandom::fill(buffer) {
            tracing::error!("the system gives no random bytes: {e}");
            std::process::abort();
        }
    }
}

/// The threads that activities run on: their own, so that one that blocks its thread holds up neither a request nor the end of the process.
pub(crate) struct ActivityThreads(Option<tokio::runtime::Runtime>);

impl ActivityThreads {
    pub fn start() -> std::io::Result<(Self, Runtime)> {
        let runtime = Builder::new_multi_thread().thread_name("activities").enable_all().build()?;
        let handle = runtime.handle().clone();
        Ok((Self(Some(runtime)), handle))
    }
}

impl Drop for ActivityThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // No activity takes a further step, and none is waited for.
            runtime.shutdown_background();
        }
    }
}

/// Runs activities, so many at a time.
pub(crate) struct Activities {
    app: Arc<App>,
    runtime: Runtime,
    at_a_time: Arc<Semaphore>,
}

impl Activities {
    pub fn new(app: Arc<App>, runtime: Runtime, at_a_time: usize) -> Self {
        Self { app, runtime, at_a_time: Arc::new(Semaphore::new(at_a_time.clamp(1, Semaphore::MAX_PERMITS))) }
    }
}

impl Dispatch for Activities {
    fn run(&self, task: ActivityTask) -> PortFuture<Outcome> {
        let (app, at_a_time) = (self.app.clone(), self.at_a_time.clone());
        let attempt = self.runtime.spawn(async move {
            // The semaphore is never closed.
            let _permit = at_a_time.acquire_owned().await;
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

/// The store itself names what is left to do: nothing to put up.
pub(crate) struct NoWake;

impl Wake for NoWake {
    fn cover(&self, _: &InstanceId, _: Incarnation, _: u64, _: Timestamp) -> PortFuture<Result<Handle, StoreError>> {
        Box::pin(std::future::ready(Ok(Handle::new())))
    }

    fn release(&self, _: Handle) -> PortFuture<()> {
        Box::pin(std::future::ready(()))
    }
}

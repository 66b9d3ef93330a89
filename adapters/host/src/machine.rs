//! What a process has of the machine that it runs on: its clock, how long it has been running, and attempts of activities. What decides by
//! these is given them, so that it runs on other machines too, such as simulated ones.
//!
//! Must never: know what they are asked for.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use durable::header::ActivityTask;
use durable::message::Outcome;
use durable::ports::{Clock, PortFuture};
use durable::{App, Timestamp};
use futures_util::future::{Either, select};

use crate::{SystemClock, attempt, in_background};

/// A machine, as one process has it.
pub trait Machine: Clock {
    /// For how long this process has been running, by a clock that nobody sets.
    fn uptime(&self) -> Duration;
    /// Makes an attempt of an activity, cut off at the limit that the task names. It ends with whoever waits for it.
    fn attempt(&self, task: ActivityTask) -> PortFuture<Outcome>;
}

/// The machine that this program runs on, and the activities of its app.
#[derive(Debug, Clone)]
pub struct ThisMachine {
    app: Arc<App>,
    begun: Instant,
}

impl ThisMachine {
    /// Makes attempts of this app's activities on the runtime's own threads.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self { app, begun: Instant::now() }
    }
}

impl Clock for ThisMachine {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn sleep_until(&self, at: Timestamp) -> PortFuture<()> {
        SystemClock.sleep_until(at)
    }
}

impl Machine for ThisMachine {
    fn uptime(&self) -> Duration {
        self.begun.elapsed()
    }

    fn attempt(&self, task: ActivityTask) -> PortFuture<Outcome> {
        let app = self.app.clone();
        in_background(async move { attempt(&app, task).await })
    }
}

/// What comes of a future, unless it takes longer than that.
pub async fn within<T>(clock: &dyn Clock, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let end = clock.sleep_until(clock.now().after(limit));
    match select(pin!(future), end).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

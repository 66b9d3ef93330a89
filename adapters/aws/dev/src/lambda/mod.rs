//! Lambda around the function: synchronous invocations, the queue of asynchronous ones, and the stop of recursive loops.
//!
//! Must never: give the function an event that Lambda would refuse, or keep from it one that Lambda would deliver.

mod api;
mod counts;
mod queue;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use api::router;
use counts::Counters;
pub use counts::Counts;
pub use queue::FailedEvent;
use queue::Queued;
use tokio::task::JoinHandle;

use crate::function::{Event, Function, Kind, Outcome, Refused, SYNC_LIMIT};
use crate::journal::Journal;
use crate::pulse::Pulse;

/// The largest asynchronous event: 1 MB.
pub const ASYNC_LIMIT: usize = 1024 * 1024;

/// After how many invocations in one chain the next one is stopped.
pub const LOOP_LIMIT: u32 = 16;

/// How asynchronous events are treated.
#[derive(Debug, Clone)]
pub struct AsyncOptions {
    /// When an event that failed is tried again: one entry for each further attempt. Lambda's are one and two minutes.
    pub retries: Vec<Duration>,
    /// The first back-off after a throttle. It doubles.
    pub backoff: Duration,
    /// The longest back-off after throttles. Lambda's is five minutes.
    pub longest_backoff: Duration,
    /// How old an event gets.
    pub max_age: Duration,
    /// What fails for good comes back to the function as a record of the failure. Without it, the event is dropped.
    pub on_failure: bool,
    /// Delivers each event twice, as Lambda now and then does.
    pub twice: bool,
    /// The function's setting `RecursiveLoop: Allow`. Without it, a chain of self-invocations is stopped after [`LOOP_LIMIT`].
    pub allow_loops: bool,
}

impl Default for AsyncOptions {
    fn default() -> Self {
        Self {
            retries: vec![Duration::from_secs(60), Duration::from_secs(120)],
            backoff: Duration::from_secs(1),
            longest_backoff: Duration::from_secs(300),
            max_age: Duration::from_secs(6 * 3600),
            on_failure: true,
            twice: false,
            allow_loops: false,
        }
    }
}

/// Why Lambda did not take an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// It is too large.
    #[error("{size} byte payload is too large for the {invocation} invocation type (limit {limit} bytes)")]
    TooLarge {
        /// Its size.
        size: usize,
        /// What is allowed.
        limit: usize,
        /// `RequestResponse` or `Event`.
        invocation: &'static str,
    },
    /// The chain that it is in is too long.
    #[error("Lambda has detected your function being invoked in a recursive loop and stopped it; set RecursiveLoop to Allow if that is what you want")]
    Loop,
    /// The function did not take it.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Lambda with its one function.
pub(crate) struct Lambda {
    /// The function's name.
    pub(crate) name: String,
    /// The function's ARN.
    pub(crate) arn: String,
    function: Arc<dyn Function>,
    options: AsyncOptions,
    counters: Counters,
    journal: Arc<Journal>,
    pulse: Pulse,
    queue: Mutex<BTreeMap<String, JoinHandle<()>>>,
    failed: Mutex<Vec<FailedEvent>>,
}

impl std::fmt::Debug for Lambda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lambda").field("arn", &self.arn).finish_non_exhaustive()
    }
}

impl Lambda {
    pub(crate) fn new(name: String, arn: String, function: Arc<dyn Function>, options: AsyncOptions, journal: Arc<Journal>, pulse: Pulse) -> Arc<Self> {
        let (counters, queue, failed) = (Counters::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { name, arn, function, options, counters, journal, pulse, queue, failed })
    }

    /// Invokes the function and waits for its answer.
    ///
    /// # Errors
    /// [`InvokeError`] if the function has not run.
    pub(crate) async fn invoke(&self, event: Event) -> Result<Outcome, InvokeError> {
        if event.payload.len() > SYNC_LIMIT {
            return Err(InvokeError::TooLarge { size: event.payload.len(), limit: SYNC_LIMIT, invocation: "RequestResponse" });
        }
        self.check_loop(&event)?;
        Ok(self.run(event).await?)
    }

    fn check_loop(&self, event: &Event) -> Result<(), InvokeError> {
        if self.options.allow_loops || event.trace.invocations() <= LOOP_LIMIT {
            return Ok(());
        }
        self.counters.stopped_loop();
        tracing::warn!("a chain of {LOOP_LIMIT} invocations is stopped: event {} is not delivered", event.request_id);
        Err(InvokeError::Loop)
    }

    /// One invocation, counted.
    async fn run(&self, event: Event) -> Result<Outcome, Refused> {
        let kind = event.kind;
        let outcome = self.function.invoke(event).await;
        let outcome = match outcome {
            Ok(Outcome::Answered(payload)) if payload.len() > SYNC_LIMIT => Ok(Outcome::failed(
                "Function.ResponseSizeTooLarge",
                &format!("Response payload size exceeded maximum allowed payload size ({SYNC_LIMIT} bytes)."),
            )),
            outcome => outcome,
        };
        self.counters.invoked(kind, &outcome);
        self.pulse.beat();
        outcome
    }

    /// Takes an asynchronous event into the queue.
    ///
    /// # Errors
    /// [`InvokeError::TooLarge`]. All else happens later, and ends in the record of the failure.
    pub(crate) fn enqueue(self: &Arc<Self>, event: Event) -> Result<(), InvokeError> {
        if event.payload.len() > ASYNC_LIMIT {
            return Err(InvokeError::TooLarge { size: event.payload.len(), limit: ASYNC_LIMIT, invocation: "Event" });
        }
        if self.options.twice {
            self.carry(Queued::new(event.clone()));
        }
        self.carry(Queued::new(event));
        Ok(())
    }

    /// Goes on with what the last run of the driver left in its queue.
    pub(crate) fn resume(self: &Arc<Self>) {
        for (key, queued) in self.journal.all::<Queued>(queue::KIND) {
            self.hold(key, queued);
        }
    }

    fn queue(&self) -> MutexGuard<'_, BTreeMap<String, JoinHandle<()>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asynchronous events that wait or run.
    pub(crate) fn queued(&self) -> usize {
        self.queue().len()
    }

    /// Invocations under way.
    pub(crate) fn busy(&self) -> usize {
        self.function.busy()
    }

    /// The function itself.
    pub(crate) fn function(&self) -> &dyn Function {
        &*self.function
    }

    /// What has been counted.
    pub(crate) fn counts(&self) -> Counts {
        self.counters.read()
    }

    /// Events that failed for good, oldest first.
    pub(crate) fn failed(&self) -> Vec<FailedEvent> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the queue and the processes. What is queued stays in the journal.
    pub(crate) fn stop(&self) {
        for (_, carrier) in std::mem::take(&mut *self.queue()) {
            carrier.abort();
        }
        self.function.stop();
    }

    /// An event of a timer: asynchronous in how it is delivered, but counted as what it is.
    pub(crate) fn enqueue_timer(self: &Arc<Self>, payload: String) -> Result<(), InvokeError> {
        self.enqueue(Event::new(Kind::Timer, payload))
    }
}

//! A cloud that runs: where it is reached, what it has done, and what can be done to it.
//!
//! Must never: leave a process behind.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::builder::Builder;
use crate::function::{Event, Kind, Outcome, SandboxInfo};
use crate::lambda::{Counts, FailedEvent, InvokeError};
use crate::parts::{NotQuiet, Parts};
use crate::schedule::Schedule;
use crate::steps::{Execution, ExecutionStatus};
use crate::stream::{FailedBatch, Trouble};

/// One function with what of AWS is around it. Dropping it ends everything, the processes included.
pub struct Cloud {
    parts: Arc<Parts>,
    url: SocketAddr,
    api: SocketAddr,
    env: BTreeMap<String, String>,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cloud").field("url", &self.url).field("api", &self.api).finish_non_exhaustive()
    }
}

impl Cloud {
    /// Settings, all at what AWS has if nothing else is said.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(parts: Arc<Parts>, url: SocketAddr, api: SocketAddr, env: BTreeMap<String, String>) -> Self {
        Self { parts, url, api, env, tasks: JoinSet::new() }
    }

    /// Runs a task that ends with the cloud.
    pub(crate) fn run(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Serves a router for as long as the cloud is there.
    pub(crate) fn serve(&mut self, listener: TcpListener, router: axum::Router) {
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            // Answers are small: waiting to fill a packet would only delay them.
            let _ = stream.set_nodelay(true);
        });
        self.run(async move {
            if let Err(e) = axum::serve(listener, router).await {
                tracing::error!("serving broke off: {e}");
            }
        });
    }

    /// The function's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.url)
    }

    /// The endpoint of Lambda, Step Functions, Scheduler and the driver itself.
    #[must_use]
    pub fn api(&self) -> String {
        format!("http://{}", self.api)
    }

    /// The environment that the function's processes get.
    #[must_use]
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// The function's ARN.
    #[must_use]
    pub fn function_arn(&self) -> &str {
        &self.parts.lambda.arn
    }

    /// The state machine's ARN, if there is one.
    #[must_use]
    pub fn state_machine_arn(&self) -> Option<&str> {
        self.parts.steps.as_ref().map(|steps| steps.arn.as_str())
    }

    /// Sends the function an event and waits for its answer. [`crate::url`] makes events of requests.
    ///
    /// # Errors
    /// [`InvokeError`] if the function has not run.
    pub async fn invoke(&self, payload: impl Into<bytes::Bytes>) -> Result<Outcome, InvokeError> {
        self.parts.lambda.invoke(Event::new(Kind::Direct, payload)).await
    }

    /// Puts an event into the asynchronous queue.
    ///
    /// # Errors
    /// [`InvokeError::TooLarge`].
    pub fn enqueue(&self, payload: impl Into<bytes::Bytes>) -> Result<(), InvokeError> {
        self.parts.lambda.enqueue(Event::new(Kind::Async, payload))
    }

    /// Invocations so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.parts.lambda.counts()
    }

    /// The processes.
    #[must_use]
    pub fn sandboxes(&self) -> Vec<SandboxInfo> {
        self.parts.lambda.function().sandboxes()
    }

    /// Kills a process with SIGKILL. False if there is none with this number.
    #[must_use]
    pub fn kill(&self, sandbox: u64) -> bool {
        self.parts.lambda.function().kill(sandbox)
    }

    /// Asynchronous events that wait or run.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.parts.lambda.queued()
    }

    /// Asynchronous events that failed for good, oldest first.
    #[must_use]
    pub fn failed_events(&self) -> Vec<FailedEvent> {
        self.parts.lambda.failed()
    }

    /// All executions of the state machine.
    #[must_use]
    pub fn executions(&self) -> Vec<Execution> {
        self.parts.steps.as_ref().map(|steps| steps.all()).unwrap_or_default()
    }

    /// Those that have not ended.
    #[must_use]
    pub fn open_executions(&self) -> Vec<Execution> {
        let mut open = self.executions();
        open.retain(|execution| execution.status == ExecutionStatus::Running);
        open
    }

    /// The schedules there are.
    #[must_use]
    pub fn schedules(&self) -> Vec<Schedule> {
        self.parts.scheduler.all()
    }

    /// Makes the stream suffer, or lets it be.
    pub fn trouble_stream(&self, change: impl FnOnce(&mut Trouble)) {
        if let Some(stream) = &self.parts.stream {
            stream.trouble(change);
        }
    }

    /// Records of the stream that were read and are not done with.
    #[must_use]
    pub fn stream_backlog(&self) -> usize {
        self.parts.stream.as_ref().map_or(0, |stream| stream.backlog())
    }

    /// Batches of the stream that were given up, oldest first.
    #[must_use]
    pub fn failed_batches(&self) -> Vec<FailedBatch> {
        self.parts.stream.as_ref().map(|stream| stream.failed()).unwrap_or_default()
    }

    /// Waits until no sandbox is busy, all queues are empty and the stream has been read to its end. Timers that wait are quiet, and so is a paused stream.
    ///
    /// # Errors
    /// [`NotQuiet`] says what is left.
    pub async fn quiesce(&self, within: Duration) -> Result<(), NotQuiet> {
        self.parts.quiesce(within).await
    }

    /// Ends everything.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.parts.stop();
    }
}

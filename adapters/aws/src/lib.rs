//! Durable Orchestrator on AWS Lambda: state in DynamoDB, wake-ups by its stream, long timers in Step Functions or EventBridge Scheduler.
//!
//! One function, one binary: it takes HTTP requests, batches of the table's stream, timers, and events that it sends to itself. Whoever delivers a
//! message drives the instance in the same invocation; while an instance sleeps nothing runs. Must never: know another host, answer a write that
//! is not durable, or leave anything running behind an invocation.
//!
//! # Crash windows
//! The process can die, or be ended by the platform, between any two calls. "The marker" is the attribute `w` of an instance's item: every write
//! that leaves something to do bears it, the table's stream is filtered on it, and the stream calls this function.
//!
//! | dies | durable then | who goes on |
//! | --- | --- | --- |
//! | before the write of a start, raise, terminate … | nothing of it | the client, which has no answer, repeats it |
//! | after that write, before the answer | all of it | the marker; the client's repeat finds it done |
//! | after a commit that scheduled activities, before or while they run | the schedule, claimed until this invocation must be over | the marker: that commit says that it raised the time of the claims, so the stream's call sends a `check`, which is tried until the claims have ended or nothing is left, and drives |
//! | after a commit, before an activity is handed on to its worker | the schedule, claimed for the worker | the same `check` |
//! | as the worker of an activity | the schedule; the run is noted as this request's | the platform tries the event twice more (same request); then the on-failure event delivers "lost", and the retry policy decides |
//! | after a worker's end was stored, before its instance was driven | the message in the inbox | the marker of that very write |
//! | after an alarm was armed, before the commit that needs it | the alarm | it rings for a revision that is not there: tried again for longer than any invocation lives, then dropped |
//! | while it waits for a short timer in place | the due time, and until when it waits | the marker, and `check` |
//! | after a commit with messages to others, before they are delivered | the outbox | the marker; receivers know what they have by its number |
//! | while there is no room where it sends something | the outbox, held back until a time | the alarm of that time, which was armed before the commit that holds it back |
//! | between sealing history and the commit | the sealed events twice | readers cut at what the header says |
//! | during a purge | the state "purging" | a repeated purge, or the next start of that id |
//! | in user code (stack overflow, abort) | all before it, and the suspect's name in the sandbox | the next process of the sandbox records the fault; elsewhere the platform's tries end |
//! | after the answer, while it drives on | everything that was answered | as above: the answer promises nothing more |

pub mod alarms;
pub mod clients;
mod event;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handler;
mod host;
mod http;
mod http_client;
mod invoker;
mod metrics;
mod runtime;
mod settings;
pub mod store;

use durable::App;

pub use clients::ClientsError;
pub use http_client::http_client;
pub use settings::{Access, Secret, Settings, SettingsError, Timers};

/// A function that cannot be begun, or broke off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AwsError {
    /// The environment does not say what it must.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The environment lacks what the SDK needs.
    #[error(transparent)]
    Clients(#[from] ClientsError),
    /// No task hub can have the name that was said.
    #[error("DURABLE_TASK_HUB: {0}")]
    Hub(#[from] store::BadHub),
    /// The async runtime cannot be started.
    #[error("the async runtime cannot be started: {0}")]
    Runtime(#[from] std::io::Error),
    /// The platform's API broke off.
    #[error("the Lambda runtime API broke off: {0}")]
    Platform(String),
}

/// True in a Lambda sandbox.
#[must_use]
pub fn is_here() -> bool {
    std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some()
}

/// Serves this app as a Lambda function, until the platform ends the process.
///
/// # Errors
/// [`AwsError`] says what is in the way, and what to do.
pub fn serve(app: App) -> Result<(), AwsError> {
    let settings = Settings::from_env()?;
    // Activities, and the SDK's own work, go on while the main thread serves the platform's API.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let parts = host::Parts::new(app, settings, clients::config()?)?;
        let handler = handler::Handler::new(parts);
        runtime::run(handler).await.map_err(|e| AwsError::Platform(e.to_string()))
    })
}

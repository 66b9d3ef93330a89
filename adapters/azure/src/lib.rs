//! Durable Orchestrator on Azure Functions, as a custom handler: state in Table Storage, wake-ups and near alarms in Queue Storage.
//!
//! | module | what |
//! | --- | --- |
//! | [`storage`] | the account, who may use it, and one signed request to it |
//! | [`store`] | the Store port, in one table |
//! | [`table`] | rows of tables, and transactions of rows |
//! | [`queue`] | messages that are delivered at once or later |
//! | [`alarms`] | the rows that far alarms stand in |
//!
//! One process serves one instance of the app: an HTTP server on loopback that the Functions host calls, for requests of clients and for its
//! queue and timer functions. Whoever delivers a message drives the instance at once, in the engine of this process; the answer goes out when what
//! it says is durable, and the engine goes on. What it does with each message, and what is a message, is [`durable_host::queued`]. Several processes may serve one hub. While nothing is under way nothing of ours runs, but the
//! hourly function.
//!
//! Must never: know another cloud, let anything repeat a request behind the back of the module that sent it, or count on the process being told
//! before it ends: the platform kills it.
//!
//! # Crash windows
//! The process can be killed between any two calls. "The net" is a message to the app itself that was put before the commit, is delivered after
//! half a minute ([`Wake`](durable::ports::Wake)), and is taken back when nothing is under way any more.
//!
//! | dies | durable then | who goes on |
//! | --- | --- | --- |
//! | before the commit of a start, raise, terminate … | at most the net, and an alarm | the client, which has no answer, repeats it; the net awaits a revision that is not there six times, twice its delay apart, and goes; the alarm too |
//! | after that commit, before the answer | all of it | the net; the client's repeat finds it done |
//! | after a commit that scheduled activities, before or while they run | the schedule, claimed as long as the longest of them may take | the net finds the claim, and another one is put behind its end, which drives |
//! | as one who took over what a dead driver had claimed | the claim, by a commit that has its own net | that net |
//! | after a commit, before an activity is handed on | the schedule, claimed for a worker | the net, as above: behind the claim's end it is handed on again |
//! | as the worker of an activity | the schedule; its message is delivered again when its lease ends, ten minutes at most | that message if the claim still lasts, else the net behind the claim's end |
//! | after a worker's end was stored, before its instance was driven | the message in the inbox | the wake-up that was put a second before it was stored |
//! | around a plain delivery | its wake-up first, then the message | the wake-up; if storing took as long as the wake-up's delay, or nobody is there to take it (an earlier try may land in the next life), another one is put before the delivery is acknowledged |
//! | after an alarm was put, before the commit that needs it | the alarm | it rings for a revision that is not there: awaited six times, then dropped |
//! | after a commit that needs an alarm no more, before it is taken back | the alarm | it rings for nothing |
//! | while far alarms are moved | a row, or its message, or both | the next run moves the row once more: a second message finds nothing to do |
//! | after a commit with messages to others, before they are delivered | the outbox | the net; receivers know what they have by its number |
//! | while there is no room where it sends something | the outbox, held back until a time | the alarm of that time, which was put before the commit that holds it back |
//! | as the one who was given a wake-up | that message, invisible until its lease ends | the Functions host delivers it again: at once if only this process has died, within ten minutes if its own machine has |
//! | while a poison queue is emptied | the message there, perhaps also put back | the next hour puts it back once more |
//! | in user code (stack overflow, abort) | all before it, and the suspect's name on this machine | the successor at the same port records the fault |
//! | after the answer, while it drives on | everything that was answered | as above: the answer promises nothing more |

pub mod alarms;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod host;
mod http;
mod metrics;
pub mod posted;
pub mod queue;
mod retry;
mod server;
mod settings;
pub mod storage;
pub mod store;
pub mod table;

use std::net::SocketAddr;

use durable::App;
use durable::ports::StoreError;

pub use settings::{Secret, Settings, SettingsError};

/// An app that cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AzureError {
    /// A setting is missing or wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No task hub can have this name.
    #[error("DURABLE_TASK_HUB: {0}")]
    Hub(String),
    /// The secret of signed URLs cannot be used.
    #[error("DURABLE_URL_SECRET: {0}")]
    Secret(String),
    /// The storage account says no.
    #[error(
        "the storage account that AzureWebJobsStorage names refuses this app ({0}): check the key or signature in it, or give the app's identity the \
         roles Storage Table Data Contributor and Storage Queue Data Contributor"
    )]
    Refused(storage::Refusal),
    /// The storage account does not answer.
    #[error("the storage account that AzureWebJobsStorage names cannot be reached ({0}): check its address, or start Azurite if it is the one on this machine")]
    Unreachable(String),
    /// Store trouble.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The port is taken.
    #[error("cannot listen on {address}: {why}; the Functions host chose that port (FUNCTIONS_CUSTOMHANDLER_PORT), restart it")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        why: std::io::Error,
    },
    /// A thread, or the runtime, cannot be started.
    #[error("a thread cannot be started: {0}")]
    Runtime(#[from] std::io::Error),
}

impl From<storage::SendError> for AzureError {
    fn from(error: storage::SendError) -> Self {
        match error {
            storage::SendError::Refused(refusal) => Self::Refused(refusal),
            unclear => Self::Store(unclear.into()),
        }
    }
}

/// True if the Functions host has started this process.
#[must_use]
pub fn is_here() -> bool {
    std::env::var_os("FUNCTIONS_CUSTOMHANDLER_PORT").is_some()
}

/// Serves this app to the Functions host, until it ends the process.
///
/// # Errors
/// [`AzureError`] says what is in the way, and what to do. End the process with a failure then: not with 0, by which the Functions host would take
/// it for well, nor 200, by which it would start it again at once.
pub fn serve(app: App) -> Result<std::convert::Infallible, AzureError> {
    let settings = Settings::from_env()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(host::serve(app, settings))
}

//! The function: what takes an event and gives an answer. Two kinds, behind one trait: processes of a `bootstrap` that are run here, and a
//! running `cargo lambda watch`.
//!
//! Must never: try an event again. Retries belong to whoever invokes.

mod pool;
mod runtime_api;
mod sandbox;
mod spawn;
mod watch;

use std::pin::Pin;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub(crate) use pool::{Pool, SandboxOptions};
pub use sandbox::SandboxInfo;
pub(crate) use watch::{Watch, http_client};

use crate::ids::{Trace, uuid};

/// The largest request and response of a synchronous invocation: 6 MB, and room for the envelope.
pub const SYNC_LIMIT: usize = 6 * 1024 * 1024 + 100;

/// Who sends an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The function's URL.
    Url,
    /// The mapping of the table's stream.
    Stream,
    /// Step Functions or EventBridge Scheduler.
    Timer,
    /// The queue of asynchronous invocations.
    Async,
    /// A synchronous `Invoke`.
    Direct,
}

/// One event for the function.
#[derive(Debug, Clone)]
pub struct Event {
    /// Lambda's request id. The retries of an asynchronous event keep it.
    pub request_id: String,
    /// JSON text.
    pub payload: Bytes,
    /// The chain it is in.
    pub trace: Trace,
    /// Who sends it.
    pub kind: Kind,
}

impl Event {
    /// An event that begins a chain.
    #[must_use]
    pub fn new(kind: Kind, payload: impl Into<Bytes>) -> Self {
        Self { request_id: uuid(), payload: payload.into(), trace: Trace::fresh(), kind }
    }
}

/// How an invocation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The function answered.
    Answered(Bytes),
    /// The function failed: its error, or what the runtime says of its end, as JSON text with `errorType` and `errorMessage`.
    Failed(Bytes),
}

impl Outcome {
    /// A failure that the runtime reports.
    pub(crate) fn failed(error_type: &str, message: &str) -> Self {
        Self::Failed(json!({"errorType": error_type, "errorMessage": message}).to_string().into())
    }

    /// The answer, or the error.
    pub(crate) fn into_payload(self) -> Bytes {
        match self {
            Self::Answered(payload) | Self::Failed(payload) => payload,
        }
    }
}

/// Why the function did not take an event: it has not run, nor will it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Every sandbox is busy, and there may be no more.
    #[error("Rate Exceeded.")]
    Throttled,
    /// The function cannot be started or reached.
    #[error("{0}")]
    Unavailable(String),
}

/// A future that a trait gives.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Takes events.
pub trait Function: Send + Sync {
    /// Runs one invocation. The answer comes as soon as the function gives it, even if it goes on working after that.
    fn invoke(&self, event: Event) -> BoxFuture<'_, Result<Outcome, Refused>>;
    /// How many invocations are under way, work after the answer included.
    fn busy(&self) -> usize;
    /// The processes, if they are run here.
    fn sandboxes(&self) -> Vec<SandboxInfo> {
        Vec::new()
    }
    /// Kills a process with SIGKILL. False if there is none with this number.
    fn kill(&self, _sandbox: u64) -> bool {
        false
    }
    /// Ends all processes.
    fn stop(&self) {}
}

//! What a server elsewhere answers, read into types, beside its JSON as it was sent.

use std::ops::Deref;

use durable::header::RuntimeStatus;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::RemoteError;

/// An answer, and the JSON that it was read from. Its `Debug` text leaves the JSON out: the links of a start may carry the key.
#[derive(Clone)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// The server's JSON, exactly as it was sent.
    pub json: String,
}

impl<T: std::fmt::Debug> std::fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.value.fmt(f)
    }
}

impl<T> Deref for Answer<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: DeserializeOwned> Answer<T> {
    pub(super) fn read(json: String) -> Result<Self, RemoteError> {
        let value = serde_json::from_str(&json).map_err(|e| RemoteError::Answer(e.to_string()))?;
        Ok(Self { value, json })
    }
}

/// An instance that has been started: durable.
#[derive(Debug, Clone, Deserialize)]
pub struct RemoteStarted {
    /// Its id.
    pub id: String,
}

/// What people see of an instance.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteStatus {
    /// Name of its orchestrator.
    pub name: String,
    /// Its id.
    pub instance_id: String,
    /// Its state.
    pub runtime_status: RuntimeStatus,
    /// Its input, if it was asked for.
    pub input: Option<Box<RawValue>>,
    /// Its custom status.
    pub custom_status: Option<Box<RawValue>>,
    /// Its output once it has ended: a text if it failed (what it said) or was terminated (the reason).
    pub output: Option<Box<RawValue>>,
    /// When it was created.
    pub created_time: String,
    /// When it last changed.
    pub last_updated_time: String,
    /// Its history, if it was asked for.
    pub history_events: Option<Vec<RemoteEvent>>,
    /// What keeps it from going on, if anything does.
    pub fault: Option<RemoteFault>,
}

impl RemoteStatus {
    /// The output of a completed instance.
    ///
    /// # Errors
    /// [`RemoteError`] if it failed, was terminated, has not ended, or if the output does not fit the type.
    pub fn result<T: DeserializeOwned>(&self) -> Result<T, RemoteError> {
        let instance = self.instance_id.clone();
        match self.runtime_status {
            RuntimeStatus::Completed => {
                let output = self.output.as_deref().map_or("null", RawValue::get);
                serde_json::from_str(output)
                    .map_err(|e| RemoteError::Payload { what: "the output does not fit the type that is asked for", why: e.to_string() })
            }
            RuntimeStatus::Failed => Err(RemoteError::Failed { instance, message: self.output_text() }),
            RuntimeStatus::Terminated | RuntimeStatus::Canceled => Err(RemoteError::Terminated { instance, reason: self.output_text() }),
            other => Err(RemoteError::NotEnded { instance, status: other.name() }),
        }
    }

    /// The output for people: a string without its quotes, anything else as JSON.
    #[must_use]
    pub fn output_text(&self) -> String {
        let json = self.output.as_deref().map(RawValue::get).unwrap_or_default();
        serde_json::from_str(json).unwrap_or_else(|_| json.to_owned())
    }
}

/// One event of a history.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RemoteEvent {
    /// What happened, for example `TaskCompleted`.
    pub event_type: String,
    /// When.
    pub timestamp: String,
    /// The name of what was called or raised.
    #[serde(alias = "FunctionName")]
    pub name: Option<String>,
    /// What it says in words: why something failed, suspended, and so on.
    pub reason: Option<String>,
}

/// What keeps an instance from going on.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteFault {
    /// What kind of trouble.
    pub kind: String,
    /// What happened and what to do, for people.
    pub message: String,
    /// When it is tried again by itself, if it is.
    pub next_try: Option<String>,
}

/// How many instances were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemotePurged {
    /// So many.
    pub instances_deleted: u64,
}

/// One page of a list.
#[derive(Debug, Clone)]
pub struct RemotePage {
    /// The instances.
    pub items: Answer<Vec<RemoteStatus>>,
    /// Where to go on; none at the end.
    pub next: Option<String>,
}

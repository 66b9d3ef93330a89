//! How user code fails: the [`Failure`] that is stored and travels between instances, and the [`Error`] that orchestrators meet.
//!
//! Engine trouble (stores, codecs of the engine's records, non-determinism) is never one of these: it can stop a turn, never fail an instance.

use std::any::Any;
use std::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::payload::PayloadError;

/// Any error that an activity or orchestrator may return with `?`.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A failure of user code, as it is stored: its type, message and chain of causes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Failure {
    /// The type of the error, for example `CardDeclined`. Retry policies match on it.
    #[n(0)]
    pub kind: String,
    /// What the error says.
    #[n(1)]
    pub message: String,
    /// What caused it, outermost first.
    #[n(2)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
    /// True if no retry policy may try again.
    #[n(3)]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub non_retryable: bool,
    /// How many attempts were made (activities).
    #[n(4)]
    #[serde(default)]
    pub attempts: u32,
}

/// The kind of a failure that came from the per-attempt timeout of an activity.
pub const KIND_TIMEOUT: &str = "AttemptTimeout";
/// The kind of a failure that came from a panic in an activity.
pub const KIND_PANIC: &str = "Panic";
/// The kind of a failure that says that a payload did not fit its type.
pub const KIND_PAYLOAD: &str = "Payload";

impl Failure {
    /// A failure with a type and a message of your own.
    #[must_use]
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: message.into(), chain: Vec::new(), non_retryable: false, attempts: 0 }
    }

    /// The same failure, which no retry policy may try again.
    #[must_use]
    pub fn non_retryable(mut self) -> Self {
        self.non_retryable = true;
        self
    }

    /// Takes type, message and causes from the error that user code returned as `E`.
    ///
    /// A [`Failure`], or an [`Error`] around one, keeps what it says of itself.
    #[must_use]
    pub fn from_error<E: Into<BoxError>>(error: E) -> Self {
        let error: BoxError = error.into();
        let error = match error.downcast::<Self>() {
            Ok(own) => return *own,
            Err(other) => other,
        };
        let error = match error.downcast::<Error>() {
            Ok(own) => return own.into_failure(),
            Err(other) => other,
        };
        let mut chain = Vec::new();
        let mut cause = error.source();
        while let Some(c) = cause {
            chain.push(c.to_string());
            cause = c.source();
        }
        Self { chain, ..Self::new(short_type_name::<E>(), error.to_string()) }
    }

    pub(crate) fn from_panic(panic: &(dyn Any + Send)) -> Self {
        Self::new(KIND_PANIC, panic_text(panic))
    }
}

/// What a panic said.
#[must_use]
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a message".to_owned())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)?;
        self.chain.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl std::error::Error for Failure {}

/// The last part of a type's path: good for people, never used as an identity by the engine.
fn short_type_name<T>() -> &'static str {
    let full = std::any::type_name::<T>();
    let plain = full.split('<').next().unwrap_or(full);
    plain.rsplit("::").next().unwrap_or(plain)
}

/// What an `await` in an orchestrator can end in, other than its value.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An activity failed and its retry policy made no further attempt.
    #[error("activity `{name}` failed: {failure}")]
    Activity {
        /// Name of the activity.
        name: String,
        /// What it said.
        failure: Failure,
    },
    /// A sub-orchestration failed or was terminated.
    #[error("sub-orchestration `{name}` failed: {failure}")]
    SubOrchestration {
        /// Name of the orchestrator.
        name: String,
        /// What it said.
        failure: Failure,
    },
    /// A wait with a timeout ran out.
    #[error("no {what} within the timeout")]
    TimedOut {
        /// What was waited for, for example "event `approval`".
        what: String,
    },
    /// A value did not fit its type, or could not be written.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The custom status is larger than Durable Functions allows.
    #[error("the custom status has {bytes} bytes as UTF-16, more than the {max} that are allowed", max = crate::limits::CUSTOM_STATUS_UTF16_BYTES)]
    CustomStatusTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// An instance id given by the orchestrator is not one.
    #[error(transparent)]
    InstanceId(#[from] crate::ids::BadInstanceId),
    /// A signed URL cannot be made.
    #[error(transparent)]
    EventUrl(#[from] crate::event_url::EventUrlError),
    /// A failure that the orchestrator itself states.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl Error {
    /// The failure inside, if user code of an activity or a sub-orchestration failed.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Activity { failure, .. } | Self::SubOrchestration { failure, .. } | Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// True if this is a wait that ran out.
    #[must_use]
    pub const fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }

    fn into_failure(self) -> Failure {
        let message = self.to_string();
        match self {
            Self::Failed(failure) => failure,
            Self::Activity { failure, .. } | Self::SubOrchestration { failure, .. } => {
                let mut chain = vec![failure.message];
                chain.extend(failure.chain);
                Failure { kind: failure.kind, message, chain, non_retryable: failure.non_retryable, attempts: failure.attempts }
            }
            Self::TimedOut { .. } => Failure::new("TimedOut", message),
            Self::Payload(_) => Failure::new(KIND_PAYLOAD, message),
            Self::CustomStatusTooLarge { .. } => Failure::new("CustomStatusTooLarge", message),
            Self::InstanceId(_) => Failure::new("InstanceId", message),
            Self::EventUrl(_) => Failure::new("EventUrl", message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("card declined")]
    struct CardDeclined(#[source] std::fmt::Error);

    #[test]
    fn an_error_keeps_its_type_its_message_and_its_causes() {
        let f = Failure::from_error(CardDeclined(std::fmt::Error));
        assert_eq!((f.kind.as_str(), f.message.as_str(), f.chain.len()), ("CardDeclined", "card declined", 1));
        let own = Failure::new("Mine", "x").non_retryable();
        assert_eq!(Failure::from_error(own.clone()), own);
        let outer = Failure::from_error(Error::Activity { name: "pay".into(), failure: own });
        assert_eq!((outer.kind.as_str(), outer.non_retryable), ("Mine", true));
        assert_eq!(outer.message, "activity `pay` failed: Mine: x");
    }
}

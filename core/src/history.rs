//! History: what has happened to one execution of an instance, in the order in which the state machine took it.
//!
//! Stores keep events as opaque bytes ([`EventBytes`]); only core reads them. A variant or field is never renumbered; new ones get new
//! numbers, so that older histories stay readable.

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::codec::{self, FormatError};
use crate::failure::Failure;
use crate::ids::{Incarnation, InstanceId, MessageId};
use crate::payload::Payload;
use crate::time::Timestamp;

/// The rules of replay that this build writes into new executions. A change of these rules gets a new number, so that older histories keep
/// the rules they were made under.
pub const REPLAY_POLICY: u32 = 1;

/// One event, encoded once by core. The store never looks inside.
pub type EventBytes = Bytes;

/// Who started a sub-orchestration and waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ParentRef {
    /// The parent's id.
    #[n(0)]
    pub instance: InstanceId,
    /// The parent's life.
    #[n(1)]
    pub incarnation: Incarnation,
    /// The parent's execution.
    #[n(2)]
    pub execution: u32,
    /// The call that started this child.
    #[n(3)]
    pub sequence: u32,
    /// False if the parent does not wait for the outcome (detached).
    #[n(4)]
    pub awaited: bool,
}

/// One event of a history.
///
/// Events of two families stand interleaved in the order in which they came to be: what came in (completions, events raised, timers fired)
/// and what the code then asked for (scheduled, created, sent).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Event {
    /// A turn begins; every event up to the next one bears this time.
    #[n(0)]
    TurnStarted {
        /// The time of the turn: what `Context::now` says.
        #[n(0)]
        now: Timestamp,
    },
    /// The execution begins. Its input stands in the instance's record, once.
    #[n(1)]
    ExecutionStarted {
        /// Name of the orchestrator.
        #[n(0)]
        name: String,
        /// The version it is pinned to.
        #[n(1)]
        version: Option<String>,
        /// The rules of replay that this history was made under.
        #[n(2)]
        replay_policy: u32,
    },
    /// The code asked for an activity.
    #[n(2)]
    ActivityScheduled {
        /// The call.
        #[n(0)]
        sequence: u32,
        /// Name of the activity.
        #[n(1)]
        name: String,
        /// Its input.
        #[n(2)]
        input: Payload,
    },
    /// An activity returned a value.
    #[n(3)]
    ActivityCompleted {
        /// The call.
        #[n(0)]
        sequence: u32,
        /// The value.
        #[n(1)]
        result: Payload,
    },
    /// An attempt failed and another will be made.
    #[n(4)]
    ActivityAttemptFailed {
        /// The call.
        #[n(0)]
        sequence: u32,
        /// Why.
        #[n(1)]
        failure: Failure,
        /// When the next attempt is due.
        #[n(2)]
        retry_at: Timestamp,
    },
    /// The next attempt of an activity is due.
    #[n(5)]
    ActivityRetried {
        /// The call.
        #[n(0)]
        sequence: u32,
    },
    /// An activity failed for good.
    #[n(6)]
    ActivityFailed {
        /// The call.
        #[n(0)]
        sequence: u32,
        /// Why.
        #[n(1)]
        failure: Failure,
    },
    /// The code asked for a durable timer.
    #[n(7)]
    TimerCreated {
        /// The call.
        #[n(0)]
        sequence: u32,
        /// When it is due.
        #[n(1)]
        fire_at: Timestamp,
    },
    /// A timer came due.
    #[n(8)]
    TimerFired {
        /// The call.
        #[n(0)]
        sequence: u32,
    },
    /// The code began to wait for an external event.
    #[n(9)]
    EventAwaited {
        /// The call.
        #[n(0)]
        sequence: u32,
        /// Name of the event, as the code wrote it.
        #[n(1)]
        name: String,
    },
    /// An external event was taken in.
    #[n(10)]
    EventRaised {
        /// The message that brought it.
        #[n(0)]
        message: MessageId,
        /// Name as the sender wrote it.
        #[n(1)]
        name: String,
        /// Its data.
        #[n(2)]
        data: Payload,
    },
    /// The code asked for a sub-orchestration.
    #[n(11)]
    SubOrchestrationCreated {
        /// The call.
        #[n(0)]
        sequence: u32,
        /// Name of the orchestrator.
        #[n(1)]
        name: String,
        /// The child's id.
        #[n(2)]
        instance: InstanceId,
        /// Its input.
        #[n(3)]
        input: Payload,
        /// False if nobody waits for it.
        #[n(4)]
        awaited: bool,
        /// The version that the code names, if it names one.
        #[n(5)]
        version: Option<String>,
    },
    /// A sub-orchestration completed.
    #[n(12)]
    SubOrchestrationCompleted {
        /// The call.
        #[n(0)]
        sequence: u32,
        /// Its output.
        #[n(1)]
        result: Payload,
    },
    /// A sub-orchestration failed or was terminated.
    #[n(13)]
    SubOrchestrationFailed {
        /// The call.
        #[n(0)]
        sequence: u32,
        /// Why.
        #[n(1)]
        failure: Failure,
    },
    /// The code sent an event to another instance.
    #[n(14)]
    EventSent {
        /// The call.
        #[n(0)]
        sequence: u32,
        /// The receiver.
        #[n(1)]
        instance: InstanceId,
        /// Name of the event.
        #[n(2)]
        name: String,
        /// Its data.
        #[n(3)]
        data: Payload,
    },
    /// The code passed a patch marker for the first time: this execution runs the patched branch.
    #[n(15)]
    Patched {
        /// Name of the patch.
        #[n(0)]
        id: String,
    },
    /// The instance was suspended: what comes in is recorded, and applied at the resume.
    #[n(16)]
    ExecutionSuspended {
        /// The reason given.
        #[n(0)]
        reason: String,
    },
    /// The instance was resumed.
    #[n(17)]
    ExecutionResumed {
        /// The reason given.
        #[n(0)]
        reason: String,
    },
    /// The instance was terminated.
    #[n(18)]
    ExecutionTerminated {
        /// The reason given.
        #[n(0)]
        reason: String,
    },
    /// The orchestrator returned a value. It stands in the instance's record, once.
    #[n(19)]
    ExecutionCompleted,
    /// The orchestrator returned an error.
    #[n(20)]
    ExecutionFailed {
        /// The error.
        #[n(0)]
        failure: Failure,
    },
    /// A failed instance was rewound: from here a new epoch begins.
    #[n(21)]
    ExecutionRewound {
        /// The reason given.
        #[n(0)]
        reason: String,
        /// Number of events before this one that still count: those named in `masked` do not.
        #[n(1)]
        masked: Vec<u32>,
    },
    /// An external event that was still unclaimed when the execution ended.
    #[n(22)]
    EventUnprocessed {
        /// The message that brought it.
        #[n(0)]
        message: MessageId,
        /// Name as the sender wrote it.
        #[n(1)]
        name: String,
        /// Its data.
        #[n(2)]
        data: Payload,
    },
}

impl Event {
    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> EventBytes {
        codec::to_bytes(self)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`FormatError`] if a newer build wrote it, or it is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        codec::from_bytes(bytes, "history event")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_small_in_stored_form_and_reads_back() {
        let event = Event::ActivityScheduled { sequence: 7, name: "log_activity".into(), input: Payload::from_stored(Bytes::from_static(b"{}")) };
        let bytes = event.to_bytes();
        assert!(bytes.len() <= 22, "{} bytes", bytes.len());
        assert_eq!(Event::from_bytes(&bytes).unwrap(), event);
    }

    #[test]
    fn an_event_of_a_newer_build_is_a_clear_error() {
        let mut bytes = Event::ExecutionCompleted.to_bytes().to_vec();
        bytes[0] = codec::FORMAT + 1;
        assert_eq!(Event::from_bytes(&bytes), Err(FormatError::Newer { what: "history event", found: codec::FORMAT + 1 }));
        assert!(matches!(Event::from_bytes(&[]), Err(FormatError::Damaged { .. })));
    }
}

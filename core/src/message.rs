//! Messages: what has arrived for an instance and has not been consumed.

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::codec::{self, FormatError};
use crate::failure::Failure;
use crate::ids::{EffectId, Incarnation, InstanceId, MessageId};
use crate::payload::Payload;
use crate::time::Timestamp;

/// The sender of a message that another instance's turn asked for, numbered so that a receiver takes each once.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Sender {
    /// The sending instance.
    #[n(0)]
    pub instance: InstanceId,
    /// Tells its lives apart: its incarnation, or what stands for it in one that was begun once more ([`crate::header::Header::asked_again`]).
    #[n(1)]
    pub life: Incarnation,
    /// Grows with every message from this sender and life; the receiver's store keeps the highest one consumed.
    #[n(2)]
    pub number: u64,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Message {
    /// Its id: given by the caller, random, or that of the effect it follows from.
    #[n(0)]
    pub id: MessageId,
    /// When the engine first saw it. Timers due by then fire before it is taken.
    #[n(1)]
    pub arrived: Timestamp,
    /// Set if another instance sent it.
    #[n(2)]
    pub sender: Option<Sender>,
    /// What it says.
    #[n(3)]
    pub body: MessageBody,
    /// True if its id follows from a key that the caller gave and may repeat: the receiver's store remembers it for
    /// [`crate::limits::KEYED_FOR`], not only as long as the header's ring does.
    #[n(4)]
    #[cbor(default)]
    pub keyed: bool,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum MessageBody {
    /// An external event.
    #[n(0)]
    EventRaised {
        /// Its name; matched without regard to case.
        #[n(0)]
        name: String,
        /// Its data.
        #[n(1)]
        data: Payload,
    },
    /// An attempt of an activity has ended.
    #[n(1)]
    ActivityEnded {
        /// The execution that asked for it.
        #[n(0)]
        execution: u32,
        /// The epoch that asked for it.
        #[n(1)]
        epoch: u32,
        /// The call.
        #[n(2)]
        sequence: u32,
        /// The attempt, from 1.
        #[n(3)]
        attempt: u32,
        /// What came of it.
        #[n(4)]
        outcome: Outcome,
    },
    /// A sub-orchestration has ended.
    #[n(2)]
    ChildEnded {
        /// The execution that asked for it.
        #[n(0)]
        execution: u32,
        /// The call.
        #[n(1)]
        sequence: u32,
        /// The child.
        #[n(2)]
        child: InstanceId,
        /// What came of it.
        #[n(3)]
        outcome: Outcome,
    },
    /// End the instance now.
    #[n(3)]
    Terminate {
        /// Becomes the instance's output.
        #[n(0)]
        reason: String,
    },
    /// Take in, but do not run, until resumed.
    #[n(4)]
    Suspend {
        /// For the history.
        #[n(0)]
        reason: String,
    },
    /// Run again.
    #[n(5)]
    Resume {
        /// For the history.
        #[n(0)]
        reason: String,
    },
    /// Go on from what failed. Only a failed instance takes it.
    #[n(6)]
    Rewind {
        /// For the history.
        #[n(0)]
        reason: String,
    },
}

/// What came of an activity or a sub-orchestration.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Outcome {
    /// It returned this.
    #[n(0)]
    Completed(#[n(0)] Payload),
    /// It failed.
    #[n(1)]
    Failed(#[n(0)] Failure),
}

impl Message {
    /// The message that an attempt of an activity has ended.
    #[must_use]
    pub fn activity_ended(effect: &EffectId, attempt: u32, outcome: Outcome, arrived: Timestamp) -> Self {
        let body = MessageBody::ActivityEnded { execution: effect.execution, epoch: effect.epoch, sequence: effect.sequence, attempt, outcome };
        Self { id: MessageId::of_effect(effect, attempt), arrived, sender: None, keyed: false, body }
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        codec::to_bytes(self)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`FormatError`] if a newer build wrote it, or it is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        codec::from_bytes(bytes, "message")
    }

    /// Roughly its size in a commit, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        48 + match &self.body {
            MessageBody::EventRaised { name, data } => name.len() + data.len(),
            MessageBody::ActivityEnded { outcome, .. } | MessageBody::ChildEnded { outcome, .. } => match outcome {
                Outcome::Completed(result) => result.len(),
                Outcome::Failed(failure) => failure.message.len() + failure.chain.iter().map(String::len).sum::<usize>(),
            },
            MessageBody::Terminate { reason } | MessageBody::Suspend { reason } | MessageBody::Resume { reason } | MessageBody::Rewind { reason } => {
                reason.len()
            }
        }
    }
}

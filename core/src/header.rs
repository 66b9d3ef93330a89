//! The header: the small record of an instance that every turn reads and writes as a whole.
//!
//! Payloads (input, output, custom status) stand beside it, so that a turn does not rewrite them. The store adds nothing of its own to it.

use bytes::Bytes;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::codec::{self, FormatError};
use crate::failure::Failure;
use crate::history::ParentRef;
use crate::ids::{CommitId, EffectId, Incarnation, InstanceId, MessageId};
use crate::limits;
use crate::message::{Message, MessageBody, Sender};
use crate::payload::Payload;
use crate::time::Timestamp;

/// The state of an instance, with the names and numbers of Durable Functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
pub enum RuntimeStatus {
    /// At work, or asleep.
    #[n(0)]
    Running,
    /// Returned a value.
    #[n(1)]
    Completed,
    /// Between two executions: the next one is accepted, not begun.
    #[n(2)]
    ContinuedAsNew,
    /// Returned an error.
    #[n(3)]
    Failed,
    /// Kept because clients know the name.
    #[n(4)]
    Canceled,
    /// Ended from outside.
    #[n(5)]
    Terminated,
    /// Accepted, not begun.
    #[n(6)]
    Pending,
    /// Taking in, not running.
    #[n(7)]
    Suspended,
}

impl RuntimeStatus {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Running, Self::Completed, Self::ContinuedAsNew, Self::Failed, Self::Canceled, Self::Terminated, Self::Pending, Self::Suspended];

    /// True if the instance has ended.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled | Self::Terminated)
    }

    /// The name at the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Completed => "Completed",
            Self::ContinuedAsNew => "ContinuedAsNew",
            Self::Failed => "Failed",
            Self::Canceled => "Canceled",
            Self::Terminated => "Terminated",
            Self::Pending => "Pending",
            Self::Suspended => "Suspended",
        }
    }
}

/// A driver's announced right to run the activities of calls `from..=to` until a time.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Claim {
    /// Which driver (random per process or invocation).
    #[n(0)]
    pub owner: u64,
    /// Until when nobody else runs them.
    #[n(1)]
    pub until: Timestamp,
    /// First call.
    #[n(2)]
    pub from: u32,
    /// Last call.
    #[n(3)]
    pub to: u32,
}

/// What kept an instance from going on. History is untouched; a build that matches goes on by itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// What kind of trouble.
    #[n(0)]
    pub kind: FaultKind,
    /// The build that met it.
    #[n(1)]
    pub build: String,
    /// The version of the orchestrator that met it.
    #[n(2)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// At which event of the history, counted from 0.
    #[n(3)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_event: Option<u64>,
    /// What history holds there.
    #[n(4)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What the code asked for.
    #[n(5)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// What happened and what to do, for people.
    #[n(6)]
    pub message: String,
    /// How often this build has tried.
    #[n(7)]
    pub tries: u32,
    /// When it was recorded.
    #[n(8)]
    pub at: Timestamp,
    /// When it is tried again by itself; none after [`limits::FAULT_TRIES`].
    #[n(9)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try: Option<Timestamp>,
}

/// The kinds of [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize)]
#[cbor(index_only)]
pub enum FaultKind {
    /// Code and history differ in what was asked for.
    #[n(0)]
    NonDeterminism,
    /// The orchestrator panicked.
    #[n(1)]
    Panic,
    /// The orchestrator awaits something that is not durable, and nothing durable.
    #[n(2)]
    Stuck,
    /// The orchestrator handed the turn's waker to something that is not durable.
    #[n(3)]
    ForeignWaker,
    /// A turn made more calls or events, or took more time, than is allowed.
    #[n(4)]
    Limit,
    /// This build does not know the orchestrator, or not the version that the instance is pinned to.
    #[n(5)]
    MissingOrchestrator,
    /// The stored records cannot be read by this build.
    #[n(6)]
    Unreadable,
    /// The process died while this instance was in a turn.
    #[n(7)]
    Abort,
    /// Two runs of one turn from the same state differed (check of every turn, in tests).
    #[n(8)]
    Unrepeatable,
}

/// Something that a turn asks of another instance.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Delivery {
    /// Start a sub-orchestration. An instance that exists with this incarnation counts as started; if it has ended, the sender is told so again
    /// ([`crate::machine::end_of_child`]).
    #[n(0)]
    Start {
        /// Its id.
        #[n(0)]
        instance: InstanceId,
        /// Its header, pending.
        #[n(1)]
        header: Box<Header>,
        /// Its input.
        #[n(2)]
        input: Payload,
        /// Goes to the sender's own inbox if another live instance has the id.
        #[n(3)]
        if_refused: Option<Message>,
    },
    /// Put a message into another instance's inbox. An instance that is unknown, ended or of another life drops it.
    #[n(1)]
    Message {
        /// The receiver.
        #[n(0)]
        to: InstanceId,
        /// The life it is meant for, if it must be that one.
        #[n(1)]
        incarnation: Option<Incarnation>,
        /// The message.
        #[n(2)]
        message: Message,
    },
}

impl Delivery {
    /// The instance that it goes to.
    #[must_use]
    pub const fn target(&self) -> &InstanceId {
        match self {
            Self::Start { instance, .. } => instance,
            Self::Message { to, .. } => to,
        }
    }
}

/// The header of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Header {
    /// Name of the orchestrator.
    #[n(0)]
    pub name: String,
    /// The version that the instance is pinned to.
    #[n(1)]
    pub version: Option<String>,
    /// This life of the instance id.
    #[n(2)]
    pub incarnation: Incarnation,
    /// How many times it has continued as new.
    #[n(3)]
    pub execution: u32,
    /// How many times it has been rewound.
    #[n(4)]
    pub epoch: u32,
    /// Grows by one with every commit.
    #[n(5)]
    pub revision: u64,
    /// The last commit.
    #[n(6)]
    pub commit_id: CommitId,
    /// Its state.
    #[n(7)]
    pub status: RuntimeStatus,
    /// When it was created.
    #[n(8)]
    pub created: Timestamp,
    /// When it last changed.
    #[n(9)]
    pub updated: Timestamp,
    /// The latest `now` of any turn; the next turn's is not earlier.
    #[n(10)]
    pub last_now: Timestamp,
    /// Number of events in the history of this execution.
    #[n(11)]
    pub events: u64,
    /// Activities that are to be run now: asked for, not ended, and not in a pause before another attempt.
    #[n(12)]
    pub open_activities: u32,
    /// The earliest time at which a timer or a retry is due.
    #[n(13)]
    pub timer_due: Option<Timestamp>,
    /// Ids of external messages taken lately, with the revision that took them; oldest first.
    #[n(14)]
    pub ring: Vec<(MessageId, u64)>,
    /// What other instances are still to be given (stores that cannot do it in the same transaction).
    #[n(15)]
    pub outbox: Vec<Delivery>,
    /// Number of the last message sent to another instance.
    #[n(16)]
    pub sent: u64,
    /// Who runs which activities until when.
    #[n(17)]
    pub claims: Vec<Claim>,
    /// The alarm that covers `due`, as the alarm port named it.
    #[n(18)]
    #[cbor(with = "minicbor::bytes")]
    pub alarm: Option<Vec<u8>>,
    /// What keeps it from going on.
    #[n(19)]
    pub fault: Option<Fault>,
    /// Who started it, if it is a sub-orchestration.
    #[n(20)]
    pub parent: Option<ParentRef>,
    /// Why it failed, if it did.
    #[n(21)]
    pub failure: Option<Failure>,
    /// The rules of replay of this execution.
    #[n(22)]
    pub replay_policy: u32,
    /// Activities of executions that have ended, which are still to be run once; their results are dropped.
    #[n(23)]
    #[cbor(default)]
    pub orphans: Vec<Orphan>,
    /// When the alarm that `alarm` names fires.
    #[n(24)]
    pub alarm_at: Option<Timestamp>,
    /// Set if a rewind asked for this sub-orchestration once more, or for one above it: names the commit that asked. Its life may have been lived
    /// before, so what it tells its parent and its children is numbered apart from what it told them then.
    #[n(25)]
    #[cbor(default)]
    pub asked_again: Option<CommitId>,
    /// Set while the outbox holds what found no room where it was sent.
    #[n(26)]
    #[cbor(default)]
    pub held: Option<Held>,
}

/// How long an outbox is held back that found no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Held {
    /// How often nothing of it found room, one time after the other.
    #[n(0)]
    pub tries: u32,
    /// When it is tried again.
    #[n(1)]
    pub until: Timestamp,
}

impl Held {
    /// Held back once more, with a pause that doubles from [`limits::ROOM_FIRST`] to [`limits::ROOM_LONGEST`]. `before`: how it was held until now, if
    /// nothing of it has found room since.
    #[must_use]
    pub fn again(before: Option<Self>, now: Timestamp) -> Self {
        let tries = before.map_or(0, |held| held.tries).saturating_add(1);
        let pause = limits::ROOM_FIRST.saturating_mul(2_u32.saturating_pow(tries - 1)).min(limits::ROOM_LONGEST);
        Self { tries, until: now.after(pause) }
    }
}

/// An activity that was asked for by an execution that has ended since.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Orphan {
    /// The execution that asked for it.
    #[n(0)]
    pub execution: u32,
    /// The epoch that asked for it.
    #[n(1)]
    pub epoch: u32,
    /// The call.
    #[n(2)]
    pub sequence: u32,
    /// Name of the activity.
    #[n(3)]
    pub name: String,
    /// Its input.
    #[n(4)]
    pub input: Payload,
    /// The attempt.
    #[n(5)]
    pub attempt: u32,
    /// The attempt's limit in milliseconds.
    #[n(6)]
    pub timeout_ms: Option<u64>,
}

impl Header {
    /// The header of an instance that has been accepted and has not begun. Its revision is 1.
    #[must_use]
    pub fn pending(name: String, version: Option<String>, incarnation: Incarnation, commit_id: CommitId, now: Timestamp) -> Self {
        Self {
            name,
            version,
            incarnation,
            execution: 0,
            epoch: 0,
            revision: 1,
            commit_id,
            status: RuntimeStatus::Pending,
            created: now,
            updated: now,
            last_now: now,
            events: 0,
            open_activities: 0,
            timer_due: None,
            ring: Vec::new(),
            outbox: Vec::new(),
            sent: 0,
            claims: Vec::new(),
            alarm: None,
            fault: None,
            parent: None,
            failure: None,
            replay_policy: crate::history::REPLAY_POLICY,
            orphans: Vec::new(),
            alarm_at: None,
            asked_again: None,
            held: None,
        }
    }

    /// Gives the next message to another instance its number, so that it is taken once. In a life that is lived once more the events that it
    /// sends are those that it sent, for they are effects with the same ids; what parents and children tell each other is new.
    pub(crate) fn next_sender(&mut self, instance: &InstanceId, body: &MessageBody) -> Sender {
        self.sent += 1;
        let mut life = self.incarnation;
        if let Some(CommitId(asked)) = self.asked_again.filter(|_| !matches!(body, MessageBody::EventRaised { .. })) {
            life.0.iter_mut().zip(asked).for_each(|(byte, other)| *byte ^= other);
        }
        Sender { instance: instance.clone(), life, number: self.sent }
    }

    /// When this instance must be looked at by the clock: the earliest timer, retry, new try of a fault or of an outbox that is held back.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        let own = match (&self.fault, self.status) {
            (_, s) if s.is_terminal() => None,
            (Some(fault), _) => fault.next_try,
            (None, RuntimeStatus::Suspended) => None,
            (None, _) => self.timer_due,
        };
        own.into_iter().chain(self.held.map(|held| held.until)).min()
    }

    /// True if the outbox holds something, and is not held back.
    #[must_use]
    pub fn hands_on(&self, now: Timestamp) -> bool {
        !self.outbox.is_empty() && self.held.is_none_or(|held| held.until <= now)
    }

    /// True if something is left to do now, whatever the inbox holds: not begun, activities to run, messages to hand on that are not held back.
    /// While a fault stands only the last can be done.
    #[must_use]
    pub fn has_work(&self) -> bool {
        let begins_or_runs = self.open_activities > 0 || matches!(self.status, RuntimeStatus::Pending | RuntimeStatus::ContinuedAsNew);
        (!self.outbox.is_empty() && self.held.is_none())
            || (self.fault.is_none() && (!self.orphans.is_empty() || (!self.status.is_terminal() && begins_or_runs)))
    }

    /// True if a message with this id has been taken lately.
    #[must_use]
    pub fn in_ring(&self, id: &MessageId) -> bool {
        self.ring.iter().any(|(taken, _)| taken == id)
    }

    /// Notes a message id under the revision that the turn now made will have.
    pub(crate) fn remember(&mut self, id: MessageId) {
        let revision = self.revision + 1;
        let beyond = |most: usize| (self.ring.len() + 1).saturating_sub(most);
        let old = self.ring.iter().take(beyond(limits::RING)).take_while(|(_, taken)| taken + limits::RING_REVISIONS < revision).count();
        self.ring.drain(..old.max(beyond(limits::RING_MOST)));
        self.ring.push((id, revision));
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
        codec::from_bytes(bytes, "instance header")
    }
}

/// An activity that is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityTask {
    /// The effect; its text is the activity's idempotency key.
    pub effect: EffectId,
    /// Name of the activity.
    pub name: String,
    /// Its input.
    pub input: Payload,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The attempt is cut off after this long.
    pub timeout: Option<std::time::Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> MessageId {
        MessageId(u128::from(n).to_be_bytes())
    }

    /// A header after turns that took so many messages each.
    fn after(turns: impl IntoIterator<Item = u64>) -> (Header, u64) {
        let (mut header, mut taken) = (Header::pending("o".into(), None, Incarnation([1; 8]), CommitId([1; 8]), Timestamp(0)), 0);
        for messages in turns {
            for _ in 0..messages {
                header.remember(id(taken));
                taken += 1;
            }
            header.revision += 1;
        }
        (header, taken)
    }

    #[test]
    fn of_messages_that_come_one_by_one_the_last_are_remembered() {
        let (header, taken) = after([1; 100]);
        let last = limits::RING as u64;
        assert!((0..taken).all(|n| header.in_ring(&id(n)) == (n >= taken - last)));
    }

    #[test]
    fn a_burst_is_remembered_for_as_long_as_a_full_inbox_takes() {
        let inbox = limits::INBOX_MESSAGES as u64 / 64;
        let (header, taken) = after([64].into_iter().chain((0..=inbox).map(|_| 64)));
        assert!((0..taken).all(|n| header.in_ring(&id(n))));
        let (quiet, _) = after([64].into_iter().chain((0..=limits::RING_REVISIONS).map(|_| 0)).chain([1]));
        assert_eq!(quiet.ring.len(), limits::RING, "and then forgotten");
    }

    #[test]
    fn no_more_is_remembered_than_a_record_has_room_for() {
        let most = limits::RING_MOST as u64;
        let (header, taken) = after([3 * most]);
        assert_eq!(header.ring.len(), limits::RING_MOST);
        assert!(header.in_ring(&id(taken - most)) && !header.in_ring(&id(taken - most - 1)));
    }
}

//! What a shard keeps in memory of one instance: the live instance between turns, what waits for it, and which activities run.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};

use futures_channel::oneshot;

use super::client::ClientError;
use super::{Hold, StartAsk};
use crate::header::ActivityTask;
use crate::ids::{Incarnation, InstanceId};
use crate::machine::Live;
use crate::message::Message;
use crate::ports::{Handle, Token};

/// A live instance that stands exactly where the store stands.
pub(super) struct Resident {
    /// Boxed: it moves in and out of drives at each turn.
    pub live: Box<Live>,
    pub token: Token,
    /// What the store's inbox holds, as far as is known.
    pub inbox: Vec<Message>,
}

/// A message on its way into a turn.
pub(super) struct Queued {
    pub message: Message,
    /// The life it is meant for, if it must be that one.
    pub life: Option<Incarnation>,
    pub reply: Option<oneshot::Sender<Result<(), ClientError>>>,
}

impl Queued {
    /// True if whoever asked waits no longer: it has stored the message plainly meanwhile, or nobody was told anything.
    pub fn is_deserted(&self) -> bool {
        self.reply.as_ref().is_some_and(oneshot::Sender::is_canceled)
    }

    pub fn answer(self, answer: Result<(), ClientError>) {
        if let Some(reply) = self.reply {
            // Whoever asked may have gone.
            let _ = reply.send(answer);
        }
    }
}

/// One attempt of one activity of one life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RunKey {
    incarnation: Incarnation,
    execution: u32,
    epoch: u32,
    sequence: u32,
    attempt: u32,
}

impl From<&ActivityTask> for RunKey {
    fn from(task: &ActivityTask) -> Self {
        let effect = &task.effect;
        Self { incarnation: effect.incarnation, execution: effect.execution, epoch: effect.epoch, sequence: effect.sequence, attempt: task.attempt }
    }
}

#[derive(Default)]
pub(super) struct SlotState {
    pub resident: Option<Resident>,
    pub starts: VecDeque<Box<StartAsk>>,
    pub queue: VecDeque<Queued>,
    /// Something may be due.
    pub look: bool,
    /// An alarm rang, perhaps, and is gone with that.
    pub rang: bool,
    /// The store's inbox may hold what is not known here.
    pub look_inbox: bool,
    /// Activities may be left that nobody runs: claims of another driver have ended, or a fault is cured.
    pub look_tasks: bool,
    /// A later look is planned already.
    pub look_planned: bool,
    /// A receiver had no room: a turn of our own goes first, so that two full inboxes never wait for each other.
    pub turn_first: bool,
    pub driving: bool,
    /// What is dropped when it is done.
    pub holds: Vec<Hold>,
    pub running: HashSet<RunKey>,
    /// Safety nets that are up.
    pub covers: Vec<Handle>,
    /// Commits lost to other drivers, one after the other.
    pub losses: u32,
    /// Store trouble, one after the other.
    pub troubles: u32,
    /// When it last fell idle, in the shard's own count.
    pub idle_since: u64,
}

impl SlotState {
    /// True if there is a reason to drive.
    pub fn has_reason(&self) -> bool {
        self.look || self.look_inbox || self.look_tasks || !self.starts.is_empty() || !self.queue.is_empty()
    }

    /// True if it has been idle since then, with its instance in memory.
    pub fn is_idle_since(&self, stamp: u64) -> bool {
        self.idle_since == stamp && self.resident.is_some()
    }

    /// Gives back what it does not need before the next message comes.
    pub fn rest(&mut self) {
        if !self.running.is_empty() {
            return;
        }
        self.starts.shrink_to_fit();
        self.queue.shrink_to_fit();
        self.running.shrink_to_fit();
        if let Some(resident) = &mut self.resident {
            resident.live.rest();
        }
    }

    /// True if a host that ends now leaves something undone.
    pub fn is_unfinished(&self) -> bool {
        self.driving || self.has_reason() || self.troubles > 0 || !self.running.is_empty()
    }
}

/// One instance, as its shard knows it.
pub(super) struct Slot {
    pub id: InstanceId,
    pub state: RefCell<SlotState>,
}

impl Slot {
    pub fn new(id: InstanceId) -> Self {
        Self { id, state: RefCell::default() }
    }
}

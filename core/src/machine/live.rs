//! An instance in memory, between its turns: its header as stored, and its execution where the last commit left it.

use std::sync::Arc;

use super::fault::TurnFault;
use super::replay::{Blueprint, Machine};
use super::turn::{Turn, TurnInput};
use crate::app::App;
use crate::context::state::Identity;
use crate::header::{ActivityTask, FaultKind, Header};
use crate::history::EventBytes;
use crate::ids::{EffectId, Incarnation, InstanceId};
use crate::payload::Payload;
use crate::time::Timestamp;

/// What a live instance is made from.
#[derive(Debug, Clone)]
pub struct Stored<'a> {
    /// Its header.
    pub header: &'a Header,
    /// Its input.
    pub input: &'a Payload,
    /// The whole history of its execution.
    pub history: &'a [EventBytes],
}

/// A sub-orchestration that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenChild {
    /// The call that started it.
    pub sequence: u32,
    /// Its id.
    pub instance: InstanceId,
    /// Its life.
    pub incarnation: Incarnation,
}

/// An instance in memory. It runs ahead of the store by at most one turn; if that turn's commit does not land, drop it.
pub struct Live {
    pub(super) app: Arc<App>,
    pub(super) instance: InstanceId,
    pub(super) header: Header,
    pub(super) input: Payload,
    pub(super) machine: Machine,
    /// All of history, only where every turn is checked.
    history: Option<Vec<EventBytes>>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Live({} revision {})", self.instance, self.header.revision)
    }
}

impl Live {
    /// Brings a stored instance into memory, by replaying it.
    ///
    /// # Errors
    /// [`TurnFault`] if the code does not match the history, panics on it, or is missing.
    pub fn load(app: &Arc<App>, instance: &InstanceId, stored: &Stored<'_>) -> Result<Self, TurnFault> {
        let mut machine = Machine::new(blueprint(app, instance, stored.header, stored.input));
        // An instance that has ended only writes down what still comes: its code need not be there any more.
        if !stored.header.status.is_terminal() {
            machine.replay(stored.history)?;
        }
        let history = app.check_turns.then(|| stored.history.to_vec());
        Ok(Self { app: app.clone(), instance: instance.clone(), header: stored.header.clone(), input: stored.input.clone(), machine, history })
    }

    /// Runs a whole stored history through this build, ended or not: what a test does with histories that are kept as files, before a deploy.
    ///
    /// # Errors
    /// [`TurnFault`] as [`Live::load`].
    pub fn replay(app: &Arc<App>, instance: &InstanceId, stored: &Stored<'_>) -> Result<(), TurnFault> {
        Machine::new(blueprint(app, instance, stored.header, stored.input)).replay(stored.history)
    }

    /// The header, as the last turn left it.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The input of its current execution.
    #[must_use]
    pub const fn input(&self) -> &Payload {
        &self.input
    }

    /// Runs one turn. Afterwards this value stands where the turn's commit will leave the store.
    ///
    /// # Errors
    /// [`TurnFault`] if user code does not allow it. Nothing may be stored then, and this value must be dropped.
    pub fn turn(&mut self, input: &TurnInput<'_>) -> Result<Turn, TurnFault> {
        let Some(history) = self.history.take() else { return self.run_turn(input) };
        // Checked: the same turn from the same stored state must give the same commit.
        let mut again = Self::load(&self.app, &self.instance, &Stored { header: &self.header, input: &self.input, history: &history })?;
        let (first, second) = (self.run_turn(input)?, again.run_turn(input)?);
        if first != second {
            let message = format!(
                "two runs of one turn from the same state differ: the orchestrator `{}` is not deterministic. First: {first:?}. Second: {second:?}",
                self.header.name
            );
            return Err(TurnFault::new(FaultKind::Unrepeatable, message));
        }
        self.keep(history, &first);
        Ok(first)
    }

    /// Keeps history as a turn leaves it, where every turn is checked.
    pub(super) fn keep(&mut self, before: Vec<EventBytes>, turn: &Turn) {
        let mut history = if turn.reset { Vec::new() } else { before };
        history.extend(turn.append.iter().cloned());
        self.history = self.app.check_turns.then_some(history);
    }

    /// Activities that are to be run now (open, and not waiting for a retry), with those left over from executions that have ended.
    #[must_use]
    pub fn runnable_activities(&self) -> Vec<ActivityTask> {
        let orphans = self.header.orphans.iter().map(|orphan| ActivityTask {
            effect: EffectId {
                instance: self.instance.clone(),
                incarnation: self.header.incarnation,
                execution: orphan.execution,
                epoch: orphan.epoch,
                sequence: orphan.sequence,
            },
            name: orphan.name.clone(),
            input: orphan.input.clone(),
            attempt: orphan.attempt,
            timeout: orphan.timeout_ms.map(std::time::Duration::from_millis),
        });
        let mut tasks: Vec<ActivityTask> = orphans.collect();
        if !self.header.status.is_terminal() {
            let open = self.machine.state().runnable_activities();
            tasks.extend(open.into_iter().filter_map(|sequence| self.task(sequence)));
        }
        tasks
    }

    /// Gives back the room that turns work in: nothing is expected soon.
    pub fn rest(&mut self) {
        self.machine.state().rest();
    }

    /// Takes over the header as it was stored, where the driver added to it (outbox, alarm).
    pub fn stored(&mut self, header: Header) {
        self.header = header;
    }

    /// Sub-orchestrations that have been started and have not ended.
    #[must_use]
    pub fn open_children(&self) -> Vec<OpenChild> {
        let state = self.machine.state();
        let describe = |sequence| state.child(sequence).map(|child| OpenChild { sequence, instance: child.instance.clone(), incarnation: child.incarnation });
        state.open_children().into_iter().filter_map(describe).collect()
    }

    pub(super) fn task(&self, sequence: u32) -> Option<ActivityTask> {
        let state = self.machine.state();
        let activity = state.activity(sequence)?;
        Some(ActivityTask {
            effect: EffectId { epoch: activity.epoch, ..state.effect(sequence) },
            name: activity.name.to_owned(),
            input: activity.input.clone(),
            attempt: activity.attempt,
            timeout: activity.options.attempt_timeout,
        })
    }

    pub(super) fn new_execution(&mut self, input: Payload, now: Timestamp) {
        self.input = input;
        let mut plan = blueprint(&self.app, &self.instance, &self.header, &self.input);
        plan.created = now;
        self.machine = Machine::new(plan);
    }
}

pub(super) fn blueprint(app: &Arc<App>, instance: &InstanceId, header: &Header, input: &Payload) -> Blueprint {
    Blueprint {
        app: app.clone(),
        identity: Identity { instance: instance.clone(), incarnation: header.incarnation, execution: header.execution },
        version: header.version.clone(),
        input: input.clone(),
        created: header.created,
    }
}

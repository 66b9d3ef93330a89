//! One turn: take messages and due timers in order of time, let user code run on, and write down what came of it.

use bytes::Bytes;

use super::claims;
use super::fault::TurnFault;
use super::live::Live;
use crate::app::Ending;
use crate::context::state::ActivityOp;
use crate::failure::Failure;
use crate::header::{ActivityTask, Delivery, FaultKind, Header, Orphan, RuntimeStatus};
use crate::history::{Event, EventBytes, ParentRef, REPLAY_POLICY};
use crate::ids::{CommitId, EffectId, Incarnation, InstanceId, MessageId};
use crate::limits;
use crate::message::{Message, MessageBody, Outcome};
use crate::payload::Payload;
use crate::time::Timestamp;

/// The kind of failure of a sub-orchestration that was to have an id which a live instance has.
pub const IN_USE: &str = "InstanceInUse";

/// What a turn is given.
#[derive(Debug, Clone)]
pub struct TurnInput<'a> {
    /// The time. The turn takes the later of this and the last turn's.
    pub now: Timestamp,
    /// What stands in the inbox, in order.
    pub inbox: &'a [Message],
    /// What has just come in and stands behind the inbox.
    pub direct: &'a [Message],
    /// The id of the commit that this turn will be.
    pub commit_id: CommitId,
    /// The driver, as claims name it.
    pub owner: u64,
    /// Until when this driver's claim on the activities of this turn lasts.
    pub claim_until: Timestamp,
}

/// What a turn wants written and done.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// False if nothing at all has changed: there is nothing to commit.
    pub changed: bool,
    /// The header as it will be.
    pub header: Header,
    /// History begins afresh with `append`.
    pub reset: bool,
    /// Events to append.
    pub append: Vec<EventBytes>,
    /// How many messages of the inbox were taken.
    pub taken: usize,
    /// How many of the direct messages were taken.
    pub direct_taken: usize,
    /// What other instances are to be given, in order.
    pub deliveries: Vec<Delivery>,
    /// The new input, if history begins afresh.
    pub input: Option<Payload>,
    /// The output, if the instance ended.
    pub output: Option<Payload>,
    /// The custom status, if it was set.
    pub custom_status: Option<Payload>,
    /// Activities to run once the commit has landed.
    pub tasks: Vec<ActivityTask>,
}

/// A turn being made.
pub(super) struct Draft {
    pub now: Timestamp,
    pub header: Header,
    pub append: Vec<Event>,
    pub deliveries: Vec<Delivery>,
    pub to_run: Vec<u32>,
    /// Calls from here on were made in this turn: their timers do not fire in it.
    pub fence: u32,
    pub commit_id: CommitId,
    /// Sub-orchestrations started in this turn may have been before: see [`Header::asked_again`].
    pub asks_again: bool,
    terminated: Option<String>,
    ended: Option<Ended>,
}

/// A sub-orchestration to be started.
pub(super) struct NewChild {
    pub sequence: u32,
    pub awaited: bool,
    pub name: String,
    pub version: Option<String>,
    pub instance: InstanceId,
    pub incarnation: Incarnation,
    pub input: Payload,
}

/// How the instance, or its execution, ended in this turn.
enum Ended {
    Instance { output: Payload },
    Execution { carried: Vec<Event>, input: Payload },
}

impl Live {
    pub(super) fn run_turn(&mut self, input: &TurnInput<'_>) -> Result<Turn, TurnFault> {
        let mut draft = self.new_draft(input);
        if self.header.status.is_terminal() {
            return Ok(self.after_end(draft, input));
        }
        if !self.machine.begun {
            let started = Event::ExecutionStarted { name: self.header.name.clone(), version: self.header.version.clone(), replay_policy: REPLAY_POLICY };
            draft.header.status = RuntimeStatus::Running;
            draft.header.replay_policy = REPLAY_POLICY;
            self.record(&mut draft, started)?;
        }
        let (taken, direct_taken) = self.take_messages(&mut draft, input)?;
        let all_taken = taken == input.inbox.len() && direct_taken == input.direct.len();
        if all_taken {
            self.fire_due(&mut draft, input.now)?;
        }
        self.conclude(&mut draft)?;
        if matches!(draft.ended, Some(Ended::Instance { .. })) {
            for message in input.inbox.iter().skip(taken).chain(input.direct.iter().skip(direct_taken)) {
                unprocessed(&mut draft, message);
            }
            return Ok(self.finish(draft, input, input.inbox.len(), input.direct.len()));
        }
        if draft.ended.is_none() {
            self.within_limit(&draft)?;
        }
        Ok(self.finish(draft, input, taken, direct_taken))
    }

    /// A history that has grown beyond all bounds grows no further.
    fn within_limit(&self, draft: &Draft) -> Result<(), TurnFault> {
        let (limit, events) = (self.app.history_limit, self.header.events + draft.append.len() as u64);
        if events <= limit {
            return Ok(());
        }
        let message = format!(
            "the history would have {events} events, and {limit} are allowed: continue as new now and then (`Next::again`), which begins an empty \
             history. This instance can be terminated, or goes on under an app with a higher `history_limit`"
        );
        Err(TurnFault::new(FaultKind::Limit, message))
    }

    pub(super) fn new_draft(&self, input: &TurnInput<'_>) -> Draft {
        let now = input.now.max(self.header.last_now);
        self.machine.state().new_turn(now);
        let fence = self.machine.state().next_sequence();
        Draft {
            now,
            header: self.header.clone(),
            append: Vec::new(),
            deliveries: Vec::new(),
            to_run: Vec::new(),
            fence,
            commit_id: input.commit_id,
            asks_again: self.header.asked_again.is_some(),
            terminated: None,
            ended: None,
        }
    }

    /// Takes messages in order, each behind the timers that were due when it arrived.
    fn take_messages(&mut self, draft: &mut Draft, input: &TurnInput<'_>) -> Result<(usize, usize), TurnFault> {
        let (mut taken, mut direct_taken, mut bytes) = (0, 0, 0);
        for (place, message) in input.inbox.iter().chain(input.direct).enumerate() {
            bytes += message.size();
            let full = place >= limits::MESSAGES_PER_TURN || (place > 0 && bytes > limits::MESSAGE_BYTES_PER_TURN);
            if full || self.machine.ending.is_some() || draft.terminated.is_some() {
                break;
            }
            self.fire_due(draft, message.arrived.min(draft.now))?;
            if self.machine.ending.is_some() {
                break;
            }
            self.take(draft, message)?;
            if place < input.inbox.len() { taken += 1 } else { direct_taken += 1 }
        }
        Ok((taken, direct_taken))
    }

    /// Fires the timers and retries that are due by `limit`, in order of time.
    fn fire_due(&mut self, draft: &mut Draft, limit: Timestamp) -> Result<(), TurnFault> {
        while !self.machine.suspended && self.machine.ending.is_none() && draft.terminated.is_none() {
            let Some((_, sequence)) = self.machine.state().due_by(limit, draft.fence) else { break };
            let retry = self.machine.state().activity(sequence).is_some();
            self.record(draft, if retry { Event::ActivityRetried { sequence } } else { Event::TimerFired { sequence } })?;
        }
        Ok(())
    }

    /// Takes one message. What is stale, repeated or out of place changes nothing.
    fn take(&mut self, draft: &mut Draft, message: &Message) -> Result<(), TurnFault> {
        let external = !matches!(message.body, MessageBody::ActivityEnded { .. } | MessageBody::ChildEnded { .. });
        if external && draft.header.in_ring(&message.id) {
            return Ok(());
        }
        if external {
            remember(draft, message);
        }
        match &message.body {
            MessageBody::EventRaised { name, data } => self.record(draft, Event::EventRaised { message: message.id, name: name.clone(), data: data.clone() }),
            MessageBody::ActivityEnded { execution, epoch, sequence, attempt, outcome } if *execution == self.header.execution => {
                self.activity_ended(draft, (*epoch, *sequence, *attempt), outcome)
            }
            MessageBody::ChildEnded { execution, sequence, child, outcome } if *execution == self.header.execution => {
                let wanted = {
                    let state = self.machine.state();
                    state.is_open(*sequence) && state.child(*sequence).is_some_and(|open| open.instance == *child)
                };
                match outcome {
                    _ if !wanted => Ok(()),
                    Outcome::Completed(result) => self.record(draft, Event::SubOrchestrationCompleted { sequence: *sequence, result: result.clone() }),
                    Outcome::Failed(failure) => self.record(draft, Event::SubOrchestrationFailed { sequence: *sequence, failure: failure.clone() }),
                }
            }
            MessageBody::Terminate { reason } => {
                draft.terminated = Some(reason.clone());
                self.record(draft, Event::ExecutionTerminated { reason: reason.clone() })
            }
            MessageBody::Suspend { reason } if !self.machine.suspended => {
                draft.header.status = RuntimeStatus::Suspended;
                self.record(draft, Event::ExecutionSuspended { reason: reason.clone() })
            }
            MessageBody::Resume { reason } if self.machine.suspended => {
                draft.header.status = RuntimeStatus::Running;
                self.record(draft, Event::ExecutionResumed { reason: reason.clone() })
            }
            MessageBody::ActivityEnded { .. }
            | MessageBody::ChildEnded { .. }
            | MessageBody::Suspend { .. }
            | MessageBody::Resume { .. }
            | MessageBody::Rewind { .. } => Ok(()),
        }
    }

    fn activity_ended(&mut self, draft: &mut Draft, (epoch, sequence, attempt): (u32, u32, u32), outcome: &Outcome) -> Result<(), TurnFault> {
        let event = {
            let state = self.machine.state();
            let Some(activity) = state.activity(sequence).filter(|open| state.is_open(sequence) && open.epoch == epoch) else { return Ok(()) };
            match outcome {
                // A value of an earlier attempt is as good as one of the current.
                Outcome::Completed(result) if attempt <= activity.attempt => Event::ActivityCompleted { sequence, result: result.clone() },
                Outcome::Failed(failure) if attempt == activity.attempt && activity.retry_at.is_none() => {
                    match activity.options.retry.delay_after(attempt, failure, jitter_seed(&state.effect(sequence), activity)) {
                        Some(delay) => Event::ActivityAttemptFailed { sequence, failure: failure.clone(), retry_at: draft.now.after(delay) },
                        None => Event::ActivityFailed { sequence, failure: failure.clone() },
                    }
                }
                _ => return Ok(()),
            }
        };
        self.record(draft, event)
    }

    /// Applies an event, and writes it and what user code then asks for down.
    pub(super) fn record(&mut self, draft: &mut Draft, event: Event) -> Result<(), TurnFault> {
        if let Event::ActivityRetried { sequence } = &event {
            draft.to_run.push(*sequence);
        }
        note(draft, event.clone());
        self.machine.apply(event)?;
        self.drain(draft);
        Ok(())
    }

    fn drain(&mut self, draft: &mut Draft) {
        loop {
            let Some(asked) = self.machine.state().next_emitted() else { return };
            match &asked {
                Event::ActivityScheduled { sequence, .. } => draft.to_run.push(*sequence),
                Event::SubOrchestrationCreated { sequence, name, instance, input, awaited, version } => {
                    // As the context gave it: see `Context::sub_orchestration`.
                    let incarnation = self.machine.state().effect(*sequence).child_incarnation();
                    let (name, version, instance, input) = (name.clone(), version.clone(), instance.clone(), input.clone());
                    let child = NewChild { sequence: *sequence, awaited: *awaited, name, version, instance, incarnation, input };
                    draft.deliveries.push(self.start_child(draft, child));
                }
                Event::EventSent { sequence, instance, name, data } => {
                    let body = MessageBody::EventRaised { name: name.clone(), data: data.clone() };
                    let id = MessageId::of_effect(&self.machine.state().effect(*sequence), 0);
                    let message = self.outgoing(draft, id, body);
                    draft.deliveries.push(Delivery::Message { to: instance.clone(), incarnation: None, message });
                }
                _ => {}
            }
            note(draft, asked);
        }
    }

    /// A message of ours to another instance, numbered so that it takes it once.
    pub(super) fn outgoing(&self, draft: &mut Draft, id: MessageId, body: MessageBody) -> Message {
        let sender = Some(draft.header.next_sender(&self.instance, &body));
        Message { id, arrived: draft.now, sender, keyed: false, body }
    }

    pub(super) fn start_child(&self, draft: &Draft, child: NewChild) -> Delivery {
        let now = draft.now;
        let NewChild { sequence, awaited, name, version, instance, incarnation, input } = child;
        let version = version.or_else(|| self.app.resolve(&name, None).flatten());
        let mut header = Header::pending(name, version, incarnation, CommitId(incarnation.0), now);
        let execution = self.header.execution;
        header.parent = Some(ParentRef { instance: self.instance.clone(), incarnation: self.header.incarnation, execution, sequence, awaited });
        header.asked_again = draft.asks_again.then_some(draft.commit_id);
        let if_refused = awaited.then(|| {
            let failure = Failure::new(IN_USE, format!("instance `{instance}` exists already and has not ended"));
            let body = MessageBody::ChildEnded { execution, sequence, child: instance.clone(), outcome: Outcome::Failed(failure) };
            Message { id: MessageId::of_effect(&self.machine.state().effect(sequence), u32::MAX), arrived: now, sender: None, keyed: false, body }
        });
        Delivery::Start { instance, header: Box::new(header), input, if_refused }
    }

    /// Writes down how user code, or a termination, ended the execution.
    pub(super) fn conclude(&mut self, draft: &mut Draft) -> Result<(), TurnFault> {
        if let Some(reason) = draft.terminated.take() {
            self.terminate_children(draft);
            self.end(draft, RuntimeStatus::Terminated, json_text(&self.app, &reason), Outcome::Failed(Failure::new("Terminated", reason)));
            return Ok(());
        }
        match self.machine.ending.take() {
            None => {}
            Some(Ending::Done(output)) => {
                self.record(draft, Event::ExecutionCompleted)?;
                self.end(draft, RuntimeStatus::Completed, output.clone(), Outcome::Completed(output));
            }
            Some(Ending::Failed(failure)) => {
                self.record(draft, Event::ExecutionFailed { failure: failure.clone() })?;
                let text = json_text(&self.app, &failure.to_string());
                draft.header.failure = Some(failure.clone());
                self.end(draft, RuntimeStatus::Failed, text, Outcome::Failed(failure));
            }
            Some(Ending::Again(input)) => {
                self.leave_orphans(draft);
                let carried = self.machine.state().unclaimed_events();
                let carried = carried.into_iter().map(|event| Event::EventRaised { message: event.message, name: event.name, data: event.data }).collect();
                draft.ended = Some(Ended::Execution { carried, input });
            }
        }
        Ok(())
    }

    fn end(&mut self, draft: &mut Draft, status: RuntimeStatus, output: Payload, outcome: Outcome) {
        self.leave_orphans(draft);
        draft.header.status = status;
        if let Some(parent) = self.header.parent.clone().filter(|parent| parent.awaited) {
            let effect = EffectId {
                instance: self.instance.clone(),
                incarnation: self.header.incarnation,
                execution: self.header.execution,
                epoch: self.header.epoch,
                sequence: 0,
            };
            let body = MessageBody::ChildEnded { execution: parent.execution, sequence: parent.sequence, child: self.instance.clone(), outcome };
            let message = self.outgoing(draft, MessageId::of_effect(&effect, 0), body);
            draft.deliveries.push(Delivery::Message { to: parent.instance, incarnation: Some(parent.incarnation), message });
        }
        self.machine.drop_future();
        draft.ended = Some(Ended::Instance { output });
    }

    fn terminate_children(&self, draft: &mut Draft) {
        for child in self.open_children() {
            let effect = self.machine.state().effect(child.sequence);
            let body = MessageBody::Terminate { reason: format!("the parent instance `{}` was terminated", self.instance) };
            let message = self.outgoing(draft, MessageId::of_effect(&effect, u32::MAX - 1), body);
            // A child started in this very turn is behind its start in the same list.
            draft.deliveries.push(Delivery::Message { to: child.instance, incarnation: Some(child.incarnation), message });
        }
    }

    /// Activities that were asked for and have not ended run once more or less on their own: nobody waits for them now.
    fn leave_orphans(&self, draft: &mut Draft) {
        let open = self.machine.state().runnable_activities();
        for task in open.into_iter().filter_map(|sequence| self.task(sequence)) {
            draft.header.orphans.push(Orphan {
                execution: task.effect.execution,
                epoch: task.effect.epoch,
                sequence: task.effect.sequence,
                name: task.name,
                input: task.input,
                attempt: task.attempt,
                timeout_ms: task.timeout.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
            });
        }
    }

    /// An instance that has ended only writes down what still came.
    fn after_end(&mut self, mut draft: Draft, input: &TurnInput<'_>) -> Turn {
        for message in input.inbox.iter().chain(input.direct) {
            unprocessed(&mut draft, message);
        }
        self.finish(draft, input, input.inbox.len(), input.direct.len())
    }

    /// Makes the header and the commit out of what was written down.
    pub(super) fn finish(&mut self, mut draft: Draft, input: &TurnInput<'_>, taken: usize, direct_taken: usize) -> Turn {
        let orphans_ended = input.direct.iter().chain(input.inbox).filter_map(|m| match &m.body {
            MessageBody::ActivityEnded { execution, epoch, sequence, .. } => Some((*execution, *epoch, *sequence)),
            _ => None,
        });
        if !draft.header.orphans.is_empty() {
            for ended in orphans_ended {
                draft.header.orphans.retain(|orphan| (orphan.execution, orphan.epoch, orphan.sequence) != ended);
            }
        }
        let custom_status = self.machine.state().custom_status.take();
        let changed = taken > 0 || !draft.append.is_empty() || draft.header != self.header || custom_status.is_some() || self.header.fault.is_some();
        let (mut append, mut reset, mut output, mut new_input) = (draft.append, false, None, None);
        let mut header = draft.header;
        let tasks = match draft.ended {
            None if self.header.status.is_terminal() => Vec::new(),
            None => draft.to_run.iter().filter_map(|sequence| self.task(*sequence)).collect(),
            Some(Ended::Instance { output: text }) => {
                output = Some(text);
                (header.open_activities, header.timer_due) = (0, None);
                Vec::new()
            }
            Some(Ended::Execution { carried, input: next }) => {
                (append, reset) = (carried, true);
                header.execution += 1;
                header.status = RuntimeStatus::ContinuedAsNew;
                header.events = 0;
                (header.open_activities, header.timer_due) = (0, None);
                new_input = Some(next);
                Vec::new()
            }
        };
        header.events += append.len() as u64;
        header.updated = draft.now;
        header.last_now = draft.now;
        header.revision = self.header.revision + 1;
        header.commit_id = input.commit_id;
        header.fault = None;
        if let Some(next) = &new_input {
            self.header = header.clone();
            self.new_execution(next.clone(), draft.now);
            for event in &append {
                // Events raised before the start only fill mailboxes: this cannot fail.
                let _ = self.machine.apply(event.clone());
            }
            self.machine.state().replaying = false;
        } else if output.is_none() && !header.status.is_terminal() {
            let state = self.machine.state();
            header.open_activities = state.open_activity_count();
            header.timer_due = state.next_due().map(|(at, _)| at);
        }
        claim(&mut header, &tasks, input);
        self.machine.stand_at(header.events);
        if changed {
            // A turn that is not committed leaves the store, and so this instance, at the revision where it stood.
            self.header = header.clone();
        }
        let append: Vec<EventBytes> = append.iter().map(Event::to_bytes).collect();
        Turn { changed, header, reset, append, taken, direct_taken, deliveries: draft.deliveries, input: new_input, output, custom_status, tasks }
    }
}

/// Announces this driver's right to run the activities of this turn; claims go when nothing is open.
fn claim(header: &mut Header, tasks: &[ActivityTask], input: &TurnInput<'_>) {
    if header.open_activities == 0 && header.orphans.is_empty() {
        header.claims.clear();
    } else if !tasks.is_empty() {
        claims::take(&mut header.claims, claims::calls(tasks), input.owner, input.claim_until, header.last_now);
    }
}

/// Writes an event down; the first of a turn stands behind the turn's time.
fn note(draft: &mut Draft, event: Event) {
    if draft.append.is_empty() {
        draft.append.push(Event::TurnStarted { now: draft.now });
    }
    draft.append.push(event);
}

/// Notes that a message is taken. One that an instance sent is known by its number.
fn remember(draft: &mut Draft, message: &Message) {
    if message.sender.is_none() {
        draft.header.remember(message.id);
    }
}

/// An external event that came too late is kept in the history, where people find it.
fn unprocessed(draft: &mut Draft, message: &Message) {
    if let MessageBody::EventRaised { name, data } = &message.body
        && !draft.header.in_ring(&message.id)
    {
        remember(draft, message);
        note(draft, Event::EventUnprocessed { message: message.id, name: name.clone(), data: data.clone() });
    }
}

fn jitter_seed(effect: &EffectId, activity: &ActivityOp) -> u64 {
    xxhash_rust::xxh3::xxh3_64(format!("{effect}#{}", activity.attempt).as_bytes())
}

/// A text as a JSON string, in stored form.
fn json_text(app: &crate::App, text: &str) -> Payload {
    app.encode(text).unwrap_or_else(|_| Payload::from_stored(Bytes::from_static(b"null")))
}

//! What an execution has asked for and what has come of it: the state behind every [`super::Context`] of one execution.
//!
//! Calls number themselves in program order and stand as drafts until the poll that made them ends, so that options can still be set;
//! then they are emitted as events, which the machine records (or, on replay, compares with history).
//! Must never: know of time beyond `now`, or of anything outside one execution.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::scopes::{ROOT, ScopeId, Scopes};
use crate::activity::ActivityOptions;
use crate::event_url::EventUrls;
use crate::failure::Failure;
use crate::history::Event;
use crate::ids::{EffectId, Incarnation, InstanceId, MessageId};
use crate::limits;
use crate::payload::{Payload, PayloadCodec};
use crate::time::Timestamp;

/// Which execution this is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub instance: InstanceId,
    pub incarnation: Incarnation,
    pub execution: u32,
}

/// An activity call that has not ended.
#[derive(Debug)]
pub(crate) struct ActivityOp {
    pub name: &'static str,
    pub input: Payload,
    pub options: ActivityOptions,
    pub attempt: u32,
    pub epoch: u32,
    pub retry_at: Option<Timestamp>,
}

/// A sub-orchestration that has not ended.
#[derive(Debug)]
pub(crate) struct ChildOp {
    pub name: &'static str,
    pub version: Option<String>,
    pub instance: InstanceId,
    pub incarnation: Incarnation,
    pub input: Payload,
    pub awaited: bool,
}

/// What a call waits for.
#[derive(Debug)]
pub(crate) enum OpKind {
    Activity(ActivityOp),
    Timer { fire_at: Timestamp },
    Event { name: String },
    Child(ChildOp),
}

/// What has come of a call.
#[derive(Debug, Clone)]
pub(crate) enum OpResult {
    Value(Payload),
    Failure(Failure),
    Fired,
    Event(QueuedEvent),
}

/// An external event that has been taken in.
#[derive(Debug, Clone)]
pub(crate) struct QueuedEvent {
    /// Its place among all that came in.
    pub order: u64,
    pub message: MessageId,
    pub name: String,
    pub data: Payload,
}

#[derive(Debug)]
struct Op {
    kind: OpKind,
    /// Not emitted yet.
    draft: bool,
    /// Nobody holds the future any more; the work goes on, its result is dropped.
    detached: bool,
    /// An end has been recorded (it may be held back while suspended).
    answered: bool,
    waiter: Option<ScopeId>,
    /// What came of it, and its place among all that came in.
    result: Option<(u64, OpResult)>,
}

#[derive(Debug, Default)]
struct Mailbox {
    queue: VecDeque<QueuedEvent>,
    waiters: VecDeque<u32>,
}

#[derive(Debug)]
enum Draft {
    Op(u32),
    Event(Event),
}

/// Payload of the unwinding that leaves user code when a limit is passed from inside a call.
pub(crate) struct CallLimit;

pub(crate) struct State {
    pub identity: Identity,
    pub version: Option<String>,
    pub codec: Arc<dyn PayloadCodec>,
    pub event_urls: Option<Arc<EventUrls>>,
    pub epoch: u32,
    pub now: Timestamp,
    pub replaying: bool,
    /// Set while the future is dropped from outside: drops then record nothing.
    pub tearing_down: bool,
    pub custom_status: Option<Payload>,
    /// Patch markers that the history holds.
    pub patches: BTreeSet<String>,
    pub scopes: Scopes,
    /// Only completions up to here are visible: combinators look at them one at a time, in the order of history.
    pub visible: u64,
    decided: BTreeMap<String, bool>,
    next_sequence: u32,
    calls: u32,
    draws: u64,
    order: u64,
    ops: HashMap<u32, Op>,
    drafts: Vec<Draft>,
    emitted: VecDeque<Event>,
    mailboxes: BTreeMap<String, Mailbox>,
    /// Completions that nobody has consumed, by their order.
    unseen: BTreeMap<u64, u32>,
    /// Timers and retries that are armed.
    due: BTreeSet<(Timestamp, u32)>,
    /// Calls that somebody awaits.
    awaited: usize,
    /// Activities that are to be run: no end is recorded, and no pause before another attempt.
    open_activities: u32,
}

impl State {
    pub fn new(identity: Identity, version: Option<String>, codec: Arc<dyn PayloadCodec>, now: Timestamp) -> Self {
        Self {
            identity,
            version,
            codec,
            event_urls: None,
            epoch: 0,
            now,
            replaying: true,
            tearing_down: false,
            custom_status: None,
            patches: BTreeSet::new(),
            scopes: Scopes::default(),
            visible: u64::MAX,
            decided: BTreeMap::new(),
            next_sequence: 1,
            calls: 0,
            draws: 0,
            order: 0,
            ops: HashMap::new(),
            drafts: Vec::new(),
            emitted: VecDeque::new(),
            mailboxes: BTreeMap::new(),
            unseen: BTreeMap::new(),
            due: BTreeSet::new(),
            awaited: 0,
            open_activities: 0,
        }
    }

    /// Gives back the room that turns work in.
    pub fn rest(&mut self) {
        self.drafts.shrink_to_fit();
        self.emitted.shrink_to_fit();
        self.ops.shrink_to_fit();
        if self.unseen.is_empty() {
            self.unseen = BTreeMap::new();
        }
        if self.due.is_empty() {
            self.due = BTreeSet::new();
        }
    }

    // ---- calls from user code ----

    /// Counts a call; leaves user code by unwinding if there are too many in one turn.
    pub fn count_call(&mut self) {
        self.calls += 1;
        if self.calls > limits::CALLS_PER_TURN {
            std::panic::resume_unwind(Box::new(CallLimit));
        }
    }

    pub fn new_turn(&mut self, now: Timestamp) {
        self.now = now;
        self.calls = 0;
    }

    pub fn effect(&self, sequence: u32) -> EffectId {
        EffectId {
            instance: self.identity.instance.clone(),
            incarnation: self.identity.incarnation,
            execution: self.identity.execution,
            epoch: self.epoch,
            sequence,
        }
    }

    fn take_number(&mut self) -> u32 {
        self.count_call();
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        sequence
    }

    /// The number that the next call will get.
    pub const fn next_sequence(&self) -> u32 {
        self.next_sequence
    }

    /// The place of a call's end among all that came in, if it has ended and is visible.
    pub fn completed_at(&self, sequence: u32) -> Option<u64> {
        self.ops.get(&sequence)?.result.as_ref().map(|(order, _)| *order).filter(|order| *order <= self.visible)
    }

    /// Registers a call; it is emitted when the current poll ends.
    pub fn call(&mut self, kind: OpKind) -> u32 {
        let sequence = self.take_number();
        let event_key = if let OpKind::Event { name } = &kind { Some(key_of(name)) } else { None };
        self.ops.insert(sequence, Op { kind, draft: true, detached: false, answered: false, waiter: None, result: None });
        self.drafts.push(Draft::Op(sequence));
        if let Some(key) = event_key {
            let mailbox = self.mailboxes.entry(key).or_default();
            mailbox.waiters.push_back(sequence);
            self.offer(sequence);
        }
        sequence
    }

    /// The draft behind a call, while its options can still be set.
    pub fn draft_mut(&mut self, sequence: u32) -> Option<&mut OpKind> {
        self.ops.get_mut(&sequence).filter(|op| op.draft).map(|op| &mut op.kind)
    }

    /// Emits an event that nothing waits for. `numbered` ones take a sequence number.
    pub fn announce(&mut self, event: impl FnOnce(u32) -> Event) -> u32 {
        let sequence = self.take_number();
        self.drafts.push(Draft::Event(event(sequence)));
        sequence
    }

    pub fn patched(&mut self, id: &str) -> bool {
        self.count_call();
        if let Some(decided) = self.decided.get(id) {
            return *decided;
        }
        let on = !self.replaying || self.patches.contains(id);
        if !self.replaying {
            self.drafts.push(Draft::Event(Event::Patched { id: id.to_owned() }));
        }
        self.decided.insert(id.to_owned(), on);
        on
    }

    /// A number drawn from instance, life, execution, epoch and a counter: the same on every replay.
    pub fn draw(&mut self) -> u64 {
        self.count_call();
        self.draws += 1;
        let mut seed = self.effect(self.next_sequence).to_string();
        seed.push('?');
        seed.push_str(&self.draws.to_string());
        xxhash_rust::xxh3::xxh3_64(seed.as_bytes())
    }

    /// The result of a call if it is there and visible; otherwise notes who waits. Taking it ends the call.
    pub fn poll(&mut self, sequence: u32) -> Option<OpResult> {
        let scope = self.scopes.current();
        let visible = self.visible;
        let op = self.ops.get_mut(&sequence)?;
        match &op.result {
            Some((order, _)) if *order <= visible => {
                let (order, result) = self.forget(sequence)?.result?;
                self.unseen.remove(&order);
                Some(result)
            }
            _ => {
                if op.waiter.replace(scope).is_none() {
                    self.awaited += 1;
                }
                None
            }
        }
    }

    /// The future of a call was dropped: timers are cancelled, event waits released, work goes on without us.
    pub fn drop_handle(&mut self, sequence: u32) {
        if self.tearing_down {
            return;
        }
        let Some(op) = self.ops.get_mut(&sequence) else { return };
        let keeps_running = !op.draft && op.result.is_none() && matches!(op.kind, OpKind::Activity(_) | OpKind::Child(_));
        if keeps_running {
            op.detached = true;
            if op.waiter.take().is_some() {
                self.awaited -= 1;
            }
            return;
        }
        let Some(op) = self.forget(sequence) else { return };
        if let Some((order, _)) = &op.result {
            self.unseen.remove(order);
        }
        match (op.kind, op.result) {
            (OpKind::Timer { fire_at }, _) => {
                self.due.remove(&(fire_at, sequence));
            }
            (OpKind::Event { name }, result) => {
                let key = key_of(&name);
                if let Some(mailbox) = self.mailboxes.get_mut(&key) {
                    mailbox.waiters.retain(|waiter| *waiter != sequence);
                    // An event that was assigned and not consumed goes back to its place and to the next waiter.
                    if let Some((_, OpResult::Event(event))) = result {
                        let place = mailbox.queue.partition_point(|queued| queued.order < event.order);
                        mailbox.queue.insert(place, event);
                        if let Some(next) = mailbox.waiters.front().copied() {
                            self.offer(next);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Takes a call out and keeps the counters right.
    fn forget(&mut self, sequence: u32) -> Option<Op> {
        let op = self.ops.remove(&sequence)?;
        if op.waiter.is_some() {
            self.awaited -= 1;
        }
        Some(op)
    }

    /// Gives the oldest event of a mailbox to a wait that stands first in line.
    fn offer(&mut self, sequence: u32) {
        let Some(Op { kind: OpKind::Event { name }, result: None, .. }) = self.ops.get(&sequence) else { return };
        let Some(mailbox) = self.mailboxes.get_mut(&key_of(name)) else { return };
        if mailbox.waiters.front() != Some(&sequence) {
            return;
        }
        if let Some(event) = mailbox.queue.pop_front() {
            mailbox.waiters.pop_front();
            self.settle(sequence, event.order, OpResult::Event(event));
        }
    }

    fn settle(&mut self, sequence: u32, order: u64, result: OpResult) {
        let Some(op) = self.ops.get_mut(&sequence) else { return };
        if op.detached {
            self.forget(sequence);
            return;
        }
        op.result = Some((order, result));
        let waiter = op.waiter;
        self.unseen.insert(order, sequence);
        if let Some(scope) = waiter {
            self.scopes.wake(scope);
        }
    }

    // ---- combinators ----

    /// The next completion after `after` that is visible and not consumed; whoever awaits it is woken.
    pub fn reveal_after(&mut self, after: u64, up_to: u64) -> Option<u64> {
        // A combinator inside another one may be shown nothing yet.
        let first = after.checked_add(1).filter(|first| *first <= up_to)?;
        let (order, sequence) = self.unseen.range(first..=up_to).next().map(|(o, s)| (*o, *s))?;
        if let Some(scope) = self.ops.get(&sequence).and_then(|op| op.waiter) {
            self.scopes.wake(scope);
        }
        Some(order)
    }

    // ---- the machine's side ----

    /// Something comes in: it takes the next place in the order of all that came in.
    fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    pub fn event_raised(&mut self, message: MessageId, name: &str, data: Payload) {
        let order = self.next_order();
        let mailbox = self.mailboxes.entry(key_of(name)).or_default();
        mailbox.queue.push_back(QueuedEvent { order, message, name: name.to_owned(), data });
        if let Some(first) = mailbox.waiters.front().copied() {
            self.offer(first);
        }
    }

    /// A call has ended. False if there is no such call.
    pub fn complete(&mut self, sequence: u32, result: OpResult) -> bool {
        let order = self.next_order();
        let Some(op) = self.ops.get(&sequence) else { return false };
        if op.draft {
            return false;
        }
        if let OpKind::Timer { fire_at } = &op.kind {
            let fire_at = *fire_at;
            self.due.remove(&(fire_at, sequence));
        }
        self.stop_running(sequence);
        self.settle(sequence, order, result);
        true
    }

    /// An activity is not to be run any more, nor tried again.
    fn stop_running(&mut self, sequence: u32) {
        if let Some(Op { kind: OpKind::Activity(activity), answered: false, .. }) = self.ops.get_mut(&sequence) {
            match activity.retry_at.take() {
                Some(at) => {
                    self.due.remove(&(at, sequence));
                }
                None => self.open_activities -= 1,
            }
        }
    }

    /// Marks that the end of a call is recorded. False if it was already, or there is no such call.
    pub fn answer(&mut self, sequence: u32) -> bool {
        if self.is_open(sequence) {
            self.stop_running(sequence);
        }
        match self.ops.get_mut(&sequence) {
            Some(op) if !op.draft && !op.answered && op.result.is_none() => {
                op.answered = true;
                true
            }
            _ => false,
        }
    }

    /// True if the call exists and its end has not been recorded.
    pub fn is_open(&self, sequence: u32) -> bool {
        self.ops.get(&sequence).is_some_and(|op| !op.draft && !op.answered && op.result.is_none())
    }

    pub fn activity(&self, sequence: u32) -> Option<&ActivityOp> {
        match self.ops.get(&sequence) {
            Some(Op { kind: OpKind::Activity(activity), draft: false, result: None, .. }) => Some(activity),
            _ => None,
        }
    }

    pub fn child(&self, sequence: u32) -> Option<&ChildOp> {
        match self.ops.get(&sequence) {
            Some(Op { kind: OpKind::Child(child), draft: false, result: None, .. }) => Some(child),
            _ => None,
        }
    }

    /// An attempt failed and the next one is due at a time. False if there is no such open activity.
    pub fn attempt_failed(&mut self, sequence: u32, retry_at: Timestamp) -> bool {
        let Some(Op { kind: OpKind::Activity(activity), answered: false, .. }) = self.ops.get_mut(&sequence) else { return false };
        activity.retry_at = Some(retry_at);
        self.open_activities -= 1;
        self.due.insert((retry_at, sequence));
        true
    }

    /// The next attempt begins. False if there is no such open activity.
    pub fn retry(&mut self, sequence: u32) -> bool {
        let Some(Op { kind: OpKind::Activity(activity), .. }) = self.ops.get_mut(&sequence) else { return false };
        let Some(retry_at) = activity.retry_at.take() else { return false };
        activity.attempt += 1;
        self.open_activities += 1;
        self.due.remove(&(retry_at, sequence));
        true
    }

    /// A new epoch: open activities begin again with their first attempt, under new effect ids.
    pub fn rewound(&mut self) {
        self.epoch += 1;
        let epoch = self.epoch;
        let due = &mut self.due;
        for (sequence, op) in &mut self.ops {
            if let OpKind::Activity(activity) = &mut op.kind
                && op.result.is_none()
            {
                if let Some(at) = activity.retry_at.take() {
                    due.remove(&(at, *sequence));
                    self.open_activities += 1;
                }
                (activity.epoch, activity.attempt) = (epoch, 1);
            }
        }
    }

    /// The poll has ended: what it asked for becomes events, in program order.
    pub fn emit_drafts(&mut self) {
        for draft in std::mem::take(&mut self.drafts) {
            let sequence = match draft {
                Draft::Event(event) => {
                    self.emitted.push_back(event);
                    continue;
                }
                Draft::Op(sequence) => sequence,
            };
            let Some(op) = self.ops.get_mut(&sequence) else { continue };
            op.draft = false;
            let event = match &op.kind {
                OpKind::Activity(a) => {
                    self.open_activities += 1;
                    Event::ActivityScheduled { sequence, name: a.name.to_owned(), input: a.input.clone() }
                }
                OpKind::Timer { fire_at } => {
                    self.due.insert((*fire_at, sequence));
                    Event::TimerCreated { sequence, fire_at: *fire_at }
                }
                OpKind::Event { name } => Event::EventAwaited { sequence, name: name.clone() },
                OpKind::Child(c) => {
                    let event = Event::SubOrchestrationCreated {
                        sequence,
                        name: c.name.to_owned(),
                        instance: c.instance.clone(),
                        input: c.input.clone(),
                        awaited: c.awaited,
                        version: c.version.clone(),
                    };
                    if !c.awaited {
                        self.forget(sequence);
                    }
                    event
                }
            };
            self.emitted.push_back(event);
        }
    }

    /// What was asked for and has not been taken note of.
    pub fn emitted(&self) -> Option<&Event> {
        self.emitted.front()
    }

    pub fn next_emitted(&mut self) -> Option<Event> {
        self.emitted.pop_front()
    }

    /// Takes the wake-up of the root, if there was one.
    pub fn take_woken(&mut self) -> bool {
        self.scopes.take_woken(ROOT)
    }

    /// True if somebody awaits something durable.
    pub const fn awaits_something(&self) -> bool {
        self.awaited > 0
    }

    /// What history holds counts, when code asks for a call with another input on replay.
    pub fn as_recorded(&mut self, recorded: &Event) {
        match recorded {
            Event::ActivityScheduled { sequence, input, .. } => {
                if let Some(Op { kind: OpKind::Activity(activity), .. }) = self.ops.get_mut(sequence) {
                    activity.input = input.clone();
                }
            }
            Event::TimerCreated { sequence, fire_at } => {
                if let Some(Op { kind: OpKind::Timer { fire_at: asked }, .. }) = self.ops.get_mut(sequence) {
                    self.due.remove(&(*asked, *sequence));
                    *asked = *fire_at;
                    self.due.insert((*fire_at, *sequence));
                }
            }
            Event::SubOrchestrationCreated { sequence, input, instance, .. } => {
                if let Some(Op { kind: OpKind::Child(child), .. }) = self.ops.get_mut(sequence) {
                    (child.input, child.instance) = (input.clone(), instance.clone());
                }
            }
            _ => {}
        }
    }

    /// The earliest timer or retry that is due by `limit` and belongs to a call before `fence`.
    pub fn due_by(&self, limit: Timestamp, fence: u32) -> Option<(Timestamp, u32)> {
        self.due.iter().take_while(|(at, _)| *at <= limit).find(|(_, sequence)| *sequence < fence).copied()
    }

    /// The earliest timer or retry.
    pub fn next_due(&self) -> Option<(Timestamp, u32)> {
        self.due.first().copied()
    }

    pub const fn open_activity_count(&self) -> u32 {
        self.open_activities
    }

    /// Calls of activities that are open and not waiting for a retry, in program order.
    pub fn runnable_activities(&self) -> Vec<u32> {
        self.calls_where(|op| matches!(&op.kind, OpKind::Activity(a) if a.retry_at.is_none()))
    }

    /// Calls of sub-orchestrations that have not ended, in program order.
    pub fn open_children(&self) -> Vec<u32> {
        self.calls_where(|op| matches!(&op.kind, OpKind::Child(_)))
    }

    fn calls_where(&self, wanted: impl Fn(&Op) -> bool) -> Vec<u32> {
        let mut sequences: Vec<u32> =
            self.ops.iter().filter(|(_, op)| !op.draft && !op.answered && op.result.is_none() && wanted(op)).map(|(s, _)| *s).collect();
        sequences.sort_unstable();
        sequences
    }

    /// External events that nobody has consumed, in order of arrival.
    pub fn unclaimed_events(&self) -> Vec<QueuedEvent> {
        let queued = self.mailboxes.values().flat_map(|mailbox| mailbox.queue.iter().cloned());
        let assigned = self.ops.values().filter_map(|op| match &op.result {
            Some((_, OpResult::Event(event))) => Some(event.clone()),
            _ => None,
        });
        let mut events: Vec<QueuedEvent> = queued.chain(assigned).collect();
        events.sort_by_key(|event| event.order);
        events
    }

    /// Adds a timeout's timer to the numbers: when it is due.
    pub fn fire_time(&self, after: Duration) -> Timestamp {
        self.now.after(after)
    }
}

/// Event names match without regard to case.
fn key_of(name: &str) -> String {
    name.to_lowercase()
}

//! One execution in motion: user code, what it asked for, and the history that drives it.
//!
//! Events come in one at a time and user code is polled after each, live and on replay alike; what it asks for is compared with history on
//! replay and recorded when live. Must never: let anything but history and the time of the turn reach user code.

use std::collections::{BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;

use super::fault::{TurnFault, describe};
use super::waker::TurnWaker;
use crate::app::{App, Ending, OrchestratorFuture};
use crate::context::Context;
use crate::context::enter;
use crate::context::state::{CallLimit, Identity, OpResult, State};
use crate::failure::panic_text;
use crate::header::FaultKind;
use crate::history::{Event, EventBytes, REPLAY_POLICY};
use crate::limits;
use crate::payload::Payload;
use crate::time::Timestamp;
use crate::{Failure, OnPanic};

/// What a machine is made for.
pub(crate) struct Blueprint {
    pub app: Arc<App>,
    pub identity: Identity,
    pub version: Option<String>,
    pub input: Payload,
    pub created: Timestamp,
}

/// One execution in motion.
pub(crate) struct Machine {
    plan: Blueprint,
    ctx: Context,
    future: Option<OrchestratorFuture>,
    waker: TurnWaker,
    /// How user code ended, once it has.
    pub ending: Option<Ending>,
    /// User code has been started.
    pub begun: bool,
    /// History holds the end.
    pub ended: bool,
    pub suspended: bool,
    /// What came in while suspended.
    held: VecDeque<Event>,
    /// Number of events so far: the place of the next one.
    position: u64,
}

impl Machine {
    pub fn new(plan: Blueprint) -> Self {
        let mut state = State::new(plan.identity.clone(), plan.version.clone(), plan.app.codec.clone(), plan.created);
        state.event_urls.clone_from(&plan.app.event_urls);
        Self {
            plan,
            ctx: Context::new(state),
            future: None,
            waker: TurnWaker::new(),
            ending: None,
            begun: false,
            ended: false,
            suspended: false,
            held: VecDeque::new(),
            position: 0,
        }
    }

    pub fn state(&self) -> std::cell::RefMut<'_, State> {
        self.ctx.state().borrow_mut()
    }

    /// Runs a stored history through user code. Afterwards the machine stands where the last turn left it.
    pub fn replay(&mut self, history: &[EventBytes]) -> Result<(), TurnFault> {
        let events = read_events(history)?;
        let masked = self.survey(&events);
        let rewound = events.iter().any(|event| matches!(event, Event::ExecutionRewound { .. }));
        for event in events {
            if !masked.contains(&self.position) {
                self.replay_one(event)?;
            }
            self.position += 1;
        }
        self.expect_silence(None)?;
        if self.ending.is_some() && !self.ended && !rewound {
            return Err(TurnFault::mismatch(self.position, None, Some("its end".to_owned())));
        }
        let mut state = self.state();
        state.replaying = false;
        // It was stored by the turns that set it.
        state.custom_status = None;
        drop(state);
        Ok(())
    }

    /// Learns from a whole history what code must know before it gets there. Gives the places of what no longer counts.
    pub fn survey(&mut self, events: &[Event]) -> BTreeSet<u64> {
        let mut masked = BTreeSet::new();
        for event in events {
            match event {
                Event::ExecutionRewound { masked: more, .. } => masked.extend(more.iter().map(|n| u64::from(*n))),
                Event::Patched { id } => {
                    self.state().patches.insert(id.clone());
                }
                _ => {}
            }
        }
        masked
    }

    /// Runs one event of a stored history through user code.
    pub fn replay_one(&mut self, event: Event) -> Result<(), TurnFault> {
        match event {
            Event::TurnStarted { now } => {
                self.expect_silence(Some(&event))?;
                self.state().new_turn(now);
                Ok(())
            }
            Event::ActivityScheduled { .. }
            | Event::TimerCreated { .. }
            | Event::EventAwaited { .. }
            | Event::SubOrchestrationCreated { .. }
            | Event::EventSent { .. } => self.match_asked(&event),
            Event::Patched { .. } | Event::EventUnprocessed { .. } => Ok(()),
            incoming => {
                self.expect_silence(Some(&incoming))?;
                if self.ending.is_some() && !matches!(incoming, Event::ExecutionCompleted | Event::ExecutionFailed { .. } | Event::ExecutionRewound { .. }) {
                    return Err(TurnFault::mismatch(self.position, Some(describe(&incoming)), Some("its end".to_owned())));
                }
                self.apply(incoming)
            }
        }
    }

    /// User code must have asked for nothing that history does not hold here.
    fn expect_silence(&self, next: Option<&Event>) -> Result<(), TurnFault> {
        match self.state().next_emitted() {
            None => Ok(()),
            Some(asked) => Err(TurnFault::mismatch(self.position, next.map(describe), Some(describe(&asked)))),
        }
    }

    /// Compares what history holds with what user code asked for.
    fn match_asked(&self, recorded: &Event) -> Result<(), TurnFault> {
        let asked = self.state().next_emitted();
        let Some(asked) = asked else {
            let what = if self.ending.is_some() { Some("its end".to_owned()) } else { None };
            return Err(TurnFault::mismatch(self.position, Some(describe(recorded)), what));
        };
        let (same, input_changed) = match (recorded, &asked) {
            (Event::ActivityScheduled { sequence: s, name: n, input: i }, Event::ActivityScheduled { sequence, name, input }) => {
                (s == sequence && n == name, i != input)
            }
            (Event::TimerCreated { sequence: s, fire_at: f }, Event::TimerCreated { sequence, fire_at }) => (s == sequence, f != fire_at),
            (Event::EventAwaited { sequence: s, name: n }, Event::EventAwaited { sequence, name }) => {
                (s == sequence && n.to_lowercase() == name.to_lowercase(), false)
            }
            (
                Event::SubOrchestrationCreated { sequence: s, name: n, instance: id, input: i, awaited: a, .. },
                Event::SubOrchestrationCreated { sequence, name, instance, input, awaited, .. },
            ) => (s == sequence && n == name && a == awaited, i != input || id != instance),
            (Event::EventSent { sequence: s, name: n, instance: id, data: d }, Event::EventSent { sequence, name, instance, data }) => {
                (s == sequence && n.to_lowercase() == name.to_lowercase(), d != data || id != instance)
            }
            _ => (false, false),
        };
        if !same || (input_changed && self.plan.app.strict_inputs) {
            return Err(TurnFault::mismatch(self.position, Some(describe(recorded)), Some(describe(&asked))));
        }
        if input_changed {
            tracing::warn!(
                instance = %self.plan.identity.instance, event = self.position, call = %describe(&asked),
                "on replay the code asks for the same call with another input; what history holds counts"
            );
            self.state().as_recorded(recorded);
        }
        Ok(())
    }

    /// Takes in one event. While suspended, what user code would see is held back.
    pub fn apply(&mut self, event: Event) -> Result<(), TurnFault> {
        match event {
            Event::ExecutionStarted { name, version, replay_policy } => {
                if replay_policy > REPLAY_POLICY {
                    let message =
                        format!("the execution was begun under replay policy {replay_policy}, this build knows up to {REPLAY_POLICY}: deploy a newer build");
                    return Err(TurnFault::new(FaultKind::Unreadable, message));
                }
                self.begin(&name, version.as_deref())
            }
            Event::ExecutionSuspended { .. } => {
                self.suspended = true;
                Ok(())
            }
            Event::ExecutionResumed { .. } => {
                self.suspended = false;
                while let Some(held) = self.held.pop_front() {
                    self.take_in(held)?;
                }
                Ok(())
            }
            Event::ExecutionTerminated { .. } | Event::ExecutionCompleted | Event::ExecutionFailed { .. } => {
                self.ended = true;
                Ok(())
            }
            Event::ExecutionRewound { .. } => {
                self.state().rewound();
                Ok(())
            }
            Event::ActivityAttemptFailed { sequence, retry_at, .. } => {
                let known = self.state().attempt_failed(sequence, retry_at);
                self.known(known, &event)
            }
            Event::ActivityRetried { sequence } => {
                let known = self.state().retry(sequence);
                self.known(known, &event)
            }
            event if self.suspended => {
                if let Some(sequence) = ended_call(&event) {
                    let open = self.state().answer(sequence);
                    self.known(open, &event)?;
                }
                self.held.push_back(event);
                Ok(())
            }
            event => self.take_in(event),
        }
    }

    fn known(&self, known: bool, event: &Event) -> Result<(), TurnFault> {
        if known { Ok(()) } else { Err(TurnFault::mismatch(self.position, Some(describe(event)), None)) }
    }

    /// Shows an event to user code.
    fn take_in(&mut self, event: Event) -> Result<(), TurnFault> {
        let text = describe(&event);
        let known = match event {
            Event::EventRaised { message, name, data } => {
                self.state().event_raised(message, &name, data);
                true
            }
            Event::ActivityCompleted { sequence, result } | Event::SubOrchestrationCompleted { sequence, result } => {
                self.state().complete(sequence, OpResult::Value(result))
            }
            Event::ActivityFailed { sequence, failure } | Event::SubOrchestrationFailed { sequence, failure } => {
                self.state().complete(sequence, OpResult::Failure(failure))
            }
            Event::TimerFired { sequence } => self.state().complete(sequence, OpResult::Fired),
            _ => true,
        };
        if !known {
            return Err(TurnFault::mismatch(self.position, Some(text), None));
        }
        if self.begun && self.state().take_woken() { self.poll() } else { Ok(()) }
    }

    fn begin(&mut self, name: &str, version: Option<&str>) -> Result<(), TurnFault> {
        self.begun = true;
        let (app, ctx, input) = (self.plan.app.clone(), self.ctx.clone(), self.plan.input.clone());
        let made = std::panic::catch_unwind(AssertUnwindSafe(|| app.run_orchestrator(name, version, ctx, input)));
        match made {
            Ok(Some(future)) => {
                self.future = Some(future);
                self.state().take_woken();
                self.poll()
            }
            Ok(None) => {
                let known = self.plan.app.orchestrator_names().join(", ");
                let which = version.map_or_else(String::new, |v| format!(" in version {v}"));
                let message = format!("this build has no orchestrator `{name}`{which}; it has: {known}. Deploy a build that has it");
                Err(TurnFault::new(FaultKind::MissingOrchestrator, message))
            }
            Err(panic) => self.panicked(&*panic),
        }
    }

    /// Polls user code until nothing more can happen, and turns its calls into events.
    fn poll(&mut self) -> Result<(), TurnFault> {
        loop {
            let Some(future) = self.future.as_mut() else { return Ok(()) };
            let mut cx = std::task::Context::from_waker(self.waker.waker());
            let polled = std::panic::catch_unwind(AssertUnwindSafe(|| enter(self.ctx.state(), || future.as_mut().poll(&mut cx))));
            match polled {
                Err(panic) => return self.panicked(&*panic),
                Ok(Poll::Ready(ending)) => {
                    self.drop_future();
                    self.state().emit_drafts();
                    self.ending = Some(ending);
                    return Ok(());
                }
                Ok(Poll::Pending) => self.state().emit_drafts(),
            }
            if self.waker.used() {
                return Err(TurnFault::new(
                    FaultKind::ForeignWaker,
                    "the orchestrator awaits something that is not durable (a sleep, a channel, I/O, or another library's join): await only what the context and this crate's combinators give",
                ));
            }
            if !self.state().take_woken() {
                break;
            }
        }
        if self.state().awaits_something() {
            Ok(())
        } else {
            Err(TurnFault::new(
                FaultKind::Stuck,
                "the orchestrator waits, and nothing durable will wake it: await an activity, a timer, an event or a sub-orchestration of the context",
            ))
        }
    }

    fn panicked(&mut self, panic: &(dyn std::any::Any + Send)) -> Result<(), TurnFault> {
        if panic.is::<CallLimit>() {
            let message = format!("the orchestrator made more than {} calls in one turn: sleep between them, or continue as new", limits::CALLS_PER_TURN);
            return Err(TurnFault::new(FaultKind::Limit, message));
        }
        let text = panic_text(panic);
        if self.plan.app.on_panic == OnPanic::Fail {
            self.drop_future();
            self.state().emit_drafts();
            self.ending = Some(Ending::Failed(Failure::new(crate::KIND_PANIC, text)));
            return Ok(());
        }
        Err(TurnFault::new(FaultKind::Panic, format!("the orchestrator panicked: {text}. Deploy a build that does not; the instance then goes on by itself")))
    }

    /// Drops user code from outside: what its drops give up is not recorded.
    pub fn drop_future(&mut self) {
        if let Some(future) = self.future.take() {
            self.state().tearing_down = true;
            // A panic in a destructor must not take the shard with it.
            if std::panic::catch_unwind(AssertUnwindSafe(|| drop(future))).is_err() {
                tracing::warn!(instance = %self.plan.identity.instance, "a destructor panicked while the orchestrator was dropped");
            }
            self.state().tearing_down = false;
        }
    }

    /// History now holds so many events.
    pub const fn stand_at(&mut self, events: u64) {
        self.position = events;
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.drop_future();
    }
}

/// The events of a stored history.
pub(super) fn read_events(history: &[EventBytes]) -> Result<Vec<Event>, TurnFault> {
    let unreadable = |e| TurnFault::new(FaultKind::Unreadable, format!("the history of the instance cannot be read: {e}"));
    history.iter().map(|bytes| Event::from_bytes(bytes)).collect::<Result<_, _>>().map_err(unreadable)
}

/// The call that an event ends.
const fn ended_call(event: &Event) -> Option<u32> {
    match event {
        Event::ActivityCompleted { sequence, .. }
        | Event::ActivityFailed { sequence, .. }
        | Event::SubOrchestrationCompleted { sequence, .. }
        | Event::SubOrchestrationFailed { sequence, .. } => Some(*sequence),
        _ => None,
    }
}

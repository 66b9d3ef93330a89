//! `historyEvents`: the stored history, reshaped as Durable Functions shows it. A pure function.
//!
//! What exists there has its name there. Attempts of an activity show as `TaskFailed`, `TimerCreated`, `TimerFired` and a new schedule, as
//! retries do there. What a rewind has undone is a `GenericEvent`. An external event that came too late to be taken is an `EventRaised` with
//! `Unprocessed`. Turns, waits and patch markers have no counterpart and are not shown. Must never show inputs or outputs unasked.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use durable::history::Event;
use durable::{App, Failure, Payload, PayloadError, Timestamp};
use serde::Serialize;

use crate::json::JsonText;

/// What is shown beside the events themselves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Show {
    pub input: bool,
    pub output: bool,
}

/// What stands in the instance's record, once, and is shown in its history.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recorded<'a> {
    pub input: &'a Payload,
    pub output: Option<&'a Payload>,
    pub created: Timestamp,
}

/// One event as it is shown. What is not there is left out.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HistoryEvent {
    event_type: &'static str,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fire_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<JsonText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_details: Option<Details>,
    #[serde(skip_serializing_if = "Option::is_none")]
    orchestration_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unprocessed: Option<bool>,
}

/// Why something failed, as the newer clients read it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Details {
    error_type: String,
    error_message: String,
    stack_trace: Option<String>,
    inner_failure: Option<Box<Self>>,
    is_non_retriable: bool,
}

impl Details {
    fn new(failure: &Failure) -> Self {
        let of = |kind: &str, message: &str, inner| Self {
            error_type: kind.to_owned(),
            error_message: message.to_owned(),
            stack_trace: None,
            inner_failure: inner,
            is_non_retriable: failure.non_retryable,
        };
        let inner = failure.chain.iter().rev().fold(None, |inner, cause| Some(Box::new(of("", cause, inner))));
        of(&failure.kind, &failure.message, inner)
    }
}

/// Reshapes the history of one execution.
pub(crate) fn reshape(app: &App, events: &[Event], recorded: Recorded<'_>, show: Show) -> Result<Vec<HistoryEvent>, PayloadError> {
    let undone: BTreeSet<u32> = events
        .iter()
        .flat_map(|event| match event {
            Event::ExecutionRewound { masked, .. } => masked.as_slice(),
            _ => &[],
        })
        .copied()
        .collect();
    // Events that an execution inherits stand before its first turn.
    let first_turn = events.iter().find_map(|event| match event {
        Event::TurnStarted { now } => Some(*now),
        _ => None,
    });
    let mut view = View { app, recorded, show, now: first_turn.unwrap_or(recorded.created), shown: Vec::new(), open: HashMap::new() };
    for (place, event) in events.iter().enumerate() {
        if u32::try_from(place).is_ok_and(|place| undone.contains(&place)) {
            view.undone(event);
        } else {
            view.take(event)?;
        }
    }
    Ok(view.shown.into_iter().flatten().collect())
}

/// A call that has been asked for.
struct Call {
    /// Where it is shown, while nothing has come of it.
    place: usize,
    name: String,
    input: Option<String>,
    asked: Timestamp,
    /// When a timer is due or an attempt is made again.
    due: Option<Timestamp>,
}

struct View<'a> {
    app: &'a App,
    recorded: Recorded<'a>,
    show: Show,
    now: Timestamp,
    /// A call's place is emptied once its end is there.
    shown: Vec<Option<HistoryEvent>>,
    open: HashMap<u32, Call>,
}

impl View<'_> {
    fn take(&mut self, event: &Event) -> Result<(), PayloadError> {
        match event {
            Event::TurnStarted { now } => self.now = *now,
            Event::EventAwaited { .. } | Event::Patched { .. } => {}
            Event::ExecutionStarted { name, .. } => {
                let input = self.input(self.recorded.input)?;
                self.push(HistoryEvent { function_name: Some(name.clone()), input, ..self.of("ExecutionStarted") });
            }
            Event::ActivityScheduled { sequence, name, input } => {
                let input = self.input(input)?;
                self.asked(*sequence, name, input.clone(), HistoryEvent { name: Some(name.clone()), input, ..self.of("TaskScheduled") });
            }
            Event::ActivityCompleted { sequence, result } => self.completed(*sequence, result, "TaskCompleted")?,
            Event::ActivityFailed { sequence, failure } => self.failed(*sequence, failure, "TaskFailed"),
            Event::ActivityAttemptFailed { sequence, failure, retry_at } => {
                self.failed(*sequence, failure, "TaskFailed");
                self.timer(*sequence, *retry_at);
            }
            Event::ActivityRetried { sequence } => {
                self.fired(*sequence);
                if let Some((name, input)) = self.open.get(sequence).map(|call| (call.name.clone(), call.input.clone())) {
                    self.asked(*sequence, &name, input.clone(), HistoryEvent { name: Some(name.clone()), input, ..self.of("TaskScheduled") });
                }
            }
            Event::TimerCreated { sequence, fire_at } => {
                self.open.insert(*sequence, Call { place: usize::MAX, name: String::new(), input: None, asked: self.now, due: None });
                self.timer(*sequence, *fire_at);
            }
            Event::TimerFired { sequence } => self.fired(*sequence),
            Event::EventRaised { name, data, .. } => {
                let input = self.input(data)?;
                self.push(HistoryEvent { name: Some(name.clone()), input, ..self.of("EventRaised") });
            }
            Event::EventUnprocessed { name, data, .. } => {
                let input = self.input(data)?;
                self.push(HistoryEvent { name: Some(name.clone()), input, unprocessed: Some(true), ..self.of("EventRaised") });
            }
            Event::SubOrchestrationCreated { sequence, name, instance, input, .. } => {
                let input = self.input(input)?;
                let (name, instance) = (name.clone(), Some(instance.to_string()));
                let shown =
                    HistoryEvent { name: Some(name.clone()), instance_id: instance, input: input.clone(), ..self.of("SubOrchestrationInstanceCreated") };
                self.asked(*sequence, &name, input, shown);
            }
            Event::SubOrchestrationCompleted { sequence, result } => self.completed(*sequence, result, "SubOrchestrationInstanceCompleted")?,
            Event::SubOrchestrationFailed { sequence, failure } => self.failed(*sequence, failure, "SubOrchestrationInstanceFailed"),
            Event::EventSent { instance, name, data, .. } => {
                let input = self.input(data)?;
                self.push(HistoryEvent { instance_id: Some(instance.to_string()), name: Some(name.clone()), input, ..self.of("EventSent") });
            }
            ending => self.take_ending(ending)?,
        }
        Ok(())
    }

    /// What happens to the execution as a whole.
    fn take_ending(&mut self, event: &Event) -> Result<(), PayloadError> {
        let shown = match event {
            Event::ExecutionSuspended { reason } => HistoryEvent { reason: Some(reason.clone()), ..self.of("ExecutionSuspended") },
            Event::ExecutionResumed { reason } => HistoryEvent { reason: Some(reason.clone()), ..self.of("ExecutionResumed") },
            Event::ExecutionRewound { reason, .. } => HistoryEvent { reason: Some(reason.clone()), ..self.of("ExecutionRewound") },
            Event::ExecutionTerminated { reason } => HistoryEvent { input: self.show.input.then(|| reason.clone()), ..self.of("ExecutionTerminated") },
            Event::ExecutionCompleted => {
                let result = self.recorded.output.map_or(Ok(None), |output| self.result(output))?;
                HistoryEvent { orchestration_status: Some("Completed"), result, ..self.of("ExecutionCompleted") }
            }
            Event::ExecutionFailed { failure } => {
                let text = serde_json::to_vec(&failure.to_string()).unwrap_or_default();
                let result = self.show.output.then(|| JsonText::new(Bytes::from(text)));
                let failure_details = Some(Details::new(failure));
                HistoryEvent { orchestration_status: Some("Failed"), result, failure_details, ..self.of("ExecutionCompleted") }
            }
            _ => return Ok(()),
        };
        self.push(shown);
        Ok(())
    }

    /// An event that a rewind has undone.
    fn undone(&mut self, event: &Event) {
        let what = match event {
            Event::TurnStarted { now } => {
                self.now = *now;
                return;
            }
            Event::EventAwaited { .. } | Event::Patched { .. } => return,
            Event::ActivityScheduled { .. } | Event::ActivityRetried { .. } => "TaskScheduled",
            Event::ActivityCompleted { .. } => "TaskCompleted",
            Event::ActivityFailed { .. } | Event::ActivityAttemptFailed { .. } => "TaskFailed",
            Event::TimerCreated { .. } => "TimerCreated",
            Event::TimerFired { .. } => "TimerFired",
            Event::SubOrchestrationCreated { .. } => "SubOrchestrationInstanceCreated",
            Event::SubOrchestrationCompleted { .. } => "SubOrchestrationInstanceCompleted",
            Event::SubOrchestrationFailed { .. } => "SubOrchestrationInstanceFailed",
            Event::EventSent { .. } => "EventSent",
            Event::ExecutionFailed { .. } => "ExecutionCompleted",
            _ => "event",
        };
        self.push(HistoryEvent { data: Some(format!("Rewound: {what}")), ..self.of("GenericEvent") });
    }

    fn of(&self, event_type: &'static str) -> HistoryEvent {
        HistoryEvent { event_type, timestamp: self.now, ..HistoryEvent::default() }
    }

    fn push(&mut self, event: HistoryEvent) {
        self.shown.push(Some(event));
    }

    fn asked(&mut self, sequence: u32, name: &str, input: Option<String>, shown: HistoryEvent) {
        self.open.insert(sequence, Call { place: self.shown.len(), name: name.to_owned(), input, asked: self.now, due: None });
        self.push(shown);
    }

    /// The end of a call, which takes the place of its beginning.
    fn end_of(&mut self, sequence: u32, event_type: &'static str) -> HistoryEvent {
        let end = self.of(event_type);
        let Some(call) = self.open.get(&sequence) else { return end };
        if let Some(begin) = self.shown.get_mut(call.place) {
            *begin = None;
        }
        HistoryEvent { function_name: Some(call.name.clone()), scheduled_time: Some(call.asked), input: call.input.clone(), ..end }
    }

    fn completed(&mut self, sequence: u32, result: &Payload, event_type: &'static str) -> Result<(), PayloadError> {
        let result = self.result(result)?;
        let end = self.end_of(sequence, event_type);
        self.push(HistoryEvent { result, ..end });
        Ok(())
    }

    fn failed(&mut self, sequence: u32, failure: &Failure, event_type: &'static str) {
        let end = self.end_of(sequence, event_type);
        let (reason, details) = (Some(failure.message.clone()), Some(failure.to_string()));
        self.push(HistoryEvent { reason, details, failure_details: Some(Details::new(failure)), ..end });
    }

    fn timer(&mut self, sequence: u32, fire_at: Timestamp) {
        if let Some(call) = self.open.get_mut(&sequence) {
            call.due = Some(fire_at);
        }
        self.push(HistoryEvent { fire_at: Some(fire_at), ..self.of("TimerCreated") });
    }

    fn fired(&mut self, sequence: u32) {
        let fire_at = self.open.get(&sequence).and_then(|call| call.due);
        self.push(HistoryEvent { fire_at, ..self.of("TimerFired") });
    }

    /// An input, as the JSON text that it is.
    fn input(&self, payload: &Payload) -> Result<Option<String>, PayloadError> {
        if !self.show.input {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&self.app.text(payload)?).into_owned()))
    }

    fn result(&self, payload: &Payload) -> Result<Option<JsonText>, PayloadError> {
        if !self.show.output {
            return Ok(None);
        }
        self.app.text(payload).map(|text| Some(JsonText::new(text)))
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;

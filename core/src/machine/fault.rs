//! What keeps a turn from being made, and how it is written down: the record, its tries and when the next one is due.

use std::time::Duration;

use crate::header::{Fault, FaultKind};
use crate::history::Event;
use crate::limits;
use crate::time::Timestamp;

/// A turn that was abandoned. Nothing of it may be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TurnFault {
    /// What kind of trouble.
    pub kind: FaultKind,
    /// At which event of the history, counted from 0.
    pub at_event: Option<u64>,
    /// What history holds there.
    pub expected: Option<String>,
    /// What the code asked for.
    pub asked: Option<String>,
    /// What happened and what to do, for people.
    pub message: String,
}

impl TurnFault {
    pub(crate) fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, at_event: None, expected: None, asked: None, message: message.into() }
    }

    pub(crate) fn mismatch(at_event: u64, expected: Option<String>, asked: Option<String>) -> Self {
        let holds = expected.as_deref().unwrap_or("nothing more");
        let wants = asked.as_deref().unwrap_or("nothing");
        let message = format!(
            "the orchestrator is not deterministic: event {at_event} of the history is {holds}, but the code asked for {wants}. \
             Deploy code that asks for the same in the same order, or give the changed code a new version or a patch marker"
        );
        Self { kind: FaultKind::NonDeterminism, at_event: Some(at_event), expected, asked, message }
    }

    /// The record of this fault. `before` is the one that the instance bears already, if any.
    #[must_use]
    pub fn record(&self, before: Option<&Fault>, build: &str, version: Option<&str>, now: Timestamp) -> Fault {
        let tries = before.filter(|b| b.build == build).map_or(0, |b| b.tries).saturating_add(1);
        Fault {
            kind: self.kind,
            build: build.to_owned(),
            version: version.map(ToOwned::to_owned),
            at_event: self.at_event,
            expected: self.expected.clone(),
            asked: self.asked.clone(),
            message: self.message.clone(),
            tries,
            at: now,
            next_try: next_try(self.kind, tries, now),
        }
    }
}

/// Panics and deaths of the process are tried again after a second, doubling; what only another build can cure after an hour, doubling to a
/// day; ten tries in all.
fn next_try(kind: FaultKind, tries: u32, now: Timestamp) -> Option<Timestamp> {
    const DAY: Duration = Duration::from_secs(86_400);
    if tries >= limits::FAULT_TRIES {
        return None;
    }
    let first = match kind {
        FaultKind::Panic | FaultKind::Abort => Duration::from_secs(1),
        _ => Duration::from_secs(3_600),
    };
    let doubled = first.saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1)));
    Some(now.after(doubled.min(DAY)))
}

/// An event as faults name it.
pub(crate) fn describe(event: &Event) -> String {
    match event {
        Event::ActivityScheduled { sequence, name, .. } => format!("activity `{name}` (call {sequence})"),
        Event::TimerCreated { sequence, .. } => format!("a timer (call {sequence})"),
        Event::EventAwaited { sequence, name } => format!("a wait for event `{name}` (call {sequence})"),
        Event::SubOrchestrationCreated { sequence, name, .. } => format!("sub-orchestration `{name}` (call {sequence})"),
        Event::EventSent { sequence, name, instance, .. } => format!("event `{name}` to instance `{instance}` (call {sequence})"),
        Event::ActivityCompleted { sequence, .. } | Event::ActivityFailed { sequence, .. } => format!("the end of the activity of call {sequence}"),
        Event::ActivityAttemptFailed { sequence, .. } | Event::ActivityRetried { sequence } => format!("an attempt of the activity of call {sequence}"),
        Event::TimerFired { sequence } => format!("the firing of the timer of call {sequence}"),
        Event::SubOrchestrationCompleted { sequence, .. } | Event::SubOrchestrationFailed { sequence, .. } => {
            format!("the end of the sub-orchestration of call {sequence}")
        }
        Event::EventRaised { name, .. } | Event::EventUnprocessed { name, .. } => format!("the arrival of event `{name}`"),
        Event::TurnStarted { .. } => "a new turn".to_owned(),
        Event::ExecutionStarted { name, .. } => format!("the start of `{name}`"),
        Event::Patched { id } => format!("patch marker `{id}`"),
        Event::ExecutionSuspended { .. } => "a suspension".to_owned(),
        Event::ExecutionResumed { .. } => "a resumption".to_owned(),
        Event::ExecutionTerminated { .. } => "a termination".to_owned(),
        Event::ExecutionCompleted => "completion".to_owned(),
        Event::ExecutionFailed { .. } => "failure".to_owned(),
        Event::ExecutionRewound { .. } => "a rewind".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_tried_again_after_a_second_and_ever_later_ten_times_on_one_build() {
        let fault = TurnFault::new(FaultKind::Panic, "x");
        let mut record = fault.record(None, "b1", None, Timestamp(0));
        assert_eq!(record.next_try, Some(Timestamp::from_millis(1_000)));
        for _ in 1..limits::FAULT_TRIES {
            assert!(record.next_try.is_some());
            record = fault.record(Some(&record), "b1", None, Timestamp(0));
        }
        assert_eq!((record.tries, record.next_try), (limits::FAULT_TRIES, None));
        assert_eq!(fault.record(Some(&record), "b2", None, Timestamp(0)).tries, 1);
    }

    #[test]
    fn non_determinism_is_tried_again_after_an_hour_and_at_most_daily() {
        let fault = TurnFault::mismatch(3, Some("a timer (call 2)".into()), None);
        let first = fault.record(None, "b", None, Timestamp(0));
        assert_eq!(first.next_try, Some(Timestamp::from_millis(3_600_000)));
        let late = fault.record(Some(&Fault { tries: 8, ..first }), "b", None, Timestamp(0));
        assert_eq!(late.next_try, Some(Timestamp::from_millis(86_400_000)));
        assert!(late.message.contains("event 3 of the history is a timer (call 2), but the code asked for nothing"));
    }
}

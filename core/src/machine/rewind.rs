//! Rewind: a failed instance goes on from what failed. History is only appended to; what no longer counts is named in the event itself.

use super::fault::TurnFault;
use super::live::{Live, OpenChild, Stored};
use super::turn::{NewChild, Turn, TurnInput};
use crate::app::App;
use crate::header::{FaultKind, RuntimeStatus};
use crate::history::Event;
use crate::ids::InstanceId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a rewind comes to.
#[derive(Debug)]
pub struct Rewound {
    /// The instance, as the commit will leave it.
    pub live: Live,
    /// What is to be committed.
    pub turn: Turn,
    /// Sub-orchestrations whose failure no longer counts.
    pub failed_children: Vec<OpenChild>,
}

impl Live {
    /// Rewinds a failed instance: what failed is asked for again, in a new epoch.
    ///
    /// Also gives the sub-orchestrations that have failed: they are to be rewound *before* the turn is committed. The turn's deliveries
    /// name every open sub-orchestration; they belong into the outbox on every store, so that one that ended meanwhile is found.
    ///
    /// # Errors
    /// [`TurnFault`] if its records cannot be read, or the code does not match its history.
    pub fn rewind(app: &Arc<App>, instance: &InstanceId, stored: &Stored<'_>, reason: &str, input: &TurnInput<'_>) -> Result<Rewound, TurnFault> {
        let unreadable = |e: crate::codec::FormatError| TurnFault::new(FaultKind::Unreadable, e.to_string());
        let events: Vec<Event> = stored.history.iter().map(|bytes| Event::from_bytes(bytes)).collect::<Result<_, _>>().map_err(unreadable)?;
        let (masked, failed_children) = plan(&events);
        let now = input.now.max(stored.header.last_now);
        let appended = [Event::TurnStarted { now }, Event::ExecutionRewound { reason: reason.to_owned(), masked }];
        let mut history = stored.history.to_vec();
        history.extend(appended.iter().map(Event::to_bytes));

        let mut header = stored.header.clone();
        (header.status, header.failure, header.fault) = (RuntimeStatus::Running, None, None);
        let base = header.clone();
        let mut live = Self::load(app, instance, &Stored { header: &header, input: stored.input, history: &history })?;
        let mut draft = live.new_draft(input);
        draft.header.epoch += 1;
        // Left over at the failure, and asked for again now.
        draft.header.orphans.retain(|orphan| orphan.execution != header.execution || !live.machine.state().is_open(orphan.sequence));
        live.header = base;
        draft.to_run = live.machine.state().runnable_activities();
        let mut failed = Vec::new();
        for child in live.open_children() {
            let again = {
                let state = live.machine.state();
                let Some(op) = state.child(child.sequence) else { continue };
                NewChild {
                    sequence: child.sequence,
                    awaited: true,
                    name: op.name.to_owned(),
                    version: op.version.clone(),
                    instance: op.instance.clone(),
                    incarnation: op.incarnation,
                    input: op.input.clone(),
                }
            };
            // It has been started; starting it again has whoever hands this on look at how it stands.
            draft.deliveries.push(live.start_child(now, again));
            if failed_children.contains(&child.sequence) {
                failed.push(child);
            }
        }
        draft.append.extend(appended);
        // User code may end at once, if it failed by itself and was not changed.
        live.conclude(&mut draft)?;
        let mut turn = live.finish(draft, input, 0, 0);
        turn.changed = true;
        Ok(Rewound { live, turn, failed_children: failed })
    }
}

/// Which events no longer count, and which calls of sub-orchestrations have failed among them.
///
/// What failed last is undone, with everything that failed beside it (nothing was asked for in between). If the code asked for more after
/// that (it compensated, say), that is undone with it: calls made after the failure and what came of them. Events raised, and ends of earlier
/// calls, stay.
fn plan(events: &[Event]) -> (Vec<u32>, BTreeSet<u32>) {
    let already: BTreeSet<u32> = events
        .iter()
        .flat_map(|event| match event {
            Event::ExecutionRewound { masked, .. } => masked.clone(),
            _ => Vec::new(),
        })
        .collect();
    let counts = |place: usize| u32::try_from(place).is_ok_and(|place| !already.contains(&place));
    let is_failure = |event: &Event| matches!(event, Event::ActivityFailed { .. } | Event::SubOrchestrationFailed { .. });
    let last_failure = events.iter().enumerate().rev().find(|(i, e)| counts(*i) && is_failure(e)).map(|(i, _)| i);
    let from = last_failure.map_or(events.len(), |last| {
        let asked_before = events.iter().enumerate().take(last).rev().find(|(i, e)| counts(*i) && asked_call(e).is_some()).map_or(0, |(i, _)| i);
        events.iter().enumerate().skip(asked_before).find(|(i, e)| counts(*i) && is_failure(e)).map_or(last, |(i, _)| i)
    });

    let mut undone_calls = BTreeSet::new();
    let (mut masked, mut failed_children) = (Vec::new(), BTreeSet::new());
    for (place, event) in events.iter().enumerate() {
        if !counts(place) {
            continue;
        }
        let undone = match event {
            Event::ExecutionFailed { .. } => true,
            _ if place < from => false,
            Event::ActivityFailed { .. } => true,
            Event::SubOrchestrationFailed { sequence, .. } => {
                failed_children.insert(*sequence);
                true
            }
            event => match (asked_call(event), ended_call(event)) {
                (Some(call), _) => {
                    undone_calls.insert(call);
                    true
                }
                (None, Some(call)) => undone_calls.contains(&call),
                (None, None) => false,
            },
        };
        if undone && let Ok(place) = u32::try_from(place) {
            masked.push(place);
        }
    }
    (masked, failed_children)
}

const fn asked_call(event: &Event) -> Option<u32> {
    match event {
        Event::ActivityScheduled { sequence, .. }
        | Event::TimerCreated { sequence, .. }
        | Event::EventAwaited { sequence, .. }
        | Event::SubOrchestrationCreated { sequence, .. }
        | Event::EventSent { sequence, .. } => Some(*sequence),
        _ => None,
    }
}

const fn ended_call(event: &Event) -> Option<u32> {
    match event {
        Event::ActivityCompleted { sequence, .. }
        | Event::ActivityAttemptFailed { sequence, .. }
        | Event::ActivityRetried { sequence }
        | Event::TimerFired { sequence }
        | Event::SubOrchestrationCompleted { sequence, .. } => Some(*sequence),
        _ => None,
    }
}

//! Rewind: a failed instance goes on from what failed. History is only appended to; what no longer counts is named in the event itself.

use super::fault::TurnFault;
use super::live::{Live, OpenChild, Stored, blueprint};
use super::replay::{Machine, read_events};
use super::turn::{Draft, NewChild, Turn, TurnInput};
use crate::app::App;
use crate::header::RuntimeStatus;
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
    /// name every open sub-orchestration, so that one that ended meanwhile is found.
    ///
    /// # Errors
    /// [`TurnFault`] if its records cannot be read, or the code does not match its history.
    pub fn rewind(app: &Arc<App>, instance: &InstanceId, stored: &Stored<'_>, reason: &str, input: &TurnInput<'_>) -> Result<Rewound, TurnFault> {
        let Undoing { masked, failed_children, again, .. } = Undoing::of(app, instance, stored)?;
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
        draft.asks_again = true;
        // Left over at the failure, and asked for again now.
        draft.header.orphans.retain(|orphan| orphan.execution != header.execution || !live.machine.state().is_open(orphan.sequence));
        live.header = base;
        draft.append.extend(appended);
        for event in again {
            live.take_again(&mut draft, event)?;
        }
        draft.to_run = live.machine.state().runnable_activities();
        let failed_children = live.start_children_again(&mut draft, &failed_children);
        // User code may end at once, if it failed by itself and was not changed.
        live.conclude(&mut draft)?;
        let mut turn = live.finish(draft, input, 0, 0);
        turn.changed = true;
        live.keep(stored.history.to_vec(), &turn);
        Ok(Rewound { live, turn, failed_children })
    }

    /// Takes in, behind the rewind, what came after the place where code goes another way now.
    fn take_again(&mut self, draft: &mut Draft, event: Event) -> Result<(), TurnFault> {
        if let Some(call) = ended_call(&event)
            && !self.machine.state().is_open(call)
        {
            return Ok(());
        }
        match event {
            Event::EventRaised { message, name, data } if self.machine.ending.is_some() => draft.append.push(Event::EventUnprocessed { message, name, data }),
            _ if self.machine.ending.is_some() => {}
            event => self.record(draft, event)?,
        }
        Ok(())
    }

    /// Starts the open sub-orchestrations that were started before: whoever does finds one that is there, and has ended perhaps. Gives those of
    /// them that have failed.
    fn start_children_again(&self, draft: &mut Draft, failed_calls: &BTreeSet<u32>) -> Vec<OpenChild> {
        let mut failed = Vec::new();
        for child in self.open_children().into_iter().filter(|child| child.sequence < draft.fence) {
            let again = {
                let state = self.machine.state();
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
            let start = self.start_child(draft, again);
            draft.deliveries.push(start);
            if failed_calls.contains(&child.sequence) {
                failed.push(child);
            }
        }
        failed
    }
}

/// What a rewind undoes.
#[derive(Default)]
struct Undoing {
    /// The places of events that no longer count.
    masked: Vec<u32>,
    /// Calls of sub-orchestrations that failed.
    failed_children: BTreeSet<u32>,
    /// What came in after the place where code goes another way once the failure is undone: it is taken in again behind the rewind.
    again: Vec<Event>,
    /// Calls that are not asked for any more, or will be asked for again.
    undone_calls: BTreeSet<u32>,
}

impl Undoing {
    /// What failed last is undone, with everything that failed beside it (nothing was asked for in between). The rest is run through user code,
    /// as if that had not failed: what code asks for all the same stays, with what came of it; what it asked for only because of the failure (it
    /// compensated, say) is undone. If code asks for something else than history holds, it goes another way from there on: what came in
    /// since counts, but behind the rewind.
    fn of(app: &Arc<App>, instance: &InstanceId, stored: &Stored<'_>) -> Result<Self, TurnFault> {
        let events = read_events(stored.history)?;
        let mut machine = Machine::new(blueprint(app, instance, stored.header, stored.input));
        let already = machine.survey(&events);
        let counting: Vec<(u32, &Event)> = (0..).zip(&events).filter(|(place, _)| !already.contains(&u64::from(*place))).collect();
        let from = first_failure(&counting);
        let mut undoing = Self::default();
        let mut last_in = from;
        for (place, event) in counting.iter().copied() {
            machine.stand_at(u64::from(place));
            match event {
                Event::ExecutionFailed { .. } => undoing.masked.push(place),
                event if place < from => machine.replay_one(event.clone())?,
                event if undoing.undoes(&machine, event) => undoing.masked.push(place),
                event if goes_another_way(&machine, event) => {
                    // It was the last one to come in that made code ask for something else, or end.
                    undoing.cut(&counting, last_in);
                    return Ok(undoing);
                }
                event => {
                    if asked_call(event).is_none() && !is_no_news(event) {
                        last_in = place;
                    }
                    machine.replay_one(event.clone())?;
                }
            }
        }
        if machine.state().emitted().is_some() || machine.ending.is_some() {
            // The failure stood behind others that a resume showed to code, and code now goes on where it ended then. (Where code failed by
            // itself, nothing is undone but that.)
            undoing.cut(&counting, last_in);
        }
        Ok(undoing)
    }

    /// True for an event that is undone by itself: a failure, a call that code does not ask for now, and what came of one.
    fn undoes(&mut self, machine: &Machine, event: &Event) -> bool {
        match event {
            Event::ActivityFailed { .. } => true,
            Event::SubOrchestrationFailed { sequence, .. } => {
                self.failed_children.insert(*sequence);
                true
            }
            event => match (asked_call(event), ended_call(event)) {
                (Some(call), _) => machine.state().emitted().is_none() && self.undone_calls.insert(call),
                (None, Some(call)) => self.undone_calls.contains(&call),
                (None, None) => false,
            },
        }
    }

    /// Undoes everything from a place on, and keeps what came in from outside or from earlier calls, to be taken in again.
    fn cut(&mut self, counting: &[(u32, &Event)], place: u32) {
        self.masked.retain(|masked| *masked < place);
        for (place, event) in counting.iter().copied().filter(|(at, _)| *at >= place) {
            match event {
                Event::TurnStarted { .. } | Event::ExecutionRewound { .. } => continue,
                event if is_no_news(event) => continue,
                Event::SubOrchestrationFailed { sequence, .. } => {
                    self.failed_children.insert(*sequence);
                }
                // A new epoch begins with the first attempt.
                Event::ExecutionFailed { .. } | Event::ActivityFailed { .. } | Event::ActivityAttemptFailed { .. } | Event::ActivityRetried { .. } => {}
                event => match (asked_call(event), ended_call(event)) {
                    (Some(call), _) => {
                        self.undone_calls.insert(call);
                    }
                    (None, Some(call)) if self.undone_calls.contains(&call) => {}
                    _ => self.again.push(event.clone()),
                },
            }
            self.masked.push(place);
        }
    }
}

/// Where the failures begin that are undone; behind all events if code failed by itself.
fn first_failure(counting: &[(u32, &Event)]) -> u32 {
    let is_failure = |event: &Event| matches!(event, Event::ActivityFailed { .. } | Event::SubOrchestrationFailed { .. });
    let Some(last) = counting.iter().rposition(|(_, event)| is_failure(event)) else { return u32::MAX };
    let asked_before = counting.iter().take(last).rposition(|(_, event)| asked_call(event).is_some()).unwrap_or(0);
    counting.iter().skip(asked_before).find(|(_, event)| is_failure(event)).map_or(u32::MAX, |(place, _)| *place)
}

/// True for what code is not shown when it stands in history.
const fn is_no_news(event: &Event) -> bool {
    matches!(event, Event::Patched { .. } | Event::EventUnprocessed { .. })
}

/// True if code asks for something else than this, or has ended before it.
fn goes_another_way(machine: &Machine, next: &Event) -> bool {
    if is_no_news(next) {
        return false;
    }
    match (machine.state().emitted(), asked_call(next)) {
        (Some(asked), _) => asked != next,
        (None, Some(_)) => false,
        (None, None) => machine.ending.is_some() && !matches!(next, Event::TurnStarted { .. } | Event::ExecutionRewound { .. }),
    }
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

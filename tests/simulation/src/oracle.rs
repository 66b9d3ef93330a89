//! The oracle: what must hold when nothing is left to happen, and at the end.

use std::collections::{BTreeMap, BTreeSet};

use durable::header::RuntimeStatus;
use durable::history::Event;
use durable::ids::{EffectId, Incarnation};
use durable::machine::{Live, Stored};
use durable::{ClientError, InstanceId};
use durable_tests::sim::model::{FAILED, Stand, follow};
use durable_tests::sim::program::Program;
use serde_json::Value;

use crate::clients::About;
use crate::sim::Sim;

/// What must hold whenever nothing is left to happen.
///
/// # Errors
/// What does not hold.
pub fn check_quiet(sim: &Sim) -> Result<(), String> {
    let unanswered = sim.asked.iter().find(|asked| asked.answer.is_none());
    if let Some(asked) = unanswered {
        return Err(format!("STUCK: a client has no answer: {:?} after {} tries", asked.about, asked.tries));
    }
    let world = &sim.around.world;
    {
        let state = world.state();
        if !state.queue.messages.is_empty() || !state.queue.far.is_empty() || !state.queue.poison.is_empty() {
            return Err(format!("LEFT: messages or alarms are left behind: {:?}", state.queue));
        }
        if state.streams.iter().any(|stream| !stream.is_empty()) {
            return Err(format!("LEFT: changes are left in the stream: {:?}", state.streams));
        }
    }
    let now = (0..crate::world::MACHINES).map(|machine| world.clock(machine)).max().unwrap_or_else(|| world.now());
    for id in sim.around.store.all() {
        let Some(loaded) = sim.around.store.load_now(&id) else { continue };
        let header = &loaded.header;
        let events = || loaded.events.iter().filter_map(|e| Event::from_bytes(e).ok()).collect::<Vec<_>>();
        let left = |what: &str| Err(format!("STUCK: {id}: {what}: {header:#?} inbox {:#?} events {:#?}", loaded.inbox, events()));
        if header.fault.is_some() {
            return left("a fault is left behind");
        }
        if !loaded.inbox.is_empty() {
            return left("messages are left behind");
        }
        if header.has_work() {
            return left("work is left behind");
        }
        if header.due().is_some_and(|at| at <= now) {
            return left("a timer is left behind");
        }
        if header.open_activities == 0 && !header.claims.is_empty() {
            return left("claims are left behind");
        }
        if header.status.is_terminal() && (header.alarm.is_some() || header.alarm_at.is_some()) {
            return left("an alarm is left behind");
        }
        let stored = Stored { header, input: &loaded.input, history: &loaded.events };
        if let Err(fault) = Live::replay(&sim.matching.app, &id, &stored) {
            return left(&format!("a cold replay gives a fault: {fault}"));
        }
    }
    Ok(())
}

/// What must hold at the end.
///
/// # Errors
/// What does not hold.
pub fn check_end(sim: &Sim) -> Result<(), String> {
    check_starts(sim)?;
    check_against_the_model(sim)?;
    check_events(sim)?;
    check_activities(sim)
}

/// Every acknowledged start has come to its end.
fn check_starts(sim: &Sim) -> Result<(), String> {
    for asked in &sim.asked {
        let (About::Start(id, life), Some(Ok(()))) = (&asked.about, &asked.answer) else { continue };
        let ended = sim.around.store.load_now(id).is_some_and(|loaded| loaded.header.incarnation == *life && loaded.header.status.is_terminal());
        if !ended && !sim.around.store.book().gone.contains(&(id.clone(), *life)) {
            return Err(format!("LOST: the acknowledged start of {id} has not come to its end"));
        }
    }
    Ok(())
}

/// Every instance came to what the model says.
fn check_against_the_model(sim: &Sim) -> Result<(), String> {
    for id in sim.around.store.all() {
        let Some(loaded) = sim.around.store.load_now(&id) else { continue };
        let bad = |e: durable::PayloadError| e.to_string();
        let program: Program = sim.matching.app.decode(&loaded.input).map_err(bad)?;
        let events: Vec<Event> = loaded.events.iter().filter_map(|bytes| Event::from_bytes(bytes).ok()).collect();
        let output: Value = sim.matching.app.decode(&loaded.output.clone().unwrap_or_default()).map_err(bad)?;
        let stand = follow(&program, &events);
        let holds = match loaded.header.status {
            RuntimeStatus::Completed => {
                stand == Stand::Done(output["last"].clone()) && output["log"] == Value::from(program.log.clone()) && !program.fails && program.again == 0
            }
            RuntimeStatus::Failed => stand == Stand::Done(FAILED.into()) || (program.fails && matches!(stand, Stand::Done(_))),
            RuntimeStatus::Terminated => !matches!(stand, Stand::Done(_)),
            _ => false,
        };
        if !holds {
            return Err(format!("DIFFERS: {id} is {:?} with {output}, its program {stand:?}: {program:#?} {events:#?}", loaded.header.status));
        }
    }
    Ok(())
}

/// An acknowledged event stands in exactly one history exactly once, in the order of acknowledgement; a refused one in none.
fn check_events(sim: &Sim) -> Result<(), String> {
    let book = sim.around.store.book();
    for (number, arrivals) in &book.arrivals {
        // A repeat may find another life of the same id.
        let lives: BTreeSet<_> = arrivals.iter().map(|arrival| (&arrival.key.0, arrival.key.1)).collect();
        if arrivals.len() > lives.len() {
            return Err(format!("DOUBLED: event {number} arrived {} times: {arrivals:?}", arrivals.len()));
        }
    }
    // The event, when it was sent and answered, and its place.
    type Placed = Vec<(u64, u64, u64, u64)>;
    let mut placed: BTreeMap<(InstanceId, Incarnation), Placed> = BTreeMap::new();
    for (id, number, sent, answered) in sim.acknowledged_events() {
        match book.arrivals.get(&number).and_then(|arrivals| arrivals.first()) {
            Some(arrival) => placed.entry((id, arrival.key.1)).or_default().push((number, sent, answered, arrival.number)),
            None if book.gone.iter().any(|(gone, _)| *gone == id) => {}
            None => return Err(format!("LOST: the acknowledged event {number} of {id} is in no history")),
        }
    }
    for ((id, _), events) in placed {
        if book.gone.iter().any(|(gone, _)| *gone == id) {
            // It may have been acknowledged by a life that is gone.
            continue;
        }
        for (first, _, answered, arrived) in &events {
            if let Some((second, ..)) = events.iter().find(|(_, sent, _, later)| answered < sent && later < arrived) {
                return Err(format!("ORDER: {id}: event {first} was acknowledged before {second} was sent, and stands behind it"));
            }
        }
    }
    for asked in &sim.asked {
        if let (About::Event(id, number), Some(Err(refusal))) = (&asked.about, &asked.answer) {
            match refusal {
                ClientError::Ended { .. } | ClientError::NotFound(_) => {}
                other => return Err(format!("event {number} of {id} was answered by {other}")),
            }
        }
    }
    Ok(())
}

/// Every activity that was ever asked for by a commit has been run.
fn check_activities(sim: &Sim) -> Result<(), String> {
    let book = sim.around.store.book();
    let state = sim.around.world.state();
    for ((instance, incarnation, execution), there) in &book.executions {
        let gone = book.gone.contains(&(instance.clone(), *incarnation));
        if gone || there.events.iter().any(|event| matches!(event, Event::ExecutionTerminated { .. })) {
            // What was replaced, or terminated by a build that cannot run it, leaves its activities undone.
            continue;
        }
        let mut epoch = 0;
        for event in &there.events {
            match event {
                Event::ExecutionRewound { .. } => epoch += 1,
                Event::ActivityScheduled { sequence, .. } => {
                    let effect = EffectId { instance: instance.clone(), incarnation: *incarnation, execution: *execution, epoch, sequence: *sequence };
                    let lost = there
                        .events
                        .iter()
                        .any(|event| matches!(event, Event::ActivityFailed { sequence: s, failure } if s == sequence && failure.kind == "Lost"));
                    if !lost && !state.runs.contains_key(&effect) {
                        return Err(format!("LOST: activity {effect} was never run: {:#?}", there.events));
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

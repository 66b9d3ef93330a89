//! Termination without user code: an instance whose code cannot be run (it panics, does not match its history, is missing) can still be ended.

use std::collections::BTreeMap;

use super::fault::TurnFault;
use super::live::Stored;
use super::turn::{Turn, TurnInput};
use crate::app::App;
use crate::failure::Failure;
use crate::header::{Delivery, FaultKind, Header, RuntimeStatus};
use crate::history::Event;
use crate::ids::{EffectId, Incarnation, InstanceId, MessageId};
use crate::message::{Message, MessageBody, Outcome};
use crate::payload::Payload;

/// The turn that ends an instance without running its code, if a termination stands among the messages. What stands beside it in the inbox is
/// written down as unprocessed.
///
/// # Errors
/// [`TurnFault`] if the records cannot be read by this build.
pub fn terminate_without_code(app: &App, instance: &InstanceId, stored: &Stored<'_>, input: &TurnInput<'_>) -> Result<Option<Turn>, TurnFault> {
    let reason = input.inbox.iter().chain(input.direct).find_map(|message| match &message.body {
        MessageBody::Terminate { reason } => Some(reason.clone()),
        _ => None,
    });
    let Some(reason) = reason else { return Ok(None) };
    let unreadable = |e: crate::codec::FormatError| TurnFault::new(FaultKind::Unreadable, e.to_string());
    let events: Vec<Event> = stored.history.iter().map(|bytes| Event::from_bytes(bytes)).collect::<Result<_, _>>().map_err(unreadable)?;
    let now = input.now.max(stored.header.last_now);
    let mut header = stored.header.clone();
    let mut append = vec![Event::TurnStarted { now }];
    for message in input.inbox.iter().chain(input.direct) {
        if let MessageBody::EventRaised { name, data } = &message.body
            && !header.in_ring(&message.id)
        {
            if message.sender.is_none() {
                header.remember(message.id);
            }
            append.push(Event::EventUnprocessed { message: message.id, name: name.clone(), data: data.clone() });
        }
    }
    append.push(Event::ExecutionTerminated { reason: reason.clone() });

    let mut deliveries = Vec::new();
    let mut send = |header: &mut Header, to: InstanceId, life: Incarnation, id: MessageId, body: MessageBody| {
        let sender = header.next_sender(instance, &body);
        deliveries.push(Delivery::Message { to, incarnation: Some(life), message: Message { id, arrived: now, sender: Some(sender), keyed: false, body } });
    };
    for (effect, child) in open_children(instance, &header, &events) {
        let body = MessageBody::Terminate { reason: format!("the parent instance `{instance}` was terminated") };
        send(&mut header, child, effect.child_incarnation(), MessageId::of_effect(&effect, u32::MAX - 1), body);
    }
    if let Some(parent) = header.parent.clone().filter(|parent| parent.awaited) {
        let effect = EffectId { instance: instance.clone(), incarnation: header.incarnation, execution: header.execution, epoch: header.epoch, sequence: 0 };
        let outcome = Outcome::Failed(Failure::new("Terminated", reason.clone()));
        let body = MessageBody::ChildEnded { execution: parent.execution, sequence: parent.sequence, child: instance.clone(), outcome };
        send(&mut header, parent.instance, parent.incarnation, MessageId::of_effect(&effect, 0), body);
    }

    header.status = RuntimeStatus::Terminated;
    header.fault = None;
    (header.open_activities, header.timer_due) = (0, None);
    header.claims.clear();
    header.events += append.len() as u64;
    (header.updated, header.last_now) = (now, now);
    header.revision += 1;
    header.commit_id = input.commit_id;
    let output = app.encode(&reason).map_err(|e| TurnFault::new(FaultKind::Unreadable, e.to_string()))?;
    Ok(Some(Turn {
        changed: true,
        header,
        reset: false,
        append: append.iter().map(Event::to_bytes).collect(),
        taken: input.inbox.len(),
        direct_taken: input.direct.len(),
        deliveries,
        input: None,
        output: Some(output),
        custom_status: None,
        tasks: Vec::new(),
    }))
}

/// What a sub-orchestration that has ended has to tell its parent, from its records alone; none if it has not ended, or nobody awaits it. For who
/// starts one that has been started before: its parent may have missed its end.
#[must_use]
pub fn end_of_child(child: &InstanceId, header: &Header, output: Option<&Payload>) -> Option<Message> {
    let parent = header.parent.as_ref().filter(|parent| parent.awaited)?;
    let outcome = match header.status {
        RuntimeStatus::Completed => Outcome::Completed(output.cloned().unwrap_or_default()),
        RuntimeStatus::Failed => Outcome::Failed(header.failure.clone().unwrap_or_else(|| Failure::new("Failed", "the sub-orchestration failed"))),
        RuntimeStatus::Terminated | RuntimeStatus::Canceled => Outcome::Failed(Failure::new("Terminated", "the sub-orchestration was terminated")),
        _ => return None,
    };
    let body = MessageBody::ChildEnded { execution: parent.execution, sequence: parent.sequence, child: child.clone(), outcome };
    let text = format!("{}/{}/{}", header.incarnation, header.execution, header.revision);
    Some(Message { id: MessageId(xxhash_rust::xxh3::xxh3_128(text.as_bytes()).to_be_bytes()), arrived: header.updated, sender: None, keyed: false, body })
}

/// Awaited sub-orchestrations without an end, by what history alone says.
fn open_children(instance: &InstanceId, header: &Header, events: &[Event]) -> Vec<(EffectId, InstanceId)> {
    let mut epoch = 0;
    let mut open = BTreeMap::new();
    for event in events {
        match event {
            Event::ExecutionRewound { .. } => epoch += 1,
            Event::SubOrchestrationCreated { sequence, instance: child, awaited: true, .. } => {
                let effect = EffectId { instance: instance.clone(), incarnation: header.incarnation, execution: header.execution, epoch, sequence: *sequence };
                open.insert(*sequence, (effect, child.clone()));
            }
            // A failure that a rewind has undone is open again; terminating one that has ended changes nothing.
            Event::SubOrchestrationCompleted { sequence, .. } => {
                open.remove(sequence);
            }
            _ => {}
        }
    }
    open.into_values().collect()
}

//! The book of all that was ever written, and what must hold after each write. Pure.

use std::collections::{BTreeMap, BTreeSet};

use durable::header::{Delivery, Header};
use durable::history::{Event, EventBytes};
use durable::ids::{Incarnation, MessageId};
use durable::message::{Message, MessageBody};
use durable::{InstanceId, Payload};

/// Who writes.
#[derive(Debug, Clone, Copy)]
pub struct Writer {
    /// The process.
    pub process: u32,
    /// True if its build matches what the histories were made by.
    pub matching: bool,
}

/// One execution of one life, as its commits made it.
#[derive(Debug, Default)]
pub struct Execution {
    /// Its events, in order.
    pub events: Vec<Event>,
    messages: BTreeSet<MessageId>,
    ended: BTreeMap<u32, usize>,
    begun: bool,
}

/// Which execution: instance, life, number.
pub type ExecutionKey = (InstanceId, Incarnation, u32);

/// Where a message arrived: the how manyth arrival of all it was, and where.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Its number among all arrivals.
    pub number: u64,
    /// Where.
    pub key: ExecutionKey,
    /// It was written down as unprocessed.
    pub unprocessed: bool,
}

/// The book.
#[derive(Debug, Default)]
pub struct Book {
    /// All executions.
    pub executions: BTreeMap<ExecutionKey, Execution>,
    /// Where each event of a client arrived, by the number that is its data; once, if all is well.
    pub arrivals: BTreeMap<u64, Vec<Arrival>>,
    /// Lives that were purged or replaced.
    pub gone: BTreeSet<(InstanceId, Incarnation)>,
    /// The life that each id has.
    lives: BTreeMap<InstanceId, Incarnation>,
    revisions: BTreeMap<(InstanceId, Incarnation), u64>,
    arrived: u64,
    /// What did not hold.
    pub violations: Vec<String>,
}

impl Book {
    /// A write landed. `before` is the header that it replaced, where the writer's build does not match.
    pub fn wrote(&mut self, writer: Writer, instance: &InstanceId, header: &Header, before: Option<&Header>, append: &[EventBytes], fresh: bool) {
        let life = (instance.clone(), header.incarnation);
        if let Some(old) = self.lives.insert(instance.clone(), header.incarnation)
            && old != header.incarnation
        {
            self.gone.insert((instance.clone(), old));
        }
        if fresh && header.revision == 1 {
            self.begins_again(&life);
        }
        if let Some(before) = self.revisions.insert(life, header.revision)
            && header.revision != before + 1
        {
            self.violations.push(format!("{instance}: revision {} follows {before}", header.revision));
        }
        let events: Vec<Event> = append.iter().filter_map(|bytes| Event::from_bytes(bytes).ok()).collect();
        if events.len() != append.len() {
            self.violations.push(format!("{instance}: an event does not read back"));
        }
        if !writer.matching {
            self.by_another_build(instance, header, before, &events);
        }
        let key = (instance.clone(), header.incarnation, header.execution);
        self.append(&key, events, fresh);
        let count = self.executions.get(&key).map_or(0, |execution| execution.events.len() as u64);
        if count != header.events {
            self.violations.push(format!("{instance}: the header counts {} events of {count}", header.events));
        }
    }

    /// A life may begin again that was replaced or purged before its start was acknowledged, or while its parent waits for it; or that was refused.
    fn begins_again(&mut self, life: &(InstanceId, Incarnation)) {
        let is_there = self.executions.keys().any(|(instance, incarnation, _)| (instance, incarnation) == (&life.0, &life.1));
        if !is_there || self.gone.contains(life) {
            self.revisions.remove(life);
            self.executions.retain(|(instance, incarnation, _), _| (instance, incarnation) != (&life.0, &life.1));
            for arrivals in self.arrivals.values_mut() {
                arrivals.retain(|arrival| (&arrival.key.0, &arrival.key.1) != (&life.0, &life.1));
            }
        }
    }

    /// The last turn of an execution took these.
    pub fn took(&mut self, instance: &InstanceId, header: &Header, messages: &[Message]) {
        for message in messages {
            if let MessageBody::EventRaised { data, .. } = &message.body {
                let key = (instance.clone(), header.incarnation, header.execution.saturating_sub(1));
                self.arrive(key, data, false);
            }
        }
    }

    fn arrive(&mut self, key: ExecutionKey, data: &Payload, unprocessed: bool) {
        if let Some(number) = number_of_client(data) {
            self.arrived += 1;
            self.arrivals.entry(number).or_default().push(Arrival { number: self.arrived, key, unprocessed });
        }
    }

    /// A build that does not match never changes or ends an instance; people may end it.
    fn by_another_build(&mut self, instance: &InstanceId, header: &Header, before: Option<&Header>, events: &[Event]) {
        let Some(before) = before.filter(|before| before.incarnation == header.incarnation) else {
            if !events.is_empty() {
                self.violations.push(format!("{instance}: a build that does not match began it: {events:?}"));
            }
            return;
        };
        let terminated = events.iter().any(|event| matches!(event, Event::ExecutionTerminated { .. }));
        if terminated || before.status.is_terminal() {
            return;
        }
        if !events.is_empty() || before.status != header.status || before.execution != header.execution {
            self.violations.push(format!("{instance}: a build that does not match changed it from {:?} to {:?}: {events:?}", before.status, header.status));
        }
    }

    fn append(&mut self, key: &ExecutionKey, events: Vec<Event>, fresh: bool) {
        let (instance, _, number) = key;
        let execution = self.executions.entry(key.clone()).or_default();
        if fresh && !execution.events.is_empty() {
            self.violations.push(format!("{instance}: execution {number} begins twice"));
        }
        let (mut came, mut undone_arrivals) = (Vec::new(), Vec::new());
        for event in events {
            match &event {
                Event::ExecutionStarted { .. } => execution.begun = true,
                Event::EventRaised { message, data, .. } | Event::EventUnprocessed { message, data, .. } => {
                    if !execution.messages.insert(*message) {
                        self.violations.push(format!("{instance}: message {message} stands twice in the history"));
                    }
                    // Before its start, an execution has what the one before it carried over.
                    let unprocessed = matches!(event, Event::EventUnprocessed { .. });
                    if execution.begun || *number == 0 || unprocessed {
                        came.push((data.clone(), unprocessed));
                    }
                }
                Event::ActivityCompleted { sequence, .. }
                | Event::ActivityFailed { sequence, .. }
                | Event::TimerFired { sequence }
                | Event::SubOrchestrationCompleted { sequence, .. }
                | Event::SubOrchestrationFailed { sequence, .. }
                    if execution.ended.insert(*sequence, execution.events.len()).is_some() =>
                {
                    self.violations.push(format!("{instance}: call {sequence} ends twice in the history"));
                }
                Event::ExecutionRewound { masked, .. } => {
                    execution.ended.retain(|_, place| !u32::try_from(*place).is_ok_and(|place| masked.contains(&place)));
                    for undone in masked.iter().filter_map(|place| execution.events.get(*place as usize)) {
                        // It comes in again, behind the rewind.
                        if let Event::EventRaised { message, data, .. } = undone {
                            execution.messages.remove(message);
                            undone_arrivals.push(data.clone());
                        }
                    }
                }
                _ => {}
            }
            execution.events.push(event);
        }
        for data in undone_arrivals {
            if let Some(arrivals) = number_of_client(&data).and_then(|number| self.arrivals.get_mut(&number)) {
                arrivals.retain(|arrival| arrival.key != *key);
            }
        }
        for (data, unprocessed) in came {
            self.arrive(key.clone(), &data, unprocessed);
        }
    }

    /// A commit has started these in its own transaction. `there` tells what stands in the store after it.
    pub fn started(&mut self, deliveries: &[Delivery], there: impl Fn(&InstanceId) -> Option<Header>) {
        for delivery in deliveries {
            if let Delivery::Start { instance, header, .. } = delivery {
                if there(instance).is_some_and(|there| there.incarnation == header.incarnation && there.revision == 1) {
                    self.begins_again(&(instance.clone(), header.incarnation));
                }
                // If it was refused, the next write of the one that is there says so again.
                self.revisions.entry((instance.clone(), header.incarnation)).or_insert(1);
            }
        }
    }

    /// A life was purged.
    pub fn purged(&mut self, instance: &InstanceId) {
        if let Some(life) = self.lives.remove(instance) {
            self.gone.insert((instance.clone(), life));
        }
    }
}

/// The number that a client's event has for its data.
fn number_of_client(data: &Payload) -> Option<u64> {
    std::str::from_utf8(data.stored()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use durable_tests::build::{id, life, message_id, pending, text};

    use super::*;

    const MATCHES: Writer = Writer { process: 1, matching: true };

    fn raised(message: u64, data: u64) -> EventBytes {
        Event::EventRaised { message: message_id(message), name: "e".into(), data: text(&data.to_string()) }.to_bytes()
    }

    fn wrote(book: &mut Book, writer: Writer, revision: u64, events: u64, append: &[EventBytes]) {
        let mut header = pending(1);
        (header.revision, header.events) = (revision, events);
        let mut before = header.clone();
        before.revision -= 1;
        book.wrote(writer, &id("a"), &header, Some(&before), append, false);
    }

    #[test]
    fn an_event_that_comes_once_is_in_order_and_one_that_comes_twice_is_not() {
        let mut book = Book::default();
        wrote(&mut book, MATCHES, 1, 1, &[raised(1, 7)]);
        wrote(&mut book, MATCHES, 2, 2, &[raised(2, 8)]);
        assert!(book.violations.is_empty() && book.arrivals[&7].len() == 1);
        wrote(&mut book, MATCHES, 3, 3, &[raised(3, 7)]);
        assert_eq!(book.arrivals[&7].len(), 2, "under another message, too");
        wrote(&mut book, MATCHES, 4, 4, &[raised(1, 9)]);
        assert!(book.violations[0].contains("twice"));
    }

    #[test]
    fn what_a_rewind_has_undone_may_end_again_and_nothing_else_may() {
        let ended = || Event::TimerFired { sequence: 1 }.to_bytes();
        let rewound = Event::ExecutionRewound { reason: String::new(), masked: vec![0] }.to_bytes();
        let mut book = Book::default();
        wrote(&mut book, MATCHES, 1, 3, &[ended(), rewound, ended()]);
        assert_eq!(book.violations, Vec::<String>::new());
        wrote(&mut book, MATCHES, 2, 4, &[ended()]);
        assert!(book.violations[0].contains("call 1 ends twice"));
    }

    #[test]
    fn a_revision_that_is_left_out_and_a_build_that_changes_what_it_does_not_match_are_told() {
        let mut book = Book::default();
        wrote(&mut book, MATCHES, 1, 0, &[]);
        wrote(&mut book, MATCHES, 3, 0, &[]);
        assert!(book.violations[0].contains("revision 3 follows 1"));
        let mut book = Book::default();
        wrote(&mut book, Writer { process: 2, matching: false }, 2, 1, &[raised(1, 1)]);
        assert!(book.violations[0].contains("does not match"));
        assert_eq!(book.gone.len(), 0);
        wrote(&mut book, MATCHES, 3, 1, &[]);
        book.purged(&id("a"));
        assert!(book.gone.contains(&(id("a"), life(1))));
    }
}

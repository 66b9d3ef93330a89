//! The sequential model: what a program comes to, told from the stream of what came in as its history has it.
//!
//! No futures, no wakers, no replay: the whole program is looked at again, from its root, after each thing that came in.

use std::collections::{BTreeMap, BTreeSet};

use durable::Timestamp;
use durable::history::Event;
use serde_json::{Value, json};

use super::program::{Part, Program, inside};

/// What a program waits for, or came to.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are told above")]
pub enum Stand {
    /// It has not begun.
    New,
    /// It waits; these are the names of the events that it waits for, and whether it waits for anything else.
    Waiting { events: Vec<String>, others: bool },
    /// It came to this.
    Done(Value),
}

/// What a program came to that failed because a part of it did.
pub const FAILED: &str = "!";

fn has_failed(value: &Value) -> bool {
    value == FAILED
}

/// Where the history of an execution leaves its program.
#[must_use]
pub fn follow(program: &Program, history: &[Event]) -> Stand {
    let mut desk = Desk::default();
    let mut root: Option<Node> = None;
    let mut value = None;
    let (mut now, mut labels, mut held, mut suspended) = (Timestamp(0), BTreeMap::new(), Vec::new(), false);
    let masked: BTreeSet<usize> = history
        .iter()
        .flat_map(|event| match event {
            Event::ExecutionRewound { masked, .. } => masked.iter().map(|place| *place as usize).collect(),
            _ => Vec::new(),
        })
        .collect();
    for (place, event) in history.iter().enumerate() {
        if masked.contains(&place) {
            continue;
        }
        match event {
            Event::TurnStarted { now: at } => (now, desk.now) = (*at, *at),
            Event::ExecutionStarted { .. } => {
                root = Some(Node::of(&program.body, 0));
                value = root.as_mut().and_then(|root| root.poll(&mut desk, u64::MAX));
            }
            Event::TimerCreated { sequence, fire_at } => {
                labels.insert(*sequence, format!("t{}", (fire_at.0 - now.0) % 1_000_000));
            }
            Event::ActivityScheduled { sequence, input, .. } => {
                labels.insert(*sequence, format!("a{}", json_of(input.stored())["label"]));
            }
            Event::SubOrchestrationCreated { sequence, input, .. } => {
                labels.insert(*sequence, format!("c{}", json_of(input.stored())["label"]));
            }
            Event::ExecutionSuspended { .. } => suspended = true,
            Event::ExecutionResumed { .. } => {
                suspended = false;
                for event in std::mem::take(&mut held) {
                    take_in(&mut desk, &labels, event, &mut root, &mut value);
                }
            }
            event if suspended => held.push(event),
            event => take_in(&mut desk, &labels, event, &mut root, &mut value),
        }
    }
    match (root, value) {
        (None, _) => Stand::New,
        (_, Some(value)) => Stand::Done(value),
        (Some(root), None) => {
            let (mut events, mut others) = (Vec::new(), false);
            root.waits(&mut events, &mut others);
            Stand::Waiting { events, others }
        }
    }
}

fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("the history holds JSON")
}

fn take_in(desk: &mut Desk, labels: &BTreeMap<u32, String>, event: &Event, root: &mut Option<Node>, value: &mut Option<Value>) {
    let (sequence, came) = match event {
        Event::EventRaised { name, data, .. } => {
            desk.order += 1;
            desk.queue.push((desk.order, name.to_lowercase(), json_of(data.stored())));
            desk.match_up();
            (0, None)
        }
        Event::TimerFired { sequence } => (*sequence, Some(Value::Null)),
        Event::ActivityCompleted { sequence, .. } => (*sequence, Some(json!("a"))),
        Event::ActivityFailed { sequence, .. } => (*sequence, Some(json!("f"))),
        Event::SubOrchestrationCompleted { sequence, result } => (*sequence, Some(json!({ "c": json_of(result.stored()) }))),
        Event::SubOrchestrationFailed { sequence, failure } => (*sequence, Some(json!({ "cf": failure.kind }))),
        _ => return,
    };
    if let Some(came) = came {
        desk.order += 1;
        let label = labels.get(&sequence).expect("what ends was asked for");
        desk.done.insert(label.clone(), (desk.order, came));
    }
    if value.is_none() {
        *value = root.as_mut().and_then(|root| root.poll(desk, u64::MAX));
    }
}

/// What has come in and is not used up.
#[derive(Default)]
struct Desk {
    /// The time of the turn.
    now: Timestamp,
    order: u64,
    done: BTreeMap<String, (u64, Value)>,
    /// Events that nobody has, oldest first.
    queue: Vec<(u64, String, Value)>,
    /// Waits in line, oldest first.
    line: Vec<(u64, String)>,
    /// Events that a wait has been given.
    given: BTreeMap<u64, (u64, String, Value)>,
    waits: u64,
}

impl Desk {
    fn wait(&mut self, name: &str) -> u64 {
        self.waits += 1;
        self.line.push((self.waits, name.to_lowercase()));
        self.match_up();
        self.waits
    }

    fn match_up(&mut self) {
        while let Some((first, found)) =
            self.line.iter().enumerate().find_map(|(place, (_, name))| Some((place, self.queue.iter().position(|(_, n, _)| n == name)?)))
        {
            let (wait, _) = self.line.remove(first);
            let event = self.queue.remove(found);
            self.given.insert(wait, event);
        }
    }

    fn release(&mut self, wait: u64) {
        self.line.retain(|(waiting, _)| *waiting != wait);
        if let Some(event) = self.given.remove(&wait) {
            self.queue.push(event);
            self.queue.sort_by_key(|(order, ..)| *order);
        }
        self.match_up();
    }

    /// The next completion after `shown`, up to `limit`.
    fn next_after(&self, shown: u64, limit: u64) -> Option<u64> {
        let orders = self.done.values().map(|(order, _)| *order).chain(self.given.values().map(|(order, ..)| *order));
        orders.filter(|order| *order > shown && *order <= limit).min()
    }
}

/// A part in motion.
enum Node {
    Seq {
        parts: Vec<Part>,
        offset: u32,
        at: usize,
        current: Option<Box<Node>>,
        values: Vec<Value>,
    },
    Call {
        key: String,
        label: u32,
        strict: bool,
    },
    Clock,
    Wait {
        name: String,
        wait: Option<u64>,
    },
    WaitFor {
        name: String,
        wait: Option<u64>,
        label: u32,
    },
    Now(Value),
    Join {
        nodes: Vec<Option<Node>>,
        values: Vec<Option<Value>>,
    },
    Race {
        nodes: Vec<Option<Node>>,
        seen: bool,
    },
    /// Each as it ends; told with its place, or in the order of places.
    Each {
        nodes: Vec<Option<Node>>,
        values: Vec<(usize, Value)>,
        shown: Option<u64>,
        told: bool,
    },
    Map {
        body: Part,
        offset: u32,
        next: u32,
        items: u32,
        at_most: usize,
        running: Vec<(u32, Option<Node>)>,
        values: BTreeMap<u32, Value>,
        seen: usize,
    },
}

impl Node {
    fn of(part: &Part, offset: u32) -> Self {
        let all = |parts: &[Part]| parts.iter().map(|part| Some(Self::of(part, offset))).collect::<Vec<_>>();
        match part {
            Part::Seq(parts) => Self::Seq { parts: parts.clone(), offset, at: 0, current: None, values: Vec::new() },
            Part::Activity { label, .. } | Part::Tried { label, .. } => {
                Self::Call { key: format!("a{}", label + offset), label: label + offset, strict: false }
            }
            Part::Strict { label, .. } => Self::Call { key: format!("a{}", label + offset), label: label + offset, strict: true },
            Part::Leave { label } => Self::Now(json!({ "o": label + offset })),
            Part::Timer { label, .. } | Part::TimerAt { label, .. } => Self::Call { key: format!("t{}", label + offset), label: label + offset, strict: false },
            Part::Clock => Self::Clock,
            Part::Patched => Self::Now(json!({ "p": true })),
            Part::Stream { name, count } => {
                let parts = (0..*count).map(|_| Part::Wait { name: name.clone() }).collect();
                Self::Seq { parts, offset, at: 0, current: None, values: Vec::new() }
            }
            Part::Select { name, label, secs } => {
                let parts = [Part::Wait { name: name.clone() }, Part::Timer { label: *label, secs: *secs }];
                Self::Race { nodes: all(&parts), seen: false }
            }
            Part::AsCompleted(parts) => Self::Each { nodes: all(parts), values: Vec::new(), shown: Some(0), told: true },
            Part::TryJoin(parts) => Self::Each { nodes: all(parts), values: Vec::new(), shown: Some(0), told: false },
            Part::Detach { program } => Self::Now(json!({ "d": program.label + offset })),
            Part::Child { program } | Part::Named { program, .. } => Self::Call { key: format!("c{}", program.label + offset), label: 0, strict: false },
            Part::Wait { name } => Self::Wait { name: name.clone(), wait: None },
            Part::WaitFor { name, label, .. } => Self::WaitFor { name: name.clone(), wait: None, label: label + offset },
            Part::Join(parts) => Self::Join { values: parts.iter().map(|_| None).collect(), nodes: all(parts) },
            Part::Race(parts) => Self::Race { nodes: all(parts), seen: false },
            Part::Map { items, at_most, body } => {
                Self::Map { body: (**body).clone(), offset, next: 0, items: *items, at_most: *at_most, running: Vec::new(), values: BTreeMap::new(), seen: 0 }
            }
            Part::Send { label, .. } => Self::Now(json!({ "s": label + offset })),
            Part::Status { .. } => Self::Now(Value::Null),
        }
    }

    /// Looks at everything that had come by `visible`.
    fn poll(&mut self, desk: &mut Desk, visible: u64) -> Option<Value> {
        match self {
            Self::Now(value) => Some(value.clone()),
            Self::Seq { parts, offset, at, current, values } => {
                while let Some(part) = parts.get(*at) {
                    let node = current.get_or_insert_with(|| Box::new(Self::of(part, *offset)));
                    let value = node.poll(desk, visible)?;
                    (*current, *at) = (None, *at + 1);
                    if has_failed(&value) {
                        return Some(value);
                    }
                    values.push(value);
                }
                Some(Value::from(values.clone()))
            }
            Self::Clock => Some(json!({ "now": desk.now.0 })),
            Self::Call { key, label, strict } => {
                let (order, _) = desk.done.get(key)?;
                if *order > visible {
                    return None;
                }
                let (_, came) = desk.done.remove(key)?;
                Some(match came {
                    Value::Null => json!({ "t": label }),
                    Value::String(kind) if kind == "f" && *strict => json!(FAILED),
                    Value::String(kind) => json!({ kind: label }),
                    other => other,
                })
            }
            Self::Wait { name, wait } => {
                let id = *wait.get_or_insert_with(|| desk.wait(name));
                desk.given.get(&id).filter(|(order, ..)| *order <= visible)?;
                desk.given.remove(&id).map(|(_, _, data)| json!({ "e": data }))
            }
            Self::WaitFor { name, wait, label } => {
                let id = *wait.get_or_insert_with(|| desk.wait(name));
                let event = desk.given.get(&id).map_or(u64::MAX, |(order, ..)| *order);
                let timer = desk.done.get(&format!("t{label}")).map_or(u64::MAX, |(order, _)| *order);
                if event.min(timer) > visible || event == timer {
                    return None;
                }
                if event < timer {
                    return desk.given.remove(&id).map(|(_, _, data)| json!({ "e": data }));
                }
                desk.release(id);
                Some(json!({ "late": label }))
            }
            Self::Join { nodes, values } => {
                for (node, value) in nodes.iter_mut().zip(values.iter_mut()) {
                    if let Some(open) = node
                        && let Some(done) = open.poll(desk, visible)
                    {
                        (*node, *value) = (None, Some(done));
                    }
                }
                let all: Vec<Value> = values.iter().flatten().cloned().collect();
                (all.len() == values.len()).then(|| if all.iter().any(has_failed) { json!(FAILED) } else { Value::from(all) })
            }
            Self::Each { nodes, values, shown, told } => loop {
                if nodes.iter().all(Option::is_none) {
                    if !*told {
                        values.sort_by_key(|(place, _)| *place);
                    }
                    let tell = |(place, value): &(usize, Value)| if *told { json!([place, value]) } else { value.clone() };
                    return Some(values.iter().map(tell).collect());
                }
                let (place, value) = loop {
                    let limit = shown.unwrap_or(visible);
                    let done = nodes.iter_mut().enumerate().find_map(|(place, node)| Some((place, node.as_mut()?.poll(desk, limit)?)));
                    if let Some(done) = done {
                        break done;
                    }
                    // None, once all that had come was shown: then whatever comes is looked at as it comes.
                    *shown = Some((*shown)?).and_then(|shown| desk.next_after(shown, visible));
                };
                nodes[place] = None;
                if has_failed(&value) {
                    nodes.iter().flatten().for_each(|node| node.give_up(desk));
                    return Some(value);
                }
                values.push((place, value));
            },
            Self::Race { nodes, seen } => {
                let mut shown = if std::mem::replace(seen, true) { None } else { Some(0) };
                loop {
                    let limit = shown.unwrap_or(visible);
                    for (place, node) in nodes.iter_mut().enumerate() {
                        if let Some(value) = node.as_mut().and_then(|node| node.poll(desk, limit)) {
                            *node = None;
                            for loser in nodes.iter_mut().flatten() {
                                loser.give_up(desk);
                            }
                            return Some(if has_failed(&value) { value } else { json!({ "won": place, "v": value }) });
                        }
                    }
                    shown = Some(shown.and_then(|shown| desk.next_after(shown, visible))?);
                }
            }
            Self::Map { body, offset, next, items, at_most, running, values, seen } => loop {
                while *next < *items && running.len() < *at_most {
                    running.push((*next, Some(Self::of(body, inside(*offset, *next)))));
                    *next += 1;
                }
                if running.is_empty() {
                    return Some(if values.values().any(has_failed) { json!(FAILED) } else { values.values().cloned().collect() });
                }
                let fresh = *seen < *next as usize;
                *seen = *next as usize;
                let mut shown = if fresh { Some(0) } else { None };
                let done = 'found: loop {
                    let limit = shown.unwrap_or(visible);
                    for (place, (_, node)) in running.iter_mut().enumerate() {
                        if let Some(value) = node.as_mut().and_then(|node| node.poll(desk, limit)) {
                            break 'found Some((place, value));
                        }
                    }
                    match shown.and_then(|shown| desk.next_after(shown, visible)) {
                        Some(next) => shown = Some(next),
                        None => break None,
                    }
                };
                let (place, value) = done?;
                let (item, _) = running.remove(place);
                values.insert(item, value);
            },
        }
    }

    /// Nobody wants this any more.
    fn give_up(&self, desk: &mut Desk) {
        match self {
            Self::Wait { wait: Some(wait), .. } | Self::WaitFor { wait: Some(wait), .. } => desk.release(*wait),
            Self::Seq { current: Some(node), .. } => node.give_up(desk),
            Self::Join { nodes, .. } | Self::Race { nodes, .. } | Self::Each { nodes, .. } => nodes.iter().flatten().for_each(|node| node.give_up(desk)),
            Self::Map { running, .. } => running.iter().filter_map(|(_, node)| node.as_ref()).for_each(|node| node.give_up(desk)),
            _ => {}
        }
    }

    fn waits(&self, events: &mut Vec<String>, others: &mut bool) {
        match self {
            Self::Wait { name, .. } => events.push(name.clone()),
            Self::WaitFor { .. } | Self::Call { .. } => *others = true,
            Self::Seq { current: Some(node), .. } => node.waits(events, others),
            Self::Join { nodes, .. } | Self::Race { nodes, .. } | Self::Each { nodes, .. } => {
                nodes.iter().flatten().for_each(|node| node.waits(events, others))
            }
            Self::Map { running, .. } => running.iter().filter_map(|(_, node)| node.as_ref()).for_each(|node| node.waits(events, others)),
            _ => {}
        }
    }
}

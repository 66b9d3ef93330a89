//! Runs orchestrators to their end in a test's own thread: nothing is stored, activities run at once, and time skips to the next timer.
//!
//! Every turn is made from a fresh replay, so what is not deterministic is found here. Must never: sleep, or be used to run a business on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::failure::Failure;
use crate::header::{ActivityTask, Delivery, Header, RuntimeStatus};
use crate::history::EventBytes;
use crate::ids::{CommitId, Incarnation, InstanceId, MessageId};
use crate::machine::{Stored, TurnInput, advance};
use crate::message::{Message, MessageBody};
use crate::payload::Payload;
use crate::time::Timestamp;

/// Runs an orchestrator, its activities and its sub-orchestrations. `events` are names and JSON texts, raised in this order right after the
/// start: orchestrators find them when they wait for them.
///
/// # Errors
/// The failure of the orchestrator. Kind `Fault` if its code could not be run, `Asleep` if it waits for an event that never comes.
pub fn run<O: DeserializeOwned>(app: App, name: &str, input: impl Serialize, events: &[(&str, &str)]) -> Result<O, Failure> {
    let app = Arc::new(app);
    let broken = |e: crate::PayloadError| Failure::new(crate::KIND_PAYLOAD, e.to_string());
    let mut world = World { app: app.clone(), now: Timestamp::from_millis(1_767_225_600_000), instances: BTreeMap::new(), tasks: VecDeque::new(), messages: 0 };
    let id = InstanceId::generated([0; 16]);
    let version = app.resolve(name, None).ok_or_else(|| Failure::new("Fault", format!("there is no orchestrator `{name}`")))?;
    let header = Header::pending(name.to_owned(), version, Incarnation::default(), CommitId::default(), world.now);
    world.instances.insert(id.clone(), Entry::new(header, app.encode(&input).map_err(broken)?));
    for (event, data) in events {
        let data = app.encode_text(data.as_bytes().to_vec().into()).map_err(broken)?;
        let message = world.message(MessageBody::EventRaised { name: (*event).to_owned(), data });
        world.put(&id, None, message);
    }
    let entry = world.run_to_end(&id)?;
    match (entry.header.failure, entry.header.status) {
        (Some(failure), _) => Err(failure),
        (None, RuntimeStatus::Completed) => app.decode(&entry.output.unwrap_or_default()).map_err(broken),
        (None, status) => Err(Failure::new(status.name(), format!("the orchestrator `{name}` ended as {}", status.name()))),
    }
}

struct World {
    app: Arc<App>,
    now: Timestamp,
    instances: BTreeMap<InstanceId, Entry>,
    tasks: VecDeque<ActivityTask>,
    messages: u128,
}

#[derive(Clone)]
struct Entry {
    header: Header,
    input: Payload,
    output: Option<Payload>,
    history: Vec<EventBytes>,
    inbox: Vec<Message>,
}

impl Entry {
    const fn new(header: Header, input: Payload) -> Self {
        Self { header, input, output: None, history: Vec::new(), inbox: Vec::new() }
    }

    fn has_reason(&self, now: Timestamp) -> bool {
        let begins = matches!(self.header.status, RuntimeStatus::Pending | RuntimeStatus::ContinuedAsNew);
        !self.header.status.is_terminal() && (begins || !self.inbox.is_empty() || self.header.due().is_some_and(|at| at <= now))
    }
}

impl World {
    fn message(&mut self, body: MessageBody) -> Message {
        self.messages += 1;
        Message { id: MessageId(self.messages.to_be_bytes()), arrived: self.now, sender: None, keyed: false, body }
    }

    fn put(&mut self, to: &InstanceId, life: Option<Incarnation>, message: Message) {
        if let Some(entry) = self.instances.get_mut(to)
            && life.is_none_or(|life| life == entry.header.incarnation)
        {
            entry.inbox.push(message);
        }
    }

    fn run_to_end(&mut self, id: &InstanceId) -> Result<Entry, Failure> {
        loop {
            if let Some(entry) = self.instances.get(id).filter(|entry| entry.header.status.is_terminal()) {
                return Ok(entry.clone());
            }
            let ready = self.instances.iter().find(|(_, entry)| entry.has_reason(self.now)).map(|(id, _)| id.clone());
            if let Some(ready) = ready {
                self.turn(&ready)?;
            } else if let Some(task) = self.tasks.pop_front() {
                let effect = task.effect.clone();
                let attempt = task.attempt;
                let outcome = block_on(self.app.run_activity(task));
                let body = MessageBody::ActivityEnded { execution: effect.execution, epoch: effect.epoch, sequence: effect.sequence, attempt, outcome };
                let message = self.message(body);
                self.put(&effect.instance, Some(effect.incarnation), message);
            } else if let Some(next) = self.instances.values().filter_map(|entry| entry.header.due()).min() {
                self.now = next.max(self.now);
            } else {
                return Err(Failure::new("Asleep", format!("instance `{id}` waits for an event that nobody raises")));
            }
        }
    }

    fn turn(&mut self, id: &InstanceId) -> Result<(), Failure> {
        let Some(entry) = self.instances.get_mut(id) else { return Ok(()) };
        let stored = Stored { header: &entry.header, input: &entry.input, history: &entry.history };
        let input = TurnInput { now: self.now, inbox: &entry.inbox, direct: &[], commit_id: CommitId::default(), owner: 0, claim_until: self.now };
        let turn = advance(&self.app, id, &stored, &input).map_err(|fault| Failure::new("Fault", fault.message))?;
        entry.inbox.drain(..turn.taken);
        if turn.reset {
            entry.history.clear();
        }
        entry.history.extend(turn.append);
        entry.header = turn.header;
        entry.input = turn.input.unwrap_or_else(|| entry.input.clone());
        entry.output = turn.output.or(entry.output.take());
        self.tasks.extend(turn.tasks);
        for delivery in turn.deliveries {
            match delivery {
                Delivery::Start { instance, header, input, .. } => {
                    self.instances.entry(instance).or_insert_with(|| Entry::new(*header, input));
                }
                Delivery::Message { to, incarnation, message } => self.put(&to, incarnation, message),
            }
        }
        Ok(())
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls an activity on this thread until it ends.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Context, Error, EventName, activity, orchestrator};

    #[activity(retry(first = "1h", attempts = 3))]
    async fn third_time(_n: u64) -> Result<u64, Failure> {
        static TRIES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        match TRIES.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            3 => Ok(3),
            _ => Err(Failure::new("Net", "no")),
        }
    }

    #[orchestrator]
    async fn child(ctx: Context, days: u64) -> Result<u64, Error> {
        ctx.timer(Duration::from_secs(86_400) * u32::try_from(days).unwrap_or(1)).await;
        ctx.activity(third_time, 0).await
    }

    #[orchestrator]
    async fn parent(ctx: Context, days: u64) -> Result<u64, Error> {
        let begun = ctx.now();
        let tries = ctx.sub_orchestration(child, days).await?;
        Ok(begun.until(ctx.now()).as_secs() / 3600 + tries)
    }

    #[orchestrator]
    async fn waits(ctx: Context) -> Result<u64, Error> {
        ctx.event(EventName::new("never")).await
    }

    #[test]
    fn a_year_and_its_retries_pass_at_once() {
        let app = App::builder().orchestrator(parent).orchestrator(child).activity(third_time).build().unwrap();
        assert_eq!(run::<u64>(app, "parent", 365, &[]), Ok(365 * 24 + 3 + 3));
    }

    #[test]
    fn a_wait_for_what_never_comes_is_told() {
        let app = App::builder().orchestrator(waits).build().unwrap();
        assert_eq!(run::<u64>(app, "waits", (), &[]).unwrap_err().kind, "Asleep");
    }
}

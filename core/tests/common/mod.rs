//! One instance on a table: turns are made by hand, with time and messages as the test says.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::sync::Arc;
use std::time::Duration;

use durable::header::{ActivityTask, Header, RuntimeStatus};
use durable::history::{Event, EventBytes};
use durable::ids::{CommitId, Incarnation, MessageId};
use durable::machine::{Live, Stored, Turn, TurnFault, TurnInput};
use durable::message::{Message, MessageBody, Outcome};
use durable::{App, Failure, InstanceId, Payload, Timestamp};
use serde_json::Value;

/// The instance under test, as a store would hold it.
pub struct Bench {
    pub app: Arc<App>,
    pub id: InstanceId,
    pub header: Header,
    pub input: Payload,
    pub history: Vec<EventBytes>,
    pub now: Timestamp,
    pub output: Option<Payload>,
    pub custom_status: Option<Payload>,
    /// Activities asked for and not answered.
    pub tasks: Vec<ActivityTask>,
    pub last: Option<Turn>,
    live: Option<Live>,
    messages: u32,
}

impl Bench {
    /// An accepted instance that has not begun.
    pub fn new(app: App, name: &str, input: Value) -> Self {
        let app = Arc::new(app);
        let version = app.resolve(name, None).flatten();
        let now = Timestamp::from_millis(1_000_000);
        let header = Header::pending(name.to_owned(), version, Incarnation([7; 8]), CommitId([0; 8]), now);
        let input = app.encode(&input).unwrap();
        let id = InstanceId::new("bench").unwrap();
        Self { app, id, header, input, history: vec![], now, output: None, custom_status: None, tasks: vec![], last: None, live: None, messages: 0 }
    }

    /// The same, after its first turn.
    pub fn started(app: App, name: &str, input: Value) -> Self {
        let mut bench = Self::new(app, name, input);
        bench.turn(&[]).unwrap();
        bench
    }

    pub fn message(&mut self, body: MessageBody) -> Message {
        self.messages += 1;
        Message { id: MessageId(u128::from(self.messages).to_be_bytes()), arrived: self.now, sender: None, keyed: false, body }
    }

    pub fn event(&mut self, name: &str, data: Value) -> Message {
        let data = self.app.encode(&data).unwrap();
        self.message(MessageBody::EventRaised { name: name.to_owned(), data })
    }

    pub fn ended(&mut self, task: &ActivityTask, outcome: Outcome) -> Message {
        let effect = &task.effect;
        let body = MessageBody::ActivityEnded { execution: effect.execution, epoch: effect.epoch, sequence: effect.sequence, attempt: task.attempt, outcome };
        self.message(body)
    }

    /// Runs a turn on the live instance, loading it first if need be, and stores what comes of it.
    pub fn turn(&mut self, messages: &[Message]) -> Result<&Turn, TurnFault> {
        let mut live = match self.live.take() {
            Some(live) => live,
            None => Live::load(&self.app, &self.id, &Stored { header: &self.header, input: &self.input, history: &self.history })?,
        };
        let input = TurnInput {
            now: self.now,
            inbox: messages,
            direct: &[],
            commit_id: CommitId([1; 8]),
            owner: 1,
            claim_until: self.now.after(Duration::from_secs(60)),
        };
        let turn = live.turn(&input)?;
        self.store(turn.clone());
        self.live = Some(live);
        self.last = Some(turn);
        Ok(self.last.as_ref().unwrap())
    }

    /// Rewinds the failed instance.
    pub fn rewind(&mut self, reason: &str) -> Result<(), TurnFault> {
        let stored = Stored { header: &self.header, input: &self.input, history: &self.history };
        let input = TurnInput { now: self.now, inbox: &[], direct: &[], commit_id: CommitId([2; 8]), owner: 1, claim_until: self.now };
        let rewound = Live::rewind(&self.app, &self.id, &stored, reason, &input)?;
        self.store(rewound.turn);
        self.live = Some(rewound.live);
        Ok(())
    }

    /// Ends the instance without its code.
    pub fn terminate(&mut self, messages: &[Message]) -> Vec<durable::header::Delivery> {
        let stored = Stored { header: &self.header, input: &self.input, history: &self.history };
        let input = TurnInput { now: self.now, inbox: messages, direct: &[], commit_id: CommitId([3; 8]), owner: 1, claim_until: self.now };
        let turn = durable::machine::terminate_without_code(&self.app, &self.id, &stored, &input).unwrap().unwrap();
        let deliveries = turn.deliveries.clone();
        self.live = None;
        self.store(turn);
        deliveries
    }

    pub fn store(&mut self, turn: Turn) {
        if turn.reset {
            self.history.clear();
        }
        self.history.extend(turn.append);
        self.header = turn.header;
        if let Some(input) = turn.input {
            self.input = input;
        }
        self.output = turn.output.or(self.output.take());
        self.custom_status = turn.custom_status.or(self.custom_status.take());
        self.tasks.extend(turn.tasks);
        assert_eq!(self.header.events, self.history.len() as u64);
    }

    /// What a restart of the process does.
    pub fn forget(&mut self) {
        self.live = None;
    }

    /// Deploys other code.
    pub fn deploy(&mut self, app: App) {
        self.app = Arc::new(app);
        self.live = None;
    }

    pub fn raise(&mut self, name: &str, data: Value) {
        let event = self.event(name, data);
        self.turn(&[event]).unwrap();
    }

    /// The next activity ends well.
    pub fn complete(&mut self, value: Value) -> ActivityTask {
        let task = self.tasks.remove(0);
        let outcome = Outcome::Completed(self.app.encode(&value).unwrap());
        let message = self.ended(&task, outcome);
        self.turn(&[message]).unwrap();
        task
    }

    /// The next activity fails.
    pub fn fail(&mut self, kind: &str) -> ActivityTask {
        let task = self.tasks.remove(0);
        let message = self.ended(&task, Outcome::Failed(Failure::new(kind, "no")));
        self.turn(&[message]).unwrap();
        task
    }

    /// Time passes, and the alarm rings.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.turn(&[]).unwrap();
    }

    pub fn status(&self) -> RuntimeStatus {
        self.header.status
    }

    pub fn output(&self) -> Value {
        self.output.as_ref().map_or(Value::Null, |output| self.app.decode(output).unwrap())
    }

    pub fn events(&self) -> Vec<Event> {
        self.history.iter().map(|bytes| Event::from_bytes(bytes).unwrap()).collect()
    }
}

/// An app with every turn run twice.
pub fn checked() -> durable::AppBuilder {
    App::builder().build_id("test").check_turns()
}

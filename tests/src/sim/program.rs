//! A small language of orchestrator programs, the one orchestrator that runs any of them, and a generator of random ones.
//!
//! Every leaf has a label that stands in the history (in the input of activities and children, in the microseconds of timers), so that a
//! reader of the history knows which part of the program an event belongs to.

use std::pin::Pin;
use std::time::Duration;

use durable::{ActivityContext, Context, Error, EventName, Failure, InstanceId, Next, RetryPolicy, as_completed, join_all, race, try_join_all};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::build::Random;

/// A part of a program. Labels are below 1,000,000; those inside of a map are counted up by its items.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are what their names say")]
pub enum Part {
    /// One after the other.
    Seq(Vec<Part>),
    /// An activity whose first attempts fail; three attempts are made.
    Activity { label: u32, fails: u32 },
    /// The same, tried by one of several policies, with a limit in milliseconds if it is not zero.
    Tried { label: u32, fails: u32, policy: u8, limit_ms: u64 },
    /// An activity that fails for good, and the program with it, until it has been rewound so often.
    Strict { label: u32, epochs: u32 },
    /// An activity that nobody waits for.
    Leave { label: u32 },
    /// A durable timer.
    Timer { label: u32, secs: u64 },
    /// A durable timer until a time.
    TimerAt { label: u32, secs: u64 },
    /// What the clock says.
    Clock,
    /// A patch marker.
    Patched,
    /// So many events of one name, by a stream.
    Stream { name: String, count: u32 },
    /// An event or a timer, whichever comes first.
    Select { name: String, label: u32, secs: u64 },
    /// All at once, each as it ends.
    AsCompleted(Vec<Part>),
    /// All at once, until one fails.
    TryJoin(Vec<Part>),
    /// A sub-orchestration that nobody waits for.
    Detach { program: Box<Program> },
    /// A sub-orchestration under an id that others may have.
    Named { id: String, program: Box<Program> },
    /// A wait for an event.
    Wait { name: String },
    /// A wait for an event, with a timeout.
    WaitFor { name: String, label: u32, secs: u64 },
    /// All at once.
    Join(Vec<Part>),
    /// The first of several.
    Race(Vec<Part>),
    /// The body for several items, some at a time.
    Map { items: u32, at_most: usize, body: Box<Part> },
    /// A sub-orchestration.
    Child { program: Box<Program> },
    /// An event to another instance, or to itself.
    Send { to: Option<String>, name: String, label: u32 },
    /// A custom status.
    Status { label: u32 },
}

/// A program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    /// Tells this program from others, where it is a child.
    pub label: u32,
    /// What it does.
    pub body: Part,
    /// How many times it continues as new.
    pub again: u32,
    /// Fails at its end.
    pub fails: bool,
    /// What its executions before this one came to.
    pub log: Vec<Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Work {
    label: u32,
    fails: u32,
    /// It fails for good before this epoch.
    #[serde(default)]
    epochs: u32,
    /// A number that was drawn for it: a replay that draws another one is found out.
    #[serde(default)]
    drawn: u64,
}

/// Fails as many attempts as it is told.
#[durable::activity]
async fn work(ctx: ActivityContext, asked: Work) -> Result<u32, Failure> {
    let epoch = ctx.idempotency_key().rsplit('/').nth(1).and_then(|epoch| epoch.parse::<u32>().ok()).unwrap_or(0);
    if epoch < asked.epochs {
        return Err(Failure::new("Strict", "not before a rewind").non_retryable());
    }
    if ctx.attempt() <= asked.fails { Err(Failure::new("Asked", "as asked")) } else { Ok(asked.label) }
}

/// Runs any program.
#[durable::orchestrator]
async fn interpret(ctx: Context, program: Program) -> Result<Next<Value, Program>, Error> {
    let value = run(ctx, program.body.clone(), 0).await?;
    if program.again > 0 {
        let mut next = program;
        next.again -= 1;
        next.log.push(value);
        return Ok(Next::again(next));
    }
    if program.fails {
        return Err(Failure::new("Asked", "as asked").into());
    }
    Ok(Next::done(json!({ "log": program.log, "last": value })))
}

/// An app that runs programs and nothing else.
#[must_use]
pub fn app() -> durable::App {
    build("model")
}

/// The same as another build. All builds of it match.
#[must_use]
pub fn build(name: &str) -> durable::App {
    durable::App::builder().build_id(name).check_turns().strict_inputs().orchestrator(interpret).activity(work).build().unwrap()
}

/// What a panic of the build that does not match says.
pub const PANICS: &str = "this build begins nothing";

/// Goes another way than every history there is, and begins none.
#[durable::orchestrator(name = "interpret")]
async fn differs(ctx: Context, program: Program) -> Result<Value, Error> {
    assert!(ctx.is_replaying(), "{PANICS}: {}", program.label);
    ctx.event::<Value>(EventName::new("never asked for")).await
}

/// A build that matches no history: its orchestrator differs, or is missing.
#[must_use]
pub fn other_build(name: &str, missing: bool) -> durable::App {
    let app = durable::App::builder().build_id(name).activity(work);
    if missing { app } else { app.orchestrator(differs) }.build().unwrap()
}

type Running = Pin<Box<dyn Future<Output = Result<Value, Error>>>>;

fn run(ctx: Context, part: Part, offset: u32) -> Running {
    Box::pin(async move {
        Ok(match part {
            Part::Seq(parts) => {
                let mut values = Vec::new();
                for part in parts {
                    values.push(run(ctx.clone(), part, offset).await?);
                }
                Value::from(values)
            }
            Part::Activity { label, fails } => {
                let label = label + offset;
                let call = ctx.activity(work, asked(&ctx, label, fails, 0));
                told(label, call.retry(RetryPolicy::exponential(Duration::from_secs(1), 3)).await)?
            }
            Part::Tried { label, fails, policy, limit_ms } => {
                let label = label + offset;
                let call = ctx.activity(work, asked(&ctx, label, fails, 0)).retry(tried_by(policy));
                let call = if limit_ms > 0 { call.attempt_timeout(Duration::from_millis(limit_ms)) } else { call };
                told(label, call.await)?
            }
            Part::Strict { label, epochs } => {
                let label = label + offset;
                json!({ "a": ctx.activity(work, asked(&ctx, label, 0, epochs)).await? })
            }
            Part::Leave { label } => {
                drop(ctx.activity(work, asked(&ctx, label + offset, 0, 0)));
                json!({ "o": label + offset })
            }
            Part::TimerAt { label, secs } => {
                ctx.timer_at(ctx.now().after(labelled(secs, label + offset))).await;
                json!({ "t": label + offset })
            }
            Part::Clock => json!({ "now": ctx.now().0 }),
            Part::Patched => json!({ "p": ctx.patched("marked") }),
            Part::Stream { name, count } => {
                let mut events = ctx.events::<Value>(EventName::dynamic(name));
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(json!({ "e": events.next().await? }));
                }
                Value::from(values)
            }
            Part::Select { name, label, secs } => durable::select! {
                data = ctx.event::<Value>(EventName::dynamic(name)) => json!({ "won": 0, "v": { "e": data? } }),
                () = ctx.timer(labelled(secs, label + offset)) => json!({ "won": 1, "v": { "t": label + offset } }),
            },
            Part::AsCompleted(parts) => {
                let mut running = as_completed(parts.into_iter().map(|part| run(ctx.clone(), part, offset)));
                let mut values = Vec::new();
                while let Some((place, value)) = running.next().await {
                    values.push(json!([place, value?]));
                }
                Value::from(values)
            }
            Part::TryJoin(parts) => Value::from(try_join_all(parts.into_iter().map(|part| run(ctx.clone(), part, offset))).await?),
            Part::Detach { mut program } => {
                program.label += offset;
                ctx.sub_orchestration(interpret, &*program).detach()?;
                json!({ "d": program.label })
            }
            Part::Named { id, mut program } => {
                program.label += offset;
                of_child(ctx.sub_orchestration(interpret, *program).instance_id(id).await)?
            }
            Part::Timer { label, secs } => {
                ctx.timer(labelled(secs, label + offset)).await;
                json!({ "t": label + offset })
            }
            Part::Wait { name } => json!({ "e": ctx.event::<Value>(EventName::dynamic(name)).await? }),
            Part::WaitFor { name, label, secs } => match ctx.event::<Value>(EventName::dynamic(name)).timeout(labelled(secs, label + offset)).await {
                Ok(data) => json!({ "e": data }),
                Err(e) if e.is_timeout() => json!({ "late": label + offset }),
                Err(other) => return Err(other),
            },
            Part::Join(parts) => {
                let all = join_all(parts.into_iter().map(|part| run(ctx.clone(), part, offset))).await;
                Value::from(all.into_iter().collect::<Result<Vec<_>, _>>()?)
            }
            Part::Race(parts) => {
                let (won, value) = race(parts.into_iter().map(|part| run(ctx.clone(), part, offset))).await;
                json!({ "won": won, "v": value? })
            }
            Part::Map { items, at_most, body } => {
                let all = ctx.map(0..items, |ctx, item| run(ctx, (*body).clone(), inside(offset, item))).at_most(at_most).await;
                Value::from(all.into_iter().collect::<Result<Vec<_>, _>>()?)
            }
            Part::Child { mut program } => {
                program.label += offset;
                of_child(ctx.sub_orchestration(interpret, *program).await)?
            }
            Part::Send { to, name, label } => {
                let to = to.map_or_else(|| Ok(ctx.instance_id()), InstanceId::new)?;
                ctx.send_event(&to, EventName::<Value>::dynamic(name), json!({ "from": ctx.instance_id().as_str(), "label": label + offset }))?;
                json!({ "s": label + offset })
            }
            Part::Status { label } => {
                ctx.set_custom_status(&label)?;
                Value::Null
            }
        })
    })
}

fn asked(ctx: &Context, label: u32, fails: u32, epochs: u32) -> Work {
    Work { label, fails, epochs, drawn: ctx.random() ^ ctx.uuid().as_u64_pair().0 }
}

fn told(label: u32, ended: Result<u32, Error>) -> Result<Value, Error> {
    match ended {
        Ok(label) => Ok(json!({ "a": label })),
        Err(Error::Activity { .. }) => Ok(json!({ "f": label })),
        Err(other) => Err(other),
    }
}

fn of_child(ended: Result<Value, Error>) -> Result<Value, Error> {
    match ended {
        Ok(value) => Ok(json!({ "c": value })),
        Err(Error::SubOrchestration { failure, .. }) => Ok(json!({ "cf": failure.kind })),
        Err(other) => Err(other),
    }
}

fn tried_by(policy: u8) -> RetryPolicy {
    let second = Duration::from_secs(1);
    match policy % 5 {
        0 => RetryPolicy::none(),
        1 => RetryPolicy::fixed(second * 2, 3),
        2 => RetryPolicy::exponential(second * 3, 4).factor(3.0).cap(second * 20),
        3 => RetryPolicy::exponential(second, 5).jitter(0.5),
        _ => RetryPolicy::fixed(second, 9).except(["Asked"]),
    }
}

/// What is added to the labels inside of an item of a map.
#[must_use]
pub const fn inside(offset: u32, item: u32) -> u32 {
    offset * 5 + item + 1
}

/// A time that bears a label in its microseconds.
fn labelled(secs: u64, label: u32) -> Duration {
    Duration::from_secs(secs) + Duration::from_micros(u64::from(label))
}

/// Makes random programs.
pub struct Generator<'a> {
    random: &'a mut Random,
    labels: u32,
    /// Parts that may still be made.
    left: u32,
    /// Instances that events may be sent to.
    peers: Vec<String>,
}

impl<'a> Generator<'a> {
    /// A generator that draws from `random`.
    pub fn new(random: &'a mut Random, peers: Vec<String>) -> Self {
        Self { random, labels: 0, left: 0, peers }
    }

    /// A program.
    pub fn program(&mut self) -> Program {
        self.left = 4 + self.random.below(14) as u32;
        let again = if self.random.once_in(4) { 1 + self.random.below(3) as u32 } else { 0 };
        let body = self.part(0, again == 0);
        Program { label: 0, body: Part::Seq(vec![body, self.part(2, again == 0)]), again, fails: self.random.once_in(12), log: Vec::new() }
    }

    fn label(&mut self) -> u32 {
        // Room for the items of two maps, one in the other: see `inside`.
        self.labels += 30;
        self.labels
    }

    fn name(&mut self) -> String {
        ["a", "b", "A", "c"][self.random.below(4) as usize].to_owned()
    }

    fn parts(&mut self, depth: u32, races: bool) -> Vec<Part> {
        (0..1 + self.random.below(3)).map(|_| self.part(depth + 1, races)).collect()
    }

    fn part(&mut self, depth: u32, races: bool) -> Part {
        self.left = self.left.saturating_sub(1);
        let leaf = depth >= 4 || self.left == 0;
        if self.random.once_in(3) {
            return self.rare(depth, races, leaf);
        }
        match self.random.below(if leaf { 10 } else { 20 }) {
            0..=2 => Part::Activity { label: self.label(), fails: if self.random.once_in(3) { self.random.below(4) as u32 } else { 0 } },
            3 | 4 => Part::Timer { label: self.label(), secs: self.random.below(20) },
            5 | 6 => Part::Wait { name: self.name() },
            7 if races => Part::WaitFor { name: self.name(), label: self.label(), secs: self.random.below(20) },
            7 | 8 => {
                let to = if self.random.once_in(2) { None } else { Some(self.peers[self.random.below(self.peers.len() as u64) as usize].clone()) };
                Part::Send { to, name: self.name(), label: self.label() }
            }
            9 => Part::Status { label: self.label() },
            10..=12 => Part::Seq(self.parts(depth, races)),
            13 | 14 => Part::Join(self.parts(depth, races)),
            15 | 16 if races => Part::Race(self.parts(depth, races)),
            15..=17 => {
                let (items, at_most) = (1 + self.random.below(4) as u32, 1 + self.random.below(3) as usize);
                Part::Map { items, at_most, body: Box::new(self.part(depth + 2, races)) }
            }
            _ => Part::Child { program: self.child(depth, races) },
        }
    }

    fn child(&mut self, depth: u32, races: bool) -> Box<Program> {
        let label = self.label();
        Box::new(Program { label, body: self.part(depth + 1, races), again: 0, fails: self.random.once_in(4), log: Vec::new() })
    }

    /// What is asked for less often.
    fn rare(&mut self, depth: u32, races: bool, leaf: bool) -> Part {
        match self.random.below(if leaf { 10 } else { 14 }) {
            0 | 1 => {
                let fails = if self.random.once_in(2) { self.random.below(4) as u32 } else { 0 };
                let limit_ms = if self.random.once_in(2) { 500 + self.random.below(60_000) } else { 0 };
                Part::Tried { label: self.label(), fails, policy: self.random.below(5) as u8, limit_ms }
            }
            2 => Part::Strict { label: self.label(), epochs: if self.random.once_in(3) { 1 + self.random.below(2) as u32 } else { 0 } },
            3 => Part::Leave { label: self.label() },
            4 => {
                // Some sleep for hours or days.
                let secs = if self.random.once_in(2) { self.random.below(20) } else { 600 + self.random.below(200_000) };
                Part::TimerAt { label: self.label(), secs }
            }
            5 => Part::Clock,
            6 => Part::Patched,
            7 => Part::Stream { name: self.name(), count: 1 + self.random.below(3) as u32 },
            8 if races => Part::Select { name: self.name(), label: self.label(), secs: self.random.below(20) },
            8 | 9 => Part::Send { to: Some("nobody".to_owned()), name: self.name(), label: self.label() },
            10 if races => Part::AsCompleted(self.parts(depth, races)),
            11 if races => Part::TryJoin(self.parts(depth, races)),
            12 => Part::Detach { program: self.child(depth, races) },
            _ => Part::Named { id: format!("k{}", self.random.below(3)), program: self.child(depth, races) },
        }
    }
}

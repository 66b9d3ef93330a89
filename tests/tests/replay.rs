//! Recorded histories, replayed against today's code: they must replay without a fault, and their last turn must come out byte for byte.
//!
//! The files in `histories/` hold one record per line: a word, the stored bytes in hex, and behind `#` what they say, for people. To record
//! them again (after a change of the stored form that is meant, and only then):
//! `DURABLE_RECORD_HISTORIES=1 cargo test -p durable-tests --test replay`, and look at what the difference says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that something is wrong")]

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use durable::header::{Header, RuntimeStatus};
use durable::history::{Event, EventBytes};
use durable::ids::MessageId;
use durable::machine::{Live, Stored, TurnFault, TurnInput};
use durable::message::{Message, MessageBody, Outcome};
use durable::{
    ActivityContext, App, AppBuilder, Context, Error, EventName, Failure, InstanceId, Next, Orchestrator, Payload, Timestamp, activity, join_all, orchestrator,
};
use durable_tests::sim::{Setup, Sim};
use serde_json::{Value, json};

const NOW: Duration = Duration::ZERO;
const S: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

#[activity]
async fn log(value: Value) -> Result<Value, Failure> {
    Ok(value)
}

#[activity]
async fn audit(value: Value) -> Result<Value, Failure> {
    Ok(value)
}

#[activity]
async fn ship(ctx: ActivityContext, value: Value) -> Result<Value, Failure> {
    // Fails until a rewind asks again, under another effect.
    if ctx.idempotency_key().split('/').nth(3) == Some("0") { Err(Failure::new("NoCarrier", "nobody drives today")) } else { Ok(value) }
}

/// Today's orchestrators.
mod today {
    use super::*;

    #[orchestrator]
    pub async fn base(ctx: Context, input: Value) -> Result<Value, Error> {
        let logged = ctx.activity(log, &input).await?;
        let event: Value = ctx.event(EventName::new("go")).await?;
        let audited = ctx.activity(audit, json!([logged, event])).await?;
        Ok(audited)
    }

    #[orchestrator]
    pub async fn approval(ctx: Context) -> Result<String, Error> {
        for reminder in 1..=2_u32 {
            match ctx.event::<bool>(EventName::new("Approval")).timeout(DAY).await {
                Ok(approved) => return Ok(format!("{approved} after {} reminders", reminder - 1)),
                Err(e) if e.is_timeout() => {
                    ctx.activity(log, json!({ "reminder": reminder })).await?;
                }
                Err(e) => return Err(e),
            }
        }
        Ok("nobody answered".to_owned())
    }

    #[orchestrator]
    pub async fn fan_out(ctx: Context, n: u64) -> Result<Vec<Value>, Error> {
        let all = join_all((0..n).map(|i| ctx.activity(log, json!(i)))).await;
        all.into_iter().collect()
    }

    #[orchestrator]
    pub async fn with_child(ctx: Context) -> Result<Value, Error> {
        let child = ctx.sub_orchestration(base, json!("of the parent")).instance_id("child");
        ctx.send_event::<Value>(&InstanceId::new("child").map_err(Error::from)?, EventName::new("go"), json!("now"))?;
        child.await
    }

    #[orchestrator]
    pub async fn sums(ctx: Context, sum: u64) -> Result<Next<u64, u64>, Error> {
        let n: u64 = ctx.event(EventName::new("n")).await?;
        ctx.timer(S).await;
        Ok(if n == 0 { Next::done(sum) } else { Next::again(sum + n) })
    }

    #[orchestrator]
    pub async fn delivery(ctx: Context) -> Result<Value, Error> {
        let order: Value = ctx.activity(log, json!("order")).await?;
        ctx.activity(ship, order).await
    }
}

/// Changes of `base` that somebody might deploy.
mod changed {
    use super::*;

    pub mod renamed {
        use super::*;
        #[orchestrator(name = "base")]
        pub async fn base(ctx: Context, input: Value) -> Result<Value, Error> {
            ctx.activity(audit, &input).await
        }
    }

    pub mod swapped {
        use super::*;
        #[orchestrator(name = "base")]
        pub async fn base(ctx: Context, input: Value) -> Result<Value, Error> {
            let event: Value = ctx.event(EventName::new("go")).await?;
            let logged = ctx.activity(log, &input).await?;
            ctx.activity(audit, json!([logged, event])).await
        }
    }

    pub mod without_the_wait {
        use super::*;
        #[orchestrator(name = "base")]
        pub async fn base(ctx: Context, input: Value) -> Result<Value, Error> {
            let logged = ctx.activity(log, &input).await?;
            ctx.activity(audit, json!([logged])).await
        }
    }

    pub mod shorter {
        use super::*;
        #[orchestrator(name = "base")]
        pub async fn base(ctx: Context, input: Value) -> Result<Value, Error> {
            let logged = ctx.activity(log, &input).await?;
            let _: Value = ctx.event(EventName::new("go")).await?;
            Ok(logged)
        }
    }

    pub mod other_input {
        use super::*;
        #[orchestrator(name = "base")]
        pub async fn base(ctx: Context, input: Value) -> Result<Value, Error> {
            ctx.activity(log, json!({ "v": 2, "input": input })).await?;
            let event: Value = ctx.event(EventName::new("go")).await?;
            ctx.activity(audit, json!([input, event])).await
        }
    }
}

fn apps() -> AppBuilder {
    App::builder().build_id("today").check_turns().activity(log).activity(audit).activity(ship)
}

fn today() -> App {
    let app = apps().orchestrator(today::base).orchestrator(today::approval).orchestrator(today::fan_out);
    app.orchestrator(today::with_child).orchestrator(today::sums).orchestrator(today::delivery).build().unwrap()
}

/// A recorded instance.
struct Recorded {
    header: Header,
    input: Payload,
    output: Payload,
    history: Vec<EventBytes>,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/histories").join(format!("{name}.hex"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex")).collect()
}

fn record(name: &str, sim: &Sim) {
    let stored = sim.stored(name).unwrap();
    let mut text = String::new();
    let header = &stored.header;
    let says = format!("{} {:?}, execution {}, epoch {}, {} events", header.name, header.status, header.execution, header.epoch, header.events);
    let _ = writeln!(text, "header {} # {says}", hex(&header.to_bytes()));
    let _ = writeln!(text, "input {} # {:?}", hex(stored.input.stored()), stored.input);
    let output = stored.output.unwrap_or_default();
    let _ = writeln!(text, "output {} # {output:?}", hex(output.stored()));
    for event in &stored.events {
        let _ = writeln!(text, "event {} # {:?}", hex(event), Event::from_bytes(event).unwrap());
    }
    std::fs::write(path(name), text).unwrap();
}

fn recorded(name: &str) -> Recorded {
    let text = std::fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("{name}: {e}: record it first, as the head of this file says"));
    let of = |word: &str| -> Vec<Vec<u8>> {
        text.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ')).map(|rest| unhex(rest.split(' ').next().unwrap())).collect()
    };
    let payload = |word: &str| Payload::from_stored(of(word).remove(0).into());
    Recorded {
        header: Header::from_bytes(&of("header")[0]).unwrap(),
        input: payload("input"),
        output: payload("output"),
        history: of("event").into_iter().map(EventBytes::from).collect(),
    }
}

/// Plays the flow that this name stands for, from its start to its end.
fn play(name: &str) -> Sim {
    let mut sim = Sim::new(today(), Setup { seed: 11, ..Setup::default() });
    let raise = |sim: &mut Sim, n: u8, event: &str, data: Value| {
        sim.raise(NOW, name, event, &data, MessageId([n; 16]));
        sim.pass(S * 5);
    };
    match name {
        "base" => {
            sim.start("base", name, &json!({ "customer": 7 }));
            sim.pass(S * 5);
            raise(&mut sim, 1, "Go", json!("now"));
        }
        "approval" => {
            sim.start("approval", name, &json!(null));
            sim.pass(DAY + S * 60);
            raise(&mut sim, 1, "approval", json!(true));
        }
        "fan_out" => {
            sim.start("fan_out", name, &json!(5));
        }
        "with_child" => {
            sim.start("with_child", name, &json!(null));
        }
        "sums" => {
            sim.start("sums", name, &json!(0));
            sim.pass(S * 5);
            for n in [1, 2, 0] {
                sim.raise(NOW, name, "n", &n, MessageId([n + 1; 16]));
                sim.pass(Duration::from_millis(100));
            }
        }
        "delivery" => {
            sim.start("delivery", name, &json!(null));
            sim.pass(S * 5);
            let id = InstanceId::new(name).unwrap();
            sim.ask(NOW, move |client| {
                let id = id.clone();
                Box::pin(async move { client.rewind(&id, "a carrier is found").await })
            });
        }
        other => panic!("no flow `{other}`"),
    }
    sim.run();
    sim.check_quiet();
    assert_eq!(sim.header(name).status, RuntimeStatus::Completed);
    if std::env::var_os("DURABLE_RECORD_HISTORIES").is_some() {
        record(name, &sim);
    }
    sim
}

fn replay(app: App, name: &str, recorded: &Recorded, events: usize) -> Result<Live, TurnFault> {
    let mut header = recorded.header.clone();
    if events < recorded.history.len() {
        (header.status, header.events) = (RuntimeStatus::Running, events as u64);
    }
    let (app, id) = (Arc::new(app), InstanceId::new(name).unwrap());
    let stored = Stored { header: &header, input: &recorded.input, history: &recorded.history[..events] };
    Live::replay(&app, &id, &stored)?;
    Live::load(&app, &id, &stored)
}

/// What brought an event.
fn message(event: &Event, header: &Header, arrived: Timestamp) -> Option<Message> {
    let (execution, epoch, attempt) = (header.execution, header.epoch, 1);
    let ended = |sequence: u32, outcome: Outcome| MessageBody::ActivityEnded { execution, epoch, sequence, attempt, outcome };
    let (id, body) = match event {
        Event::EventRaised { message, name, data } => (*message, MessageBody::EventRaised { name: name.clone(), data: data.clone() }),
        Event::ActivityCompleted { sequence, result } => (MessageId([0; 16]), ended(*sequence, Outcome::Completed(result.clone()))),
        Event::ActivityFailed { sequence, failure } => (MessageId([0; 16]), ended(*sequence, Outcome::Failed(failure.clone()))),
        Event::SubOrchestrationCompleted { sequence, result } => {
            let child = InstanceId::new("child").unwrap();
            (MessageId([0; 16]), MessageBody::ChildEnded { execution, sequence: *sequence, child, outcome: Outcome::Completed(result.clone()) })
        }
        _ => return None,
    };
    Some(Message { id, arrived, sender: None, keyed: false, body })
}

fn check(name: &str) {
    play(name);
    let recorded = recorded(name);
    replay(today(), name, &recorded, recorded.history.len()).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    // The last turn again, from where the one before it left the instance.
    let events: Vec<Event> = recorded.history.iter().map(|bytes| Event::from_bytes(bytes).unwrap()).collect();
    let last = events.iter().rposition(|event| matches!(event, Event::TurnStarted { .. })).unwrap();
    let Event::TurnStarted { now } = events[last] else { panic!("the last turn begins with its time") };
    let messages: Vec<Message> = events[last..].iter().filter_map(|event| message(event, &recorded.header, now)).collect();
    // What was taken in the last turn is not yet known to the header.
    let mut before = Recorded { header: recorded.header.clone(), input: recorded.input.clone(), output: Payload::default(), history: recorded.history.clone() };
    before.header.ring.clear();
    let mut live = replay(today(), name, &before, last).unwrap();
    let commit_id = recorded.header.commit_id;
    let turn = live.turn(&TurnInput { now, inbox: &messages, direct: &[], commit_id, owner: 0, claim_until: now }).unwrap();
    assert_eq!(turn.append, recorded.history[last..], "{name}: {:?}", events);
    assert_eq!((turn.header.status, turn.output.unwrap()), (RuntimeStatus::Completed, recorded.output.clone()));
}

#[test]
fn the_base_flow_of_an_earlier_build_replays_and_ends_the_same() {
    check("base");
}

#[test]
fn an_approval_with_a_reminder_of_an_earlier_build_replays_and_ends_the_same() {
    check("approval");
}

#[test]
fn a_fan_out_of_an_earlier_build_replays_and_ends_the_same() {
    check("fan_out");
}

#[test]
fn a_parent_of_an_earlier_build_replays_and_ends_the_same() {
    check("with_child");
}

#[test]
fn an_execution_that_had_continued_as_new_replays_and_ends_the_same() {
    check("sums");
    assert_eq!(recorded("sums").header.execution, 2);
}

#[test]
fn a_rewound_instance_of_an_earlier_build_replays_and_ends_the_same() {
    check("delivery");
    assert_eq!(recorded("delivery").header.epoch, 1);
}

/// How changed code takes the recorded `base` flow: the whole of it, or its first events.
fn changed_code(code: impl Orchestrator, strict: bool, events: Option<usize>) -> Result<(), (u64, Option<String>, Option<String>)> {
    let recorded = recorded("base");
    let app = if strict { apps().strict_inputs() } else { apps() };
    let events = events.unwrap_or(recorded.history.len());
    let loaded = replay(app.orchestrator(code).build().unwrap(), "base", &recorded, events);
    loaded.map(|_| ()).map_err(|fault| (fault.at_event.unwrap(), fault.expected, fault.asked))
}

fn fault(at: u64, expected: &str, asked: &str) -> Result<(), (u64, Option<String>, Option<String>)> {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Err((at, text(expected), text(asked)))
}

#[test]
fn a_renamed_activity_is_a_fault_that_names_both() {
    assert_eq!(changed_code(changed::renamed::base, false, None), fault(2, "activity `log` (call 1)", "activity `audit` (call 1)"));
}

#[test]
fn a_swapped_order_is_a_fault_that_names_both() {
    assert_eq!(changed_code(changed::swapped::base, false, None), fault(2, "activity `log` (call 1)", "a wait for event `go` (call 1)"));
}

#[test]
fn a_removed_wait_is_a_fault_that_names_both() {
    let expected = fault(5, "a wait for event `go` (call 2)", "activity `audit` (call 2)");
    assert_eq!(changed_code(changed::without_the_wait::base, false, None), expected);
}

#[test]
fn code_that_ends_where_history_goes_on_is_a_fault() {
    assert_eq!(changed_code(changed::shorter::base, false, None), fault(8, "activity `audit` (call 3)", "its end"));
}

#[test]
fn a_changed_input_is_a_warning_and_a_fault_only_where_the_app_is_strict() {
    assert_eq!(changed_code(changed::other_input::base, false, None), Ok(()));
    let expected = fault(2, "activity `log` (call 1)", "activity `log` (call 1)");
    assert_eq!(changed_code(changed::other_input::base, true, None), expected);
}

#[test]
fn what_has_not_been_reached_yet_may_be_changed() {
    // Up to the completion of the first activity, the one with the shorter end is the same code.
    assert_eq!(changed_code(changed::shorter::base, true, Some(6)), Ok(()));
}

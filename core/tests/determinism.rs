//! What an orchestrator must not do, and how it is found: in the same turn, with a sentence that says what to do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so, and some orchestrators misbehave on purpose")]

mod common;

use std::time::Duration;

use common::{Bench, checked};
use durable::header::{FaultKind, RuntimeStatus};
use durable::history::Event;
use durable::message::{MessageBody, Outcome};
use durable::{App, Context, Error, EventName, Failure, OnPanic, activity, orchestrator};
use serde_json::{Value, json};

const S: Duration = Duration::from_secs(1);

#[activity]
async fn a(n: u64) -> Result<u64, Failure> {
    Ok(n)
}

#[activity]
async fn b(n: u64) -> Result<u64, Failure> {
    Ok(n)
}

fn bench_of(app: durable::AppBuilder, name: &str, input: Value) -> Bench {
    Bench::new(app.build().unwrap(), name, input)
}

mod before {
    use super::*;

    #[orchestrator(name = "flow")]
    pub async fn flow(ctx: Context) -> Result<u64, Error> {
        let first = ctx.activity(a, 1).await?;
        ctx.timer(S).await;
        Ok(first)
    }
}

mod renamed {
    use super::*;

    #[orchestrator(name = "flow")]
    pub async fn flow(ctx: Context) -> Result<u64, Error> {
        let first = ctx.activity(b, 1).await?;
        ctx.timer(S).await;
        Ok(first)
    }
}

mod another_input {
    use super::*;

    #[orchestrator(name = "flow")]
    pub async fn flow(ctx: Context) -> Result<u64, Error> {
        let first = ctx.activity(a, 2).await?;
        ctx.timer(S * 9).await;
        Ok(first)
    }
}

mod shorter {
    use super::*;

    #[orchestrator(name = "flow")]
    pub async fn flow(ctx: Context) -> Result<u64, Error> {
        ctx.activity(a, 1).await
    }
}

mod longer {
    use super::*;

    #[orchestrator(name = "flow")]
    pub async fn flow(ctx: Context) -> Result<u64, Error> {
        let first = ctx.activity(a, 1).await?;
        let more = ctx.activity(b, 2);
        ctx.timer(S).await;
        Ok(first + more.await?)
    }
}

mod patched {
    use super::*;

    #[orchestrator(name = "flow")]
    pub async fn flow(ctx: Context) -> Result<u64, Error> {
        let first = ctx.activity(a, 1).await?;
        let more = if ctx.patched("more") { ctx.activity(b, 2).await? } else { 0 };
        ctx.timer(S).await;
        Ok(first + more)
    }
}

/// An instance of `before::flow` that waits for its timer.
fn under_way() -> Bench {
    let mut bench = bench_of(checked().orchestrator(before::flow), "flow", json!(null));
    bench.turn(&[]).unwrap();
    bench.complete(json!(1));
    bench
}

#[test]
fn changed_code_is_a_fault_that_names_the_event_and_both_sides_and_history_stays() {
    let cases: [(durable::AppBuilder, u64, &str, &str); 3] = [
        (checked().orchestrator(renamed::flow), 2, "activity `a` (call 1)", "activity `b` (call 1)"),
        (checked().orchestrator(shorter::flow), 5, "a timer (call 2)", "its end"),
        (checked().orchestrator(longer::flow), 5, "a timer (call 2)", "activity `b` (call 2)"),
    ];
    for (app, event, expected, asked) in cases {
        let mut bench = under_way();
        let history = bench.history.clone();
        bench.deploy(app.build().unwrap());
        let fault = bench.turn(&[]).unwrap_err();
        assert_eq!(fault.kind, FaultKind::NonDeterminism);
        assert_eq!((fault.at_event, fault.expected.as_deref(), fault.asked.as_deref()), (Some(event), Some(expected), Some(asked)));
        assert_eq!(bench.history, history);
        bench.deploy(checked().orchestrator(before::flow).build().unwrap());
        bench.pass(S);
        assert_eq!(bench.output(), json!(1), "the build that matches goes on");
    }
}

#[test]
fn a_changed_input_is_only_a_warning_and_history_counts_unless_the_app_is_strict() {
    let mut bench = under_way();
    bench.deploy(checked().orchestrator(another_input::flow).build().unwrap());
    bench.pass(S);
    assert_eq!(bench.output(), json!(1));
    let mut bench = under_way();
    bench.deploy(checked().strict_inputs().orchestrator(another_input::flow).build().unwrap());
    assert_eq!(bench.turn(&[]).unwrap_err().kind, FaultKind::NonDeterminism);
}

#[test]
fn a_patch_marker_keeps_instances_under_way_on_the_old_branch_and_new_ones_on_the_new() {
    let mut old = under_way();
    old.deploy(checked().orchestrator(patched::flow).build().unwrap());
    old.pass(S);
    assert_eq!(old.output(), json!(1));

    let mut new = bench_of(checked().orchestrator(patched::flow), "flow", json!(null));
    new.turn(&[]).unwrap();
    new.complete(json!(1));
    new.forget();
    assert_eq!(new.complete(json!(2)).name, "b");
    new.forget();
    new.pass(S);
    assert_eq!(new.output(), json!(3));
    assert_eq!(new.events().iter().filter(|e| matches!(e, Event::Patched { .. })).count(), 1);
}

mod v1 {
    use super::*;

    #[orchestrator(name = "versioned", version = "1.9")]
    pub async fn versioned(ctx: Context) -> Result<u64, Error> {
        ctx.timer(S).await;
        Ok(1)
    }
}

mod v2 {
    use super::*;

    #[orchestrator(name = "versioned", version = "1.10")]
    pub async fn versioned(ctx: Context) -> Result<u64, Error> {
        ctx.activity(a, 1).await
    }
}

#[test]
fn an_instance_stays_on_its_version_new_ones_get_the_latest_and_a_missing_one_is_a_fault_that_names_it() {
    let both = || checked().orchestrator(v2::versioned).orchestrator(v1::versioned);
    assert_eq!(both().build().unwrap().resolve("versioned", None), Some(Some("1.10".to_owned())));
    let mut bench = Bench::started(checked().orchestrator(v1::versioned).build().unwrap(), "versioned", json!(null));
    bench.deploy(checked().orchestrator(v2::versioned).build().unwrap());
    let fault = bench.turn(&[]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::MissingOrchestrator);
    assert!(fault.message.contains("`versioned` in version 1.9"), "{fault}");
    bench.deploy(both().build().unwrap());
    bench.pass(S);
    assert_eq!(bench.output(), json!(1));
}

#[orchestrator]
async fn waits_for_nothing(_ctx: Context) -> Result<(), Error> {
    std::future::pending::<()>().await;
    Ok(())
}

#[orchestrator]
async fn waits_beside_a_timer(ctx: Context) -> Result<(), Error> {
    let (sender, receiver) = futures_channel::oneshot::channel::<()>();
    let foreign = async {
        let _ = receiver.await;
    };
    durable::join(ctx.timer(S), foreign).await;
    drop(sender);
    Ok(())
}

#[orchestrator]
async fn never_waits(ctx: Context) -> Result<(), Error> {
    loop {
        drop(ctx.timer(S));
    }
}

#[orchestrator]
async fn panics(_ctx: Context) -> Result<(), Error> {
    panic!("on purpose");
}

#[test]
fn what_cannot_go_on_is_found_in_the_same_turn() {
    let app = || {
        let all = App::builder().orchestrator(waits_for_nothing).orchestrator(waits_beside_a_timer).orchestrator(never_waits).orchestrator(panics);
        all.build().unwrap()
    };
    for (name, kind, says) in [
        ("waits_for_nothing", FaultKind::Stuck, "nothing durable will wake it"),
        ("waits_beside_a_timer", FaultKind::ForeignWaker, "not durable"),
        ("never_waits", FaultKind::Limit, "100000 calls"),
        ("panics", FaultKind::Panic, "on purpose"),
    ] {
        let mut bench = Bench::new(app(), name, json!(null));
        let fault = bench.turn(&[]).unwrap_err();
        assert_eq!(fault.kind, kind, "{name}");
        assert!(fault.message.contains(says), "{fault}");
        assert!(bench.history.is_empty());
    }
}

#[test]
fn a_panic_fails_the_instance_if_the_app_says_so() {
    let bench = Bench::started(App::builder().on_panic(OnPanic::Fail).orchestrator(panics).build().unwrap(), "panics", json!(null));
    assert_eq!((bench.status(), bench.output()), (RuntimeStatus::Failed, json!("Panic: on purpose")));
}

#[orchestrator]
async fn reads_a_global(ctx: Context) -> Result<(), Error> {
    static RUNS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let n = RUNS.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    ctx.activity(a, n).await?;
    Ok(())
}

#[test]
fn a_turn_that_is_run_twice_and_differs_is_found_at_once() {
    let mut bench = bench_of(checked().orchestrator(reads_a_global), "reads_a_global", json!(null));
    let fault = bench.turn(&[]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unrepeatable);
}

#[orchestrator]
async fn saga(ctx: Context) -> Result<u64, Error> {
    let kept = ctx.activity(a, 1).await?;
    let (x, y) = (ctx.activity(a, 2), ctx.activity(b, 3));
    let (x, y) = (x.await, y.await);
    if x.is_err() && y.is_ok() {
        ctx.activity(b, 4).await?;
    }
    let note: String = ctx.event(EventName::new("note")).await?;
    assert_eq!(note, "kept");
    Ok(kept + x? + y?)
}

#[test]
fn a_rewound_instance_asks_again_for_what_failed_and_keeps_what_did_not() {
    // What failed: both calls with nothing asked for since; or one, with a compensation that is then undone too.
    for both in [true, false] {
        let mut bench = Bench::started(checked().orchestrator(saga).build().unwrap(), "saga", json!(null));
        bench.complete(json!(10));
        let x = bench.fail("Net");
        if both {
            bench.fail("Net");
        } else {
            bench.complete(json!(30));
            bench.complete(json!(0));
        }
        bench.raise("note", json!("kept"));
        assert_eq!(bench.status(), RuntimeStatus::Failed);
        bench.rewind("again").unwrap();
        assert_eq!((bench.status(), bench.header.epoch), (RuntimeStatus::Running, 1));
        let names: Vec<_> = bench.tasks.iter().map(|task| (task.name.clone(), task.attempt, task.effect.epoch)).collect();
        assert_eq!(names.len(), if both { 2 } else { 1 }, "{names:?}");
        assert_ne!(bench.tasks[0].effect.to_string(), x.effect.to_string(), "a new epoch has new idempotency keys");
        bench.forget();
        bench.complete(json!(20));
        if both {
            bench.forget();
            bench.complete(json!(30));
        }
        assert_eq!(bench.output(), json!(60));
        let stale = bench.ended(&x, Outcome::Completed(bench.input.clone()));
        bench.turn(&[stale]).unwrap();
    }
}

/// Two branches, of which the first may fail, and may ask for a compensation then: from there on the calls of the other have other numbers.
#[orchestrator]
async fn branches(ctx: Context, compensates: bool) -> Result<u64, Error> {
    let one = async {
        let x = ctx.activity(a, 1).await;
        if x.is_err() && compensates {
            ctx.activity(b, 9).await?;
        }
        x
    };
    let other = async {
        let y = ctx.activity(b, 2).await?;
        let more: u64 = ctx.event(EventName::new("more")).await?;
        ctx.activity(b, y + more).await
    };
    let (x, y) = durable::join(one, other).await;
    Ok(x? + y?)
}

/// Calls that a rewind asks for, after a run of `branches` in which the first failed and the other went on to its end.
fn asked_again(bench: &mut Bench) -> Vec<String> {
    bench.raise("more", json!(5));
    bench.complete(json!(100));
    assert_eq!(bench.status(), RuntimeStatus::Failed);
    bench.rewind("again").unwrap();
    bench.forget();
    assert_eq!(bench.status(), RuntimeStatus::Running);
    let called = |task: &durable::header::ActivityTask| format!("{} {}", task.name, bench.app.decode::<u64>(&task.input).unwrap());
    bench.tasks.iter().map(called).collect()
}

#[test]
fn what_the_branch_beside_the_failed_one_asked_for_since_stays() {
    let mut bench = Bench::started(checked().orchestrator(branches).build().unwrap(), "branches", json!(false));
    bench.fail("Net");
    bench.complete(json!(20));
    assert_eq!(asked_again(&mut bench), ["a 1"]);
    bench.complete(json!(7));
    assert_eq!((bench.status(), bench.output()), (RuntimeStatus::Completed, json!(107)));
}

#[test]
fn where_an_undone_compensation_had_changed_the_numbers_of_calls_code_goes_on_from_there_with_what_came_in_since() {
    let mut bench = Bench::started(checked().orchestrator(branches).build().unwrap(), "branches", json!(true));
    bench.fail("Net");
    bench.complete(json!(20));
    bench.complete(json!(0));
    assert_eq!(asked_again(&mut bench), ["a 1", "b 25"]);
    bench.complete(json!(7));
    bench.forget();
    bench.complete(json!(100));
    assert_eq!((bench.status(), bench.output()), (RuntimeStatus::Completed, json!(107)));
    let undone = bench.events().iter().find_map(|event| match event {
        Event::ExecutionRewound { masked, .. } => Some(masked.clone()),
        _ => None,
    });
    let undone = undone.unwrap();
    let raised = (0..).zip(bench.events()).filter(|(place, event)| matches!(event, Event::EventRaised { .. }) && !undone.contains(place));
    assert_eq!(raised.count(), 1, "the event counts once");
}

#[orchestrator]
async fn with_child(ctx: Context) -> Result<u64, Error> {
    ctx.sub_orchestration(before::flow, ()).await
}

#[test]
fn an_instance_whose_code_cannot_run_can_still_be_terminated_with_its_children() {
    let mut bench = Bench::started(checked().orchestrator(with_child).build().unwrap(), "with_child", json!(null));
    let child = bench.last.as_ref().unwrap().deliveries[0].target().clone();
    bench.deploy(checked().build().unwrap());
    let event = bench.event("late", json!(1));
    let stop = bench.message(MessageBody::Terminate { reason: "enough".into() });
    assert!(bench.turn(&[event.clone(), stop.clone()]).is_err());
    let deliveries = bench.terminate(&[event, stop]);
    assert_eq!((bench.status(), bench.output()), (RuntimeStatus::Terminated, json!("enough")));
    assert!(matches!(&deliveries[..], [durable::header::Delivery::Message { to, .. }] if *to == child), "{deliveries:?}");
    assert!(bench.events().iter().any(|e| matches!(e, Event::EventUnprocessed { .. })));
}

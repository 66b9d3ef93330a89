//! Faults end to end: what keeps a turn from being made is recorded beside an untouched history, and a build that matches goes on; and a
//! request is answered whatever user code and rivals do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that something is wrong")]

use std::time::Duration;

use durable::header::{FaultKind, RuntimeStatus};
use durable::history::Event;
use durable::ids::MessageId;
use durable::{App, AppBuilder, Context, Error, EventName, Failure, InstanceId, OnPanic, Start, activity, limits, orchestrator};
use durable_tests::faulty::{Decision, Op, Plan};
use durable_tests::sim::{Setup, Sim};
use serde_json::{Value, json};

const NOW: Duration = Duration::ZERO;
const S: Duration = Duration::from_secs(1);

const fn message(n: u8) -> MessageId {
    MessageId([n; 16])
}

#[activity]
async fn echo(value: Value) -> Result<Value, Failure> {
    Ok(value)
}

/// Builds of one orchestrator, as they are deployed one after the other.
mod builds {
    use super::*;

    pub mod good {
        use super::*;
        #[orchestrator(name = "order")]
        pub async fn order(ctx: Context) -> Result<Value, Error> {
            let paid = ctx.activity(echo, json!("paid")).await?;
            let go: Value = ctx.event(EventName::new("go")).await?;
            let sent = ctx.activity(echo, json!("sent")).await?;
            Ok(json!([paid, go, sent]))
        }
    }

    pub mod panics {
        use super::*;
        #[orchestrator(name = "order")]
        pub async fn order(ctx: Context) -> Result<Value, Error> {
            let paid = ctx.activity(echo, json!("paid")).await?;
            let _: Value = ctx.event(EventName::new("go")).await?;
            panic!("no stock of {paid}");
        }
    }

    pub mod panics_at_once {
        use super::*;
        #[orchestrator(name = "order")]
        pub async fn order(_: Context) -> Result<Value, Error> {
            panic!("at once");
        }
    }

    pub mod swapped {
        use super::*;
        #[orchestrator(name = "order")]
        pub async fn order(ctx: Context) -> Result<Value, Error> {
            ctx.timer(S).await;
            Ok(json!(null))
        }
    }

    pub mod other {
        use super::*;
        #[orchestrator]
        pub async fn unrelated(_: Context) -> Result<(), Error> {
            Ok(())
        }
    }

    pub mod second_version {
        use super::*;
        #[orchestrator(name = "order", version = "2")]
        pub async fn order(ctx: Context) -> Result<Value, Error> {
            ctx.event(EventName::new("go")).await
        }
    }
}

fn build(id: &str) -> AppBuilder {
    App::builder().build_id(id).activity(echo)
}

fn good(id: &str) -> App {
    build(id).orchestrator(builds::good::order).build().unwrap()
}

fn started() -> Sim {
    let mut sim = Sim::new(good("1"), Setup::default());
    sim.start("order", "a", &json!(null));
    sim.pass(S * 10);
    sim
}

#[test]
fn a_panic_is_recorded_beside_an_untouched_history_and_messages_wait_for_a_build_that_does_not_panic() {
    let mut sim = started();
    sim.deploy(build("2").orchestrator(builds::panics::order).build().unwrap());
    let before = sim.history("a");
    let answers: Vec<_> = (1..=3).map(|n| sim.raise(NOW, "a", "go", &n, message(n))).collect();
    sim.pass(Duration::from_millis(500));
    let fault = sim.header("a").fault.unwrap();
    assert_eq!((fault.kind, fault.build.as_str()), (FaultKind::Panic, "2"));
    assert!(fault.message.contains("no stock of \"paid\""), "{}", fault.message);
    assert_eq!(sim.history("a"), before);
    assert!(answers.iter().all(|answer| matches!(sim.answer(*answer), Some(Ok(())))));
    sim.run();
    let fault = sim.header("a").fault.unwrap();
    assert_eq!((fault.tries, fault.next_try), (limits::FAULT_TRIES, None));
    assert_eq!((sim.history("a"), sim.stored("a").unwrap().inbox.len()), (before, 3));
    sim.deploy(good("3"));
    sim.run();
    assert_eq!((sim.output("a"), sim.header("a").fault), (json!(["paid", 1, "sent"]), None));
    let unclaimed = sim.history("a").iter().filter(|e| matches!(e, Event::EventRaised { .. } | Event::EventUnprocessed { .. })).count();
    assert_eq!(unclaimed, 3);
    sim.check_quiet();
}

#[test]
fn a_start_whose_first_turn_panics_is_accepted_and_goes_on_with_another_build() {
    let mut sim = Sim::new(build("1").orchestrator(builds::panics_at_once::order).build().unwrap(), Setup::default());
    let start = sim.start("order", "a", &json!(null));
    sim.pass(S);
    assert!(matches!(sim.answer(start), Some(Ok(()))));
    assert_eq!((sim.header("a").fault.unwrap().kind, sim.header("a").status), (FaultKind::Panic, RuntimeStatus::Pending));
    sim.deploy(good("2"));
    sim.raise(S * 5, "a", "go", &1, message(1));
    sim.run();
    assert_eq!(sim.output("a"), json!(["paid", 1, "sent"]));
    sim.check_quiet();
}

#[test]
fn non_determinism_names_the_event_and_both_sides_and_the_right_build_cures_it() {
    let mut sim = started();
    sim.deploy(build("2").orchestrator(builds::swapped::order).build().unwrap());
    sim.raise(NOW, "a", "go", &1, message(1));
    sim.pass(S);
    let fault = sim.header("a").fault.unwrap();
    assert_eq!((fault.kind, fault.at_event), (FaultKind::NonDeterminism, Some(2)));
    assert_eq!(fault.expected.as_deref(), Some("activity `echo` (call 1)"));
    assert_eq!(fault.asked.as_deref(), Some("a timer (call 1)"));
    sim.deploy(good("3"));
    sim.run();
    assert_eq!(sim.output("a"), json!(["paid", 1, "sent"]));
    sim.check_quiet();
}

#[test]
fn an_activity_that_was_under_way_when_the_process_ended_is_run_once_the_fault_is_cured() {
    let mut sim = started();
    sim.world.slow("echo", S * 100);
    sim.raise(NOW, "a", "go", &1, message(1));
    sim.pass(S);
    assert_eq!(sim.header("a").open_activities, 1);
    sim.deploy(build("2").orchestrator(builds::swapped::order).build().unwrap());
    sim.pass(S);
    assert!(sim.header("a").fault.is_some());
    sim.deploy(good("3"));
    sim.run();
    assert_eq!(sim.output("a"), json!(["paid", 1, "sent"]));
    sim.check_quiet();
}

#[test]
fn a_missing_orchestrator_and_a_missing_version_are_faults_that_name_them() {
    let mut sim = started();
    sim.deploy(build("2").orchestrator(builds::other::unrelated).build().unwrap());
    sim.raise(NOW, "a", "go", &1, message(1));
    sim.pass(S);
    let fault = sim.header("a").fault.unwrap();
    assert_eq!(fault.kind, FaultKind::MissingOrchestrator);
    assert!(fault.message.contains("no orchestrator `order`; it has: unrelated"), "{}", fault.message);

    let both = |id| build(id).orchestrator(builds::good::order).orchestrator(builds::second_version::order).build().unwrap();
    let mut sim = Sim::new(both("1"), Setup::default());
    sim.start("order", "a", &json!(null));
    sim.pass(S);
    assert_eq!(sim.header("a").version.as_deref(), Some("2"), "the latest");
    sim.deploy(good("2"));
    sim.raise(NOW, "a", "go", &"x", message(1));
    sim.pass(S);
    let fault = sim.header("a").fault.unwrap();
    assert_eq!((fault.kind, fault.version.as_deref()), (FaultKind::MissingOrchestrator, Some("2")));
    assert!(fault.message.contains("in version 2"), "{}", fault.message);
    sim.deploy(both("3"));
    sim.run();
    assert_eq!(sim.output("a"), json!("x"));
}

#[test]
fn a_history_that_grows_beyond_all_bounds_is_a_fault_that_says_so_and_goes_on_where_more_is_allowed() {
    let limited = |id: &str| build(id).history_limit(7).orchestrator(builds::good::order).build().unwrap();
    let mut sim = Sim::new(limited("1"), Setup::default());
    sim.start("order", "a", &json!(null));
    sim.start("order", "b", &json!(null));
    sim.pass(S * 10);
    let before = sim.history("a");
    for id in ["a", "b"] {
        sim.raise(NOW, id, "go", &1, message(u8::from(id == "b") + 1));
    }
    sim.pass(S);
    let fault = sim.header("a").fault.unwrap();
    assert_eq!((fault.kind, sim.history("a"), sim.stored("a").unwrap().inbox.len()), (FaultKind::Limit, before, 1));
    assert!(fault.message.contains("7 are allowed: continue as new"), "{}", fault.message);
    let b = InstanceId::new("b").unwrap();
    sim.ask(NOW, move |client| {
        let b = b.clone();
        Box::pin(async move { client.terminate(&b, "too long").await })
    });
    sim.pass(S);
    assert_eq!(sim.header("b").status, RuntimeStatus::Terminated);
    sim.deploy(good("2"));
    sim.run();
    assert_eq!(sim.output("a"), json!(["paid", 1, "sent"]));
    sim.check_quiet();
}

#[test]
fn where_the_app_says_so_a_panic_fails_the_instance() {
    let mut sim = Sim::new(build("1").on_panic(OnPanic::Fail).orchestrator(builds::panics::order).build().unwrap(), Setup::default());
    sim.start("order", "a", &json!(null));
    sim.raise(S, "a", "go", &1, message(1));
    sim.run();
    let header = sim.header("a");
    assert_eq!((header.status, header.fault), (RuntimeStatus::Failed, None));
    assert_eq!(header.failure.unwrap().kind, durable::KIND_PANIC);
    sim.check_quiet();
}

#[test]
fn who_loses_two_races_stores_the_message_plainly_and_answers() {
    let mut sim = started();
    let delivered = sim.store.calls_of(Op::Deliver);
    sim.store.lose_next(2);
    let raised = sim.raise(NOW, "a", "go", &1, message(1));
    sim.run();
    assert!(matches!(sim.answer(raised), Some(Ok(()))));
    assert_eq!(sim.store.calls_of(Op::Deliver), delivered + 1);
    assert_eq!(sim.output("a"), json!(["paid", 1, "sent"]));
    sim.check_quiet();
}

#[test]
fn a_commit_whose_outcome_is_not_known_is_settled_by_its_id() {
    for (decision, delivers) in [(Decision::ApplyThenUnknown, 0), (Decision::FailBefore, 0)] {
        let mut sim = started();
        sim.store.follow(Plan::nth_of(Op::Commit, sim.store.calls_of(Op::Commit), decision));
        sim.raise(NOW, "a", "go", &1, message(1));
        sim.run();
        assert_eq!(sim.store.calls_of(Op::Deliver), delivers);
        assert_eq!(sim.output("a"), json!(["paid", 1, "sent"]));
        assert_eq!(sim.history("a").iter().filter(|e| matches!(e, Event::EventRaised { .. })).count(), 1);
        sim.check_quiet();
    }
}

#[test]
fn a_drive_that_hangs_does_not_keep_a_request_from_being_accepted() {
    let mut sim = started();
    sim.store.follow(Plan::nth_of(Op::Commit, sim.store.calls_of(Op::Commit), Decision::Halt));
    let raised = sim.raise(NOW, "a", "go", &1, message(1));
    sim.pass(limits::ANSWER_WITHIN - Duration::from_millis(1));
    assert!(sim.answer(raised).is_none());
    sim.pass(Duration::from_millis(2));
    assert!(matches!(sim.answer(raised), Some(Ok(()))), "stored plainly");
    assert_eq!(sim.stored("a").unwrap().inbox.len(), 1);
    sim.replace_shard_of("a");
    sim.run();
    assert_eq!(sim.output("a"), json!(["paid", 1, "sent"]));
    sim.check_quiet();
}

#[test]
fn a_first_turn_that_hangs_does_not_keep_a_start_from_being_accepted() {
    let mut sim = Sim::new(good("1"), Setup::default());
    sim.store.follow(Plan::nth_of(Op::Create, 0, Decision::Halt));
    let id = InstanceId::new("a").unwrap();
    let started = sim.ask(NOW, move |client| {
        let start = Start::new("order", client.app().encode(&json!(null)).unwrap()).id(id.clone());
        Box::pin(async move { client.start(start).await.map(|_| ()) })
    });
    sim.pass(limits::ANSWER_WITHIN + Duration::from_millis(1));
    assert!(matches!(sim.answer(started), Some(Ok(()))));
    assert_eq!(sim.header("a").status, RuntimeStatus::Pending);
    sim.replace_shard_of("a");
    sim.raise(S, "a", "go", &1, message(1));
    sim.run();
    assert_eq!(sim.output("a"), json!(["paid", 1, "sent"]));
    sim.check_quiet();
}

/// A store knows what it has sent before, and has no answer to, by its commit id: of two creates that say different things, only one may have it.
#[test]
fn a_start_that_is_stored_plainly_is_another_commit_than_its_first_turn() {
    let mut sim = Sim::new(good("1"), Setup::default());
    sim.store.follow(Plan::nth_of(Op::Create, 0, Decision::Halt));
    sim.start("order", "a", &json!(null));
    sim.pass(limits::ANSWER_WITHIN + S);
    let creates = sim.store.creates();
    assert!(creates.len() == 2 && creates[0] != creates[1], "{creates:?}");
}

//! Drivers whose time is limited: they can tell when nothing is under way and what is left, and give long activities to other workers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use durable::header::RuntimeStatus;
use durable::ids::MessageId;
use durable::machine::HANDED_ON;
use durable::{App, AppBuilder, Context, Error, EventName, Failure, InstanceId, activity, join_all, orchestrator};
use durable_tests::faulty::{Decision, Op, Plan};
use durable_tests::sim::{Setup, Sim};
use serde_json::json;

const S: Duration = Duration::from_secs(1);

#[activity]
async fn double(n: u64) -> Result<u64, Failure> {
    Ok(n * 2)
}

#[orchestrator]
async fn twice(ctx: Context, n: u64) -> Result<u64, Error> {
    ctx.activity(double, n).await
}

#[orchestrator]
async fn many(ctx: Context, n: u64) -> Result<u64, Error> {
    let all = join_all((0..n).map(|i| ctx.activity(double, i))).await;
    all.into_iter().sum()
}

#[orchestrator]
async fn leaves_one_behind(ctx: Context) -> Result<(), Error> {
    let _nobody_waits = ctx.activity(double, 1_u64);
    Ok(())
}

/// Waits for an event, an hour at most.
#[orchestrator]
async fn waits(ctx: Context) -> Result<(), Error> {
    ctx.event(EventName::<u64>::new("Go")).timeout(S * 3600).await.map(drop)
}

/// Takes four events.
#[orchestrator]
async fn collects(ctx: Context) -> Result<Vec<u64>, Error> {
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(ctx.event(EventName::new("Go")).await?);
    }
    Ok(all)
}

fn app() -> AppBuilder {
    let app = App::builder().build_id("1").check_turns().activity(double).orchestrator(twice).orchestrator(many);
    app.orchestrator(leaves_one_behind).orchestrator(waits).orchestrator(collects)
}

fn sim(setup: Setup) -> Sim {
    Sim::new(app().build().unwrap(), setup)
}

/// Others may drive too, and every attempt goes to another worker.
fn all_elsewhere(seed: u64) -> Setup {
    Setup { seed, exclusive: false, hands_on: 1, delivers_atomically: false, ..Setup::default() }
}

/// When the engine says that it is idle, in virtual time since now; none if it has not said so after `limit`.
fn idle_after(sim: &mut Sim, limit: Duration) -> Option<Duration> {
    let (begun, seen) = (sim.world.now(), Rc::new(RefCell::new(None)));
    let (engine, world, told) = (sim.engine().clone(), sim.world.clone(), seen.clone());
    sim.spawn(async move {
        engine.idle().await;
        *told.borrow_mut() = Some(begun.until(world.now()));
    });
    sim.pass(limit);
    seen.take()
}

fn unfinished(sim: &mut Sim) -> Vec<InstanceId> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (engine, told) = (sim.engine().clone(), seen.clone());
    sim.spawn(async move { *told.borrow_mut() = engine.unfinished().await });
    sim.pass(Duration::ZERO);
    seen.take()
}

#[test]
fn an_engine_is_idle_once_its_activities_have_ended_and_their_ends_are_stored() {
    let mut sim = sim(Setup::default());
    sim.world.slow("double", S * 5);
    sim.start("twice", "a", &4);
    assert_eq!(idle_after(&mut sim, S * 60), Some(S * 5));
    assert_eq!((sim.output("a"), unfinished(&mut sim)), (json!(8), vec![]));
}

#[test]
fn what_is_under_way_is_named_and_what_sleeps_is_not() {
    let mut sim = sim(Setup::default());
    sim.start("twice", "ended", &4);
    sim.run();
    sim.world.slow("double", S * 5);
    sim.start("twice", "a", &4);
    sim.pass(S);
    assert_eq!(unfinished(&mut sim), [InstanceId::new("a").unwrap()]);
}

#[test]
fn an_engine_in_store_trouble_is_not_idle_and_names_who_is_left() {
    let mut sim = sim(Setup::default());
    sim.start("twice", "a", &4);
    sim.store.follow(Plan::by(|call| if call.op == Op::Commit { Decision::FailBefore } else { Decision::Pass }));
    assert_eq!(idle_after(&mut sim, S * 60), None);
    assert_eq!(unfinished(&mut sim), [InstanceId::new("a").unwrap()]);
    sim.store.follow(Plan::none());
    assert!(idle_after(&mut sim, S * 60).is_some());
    assert_eq!(sim.header("a").status, RuntimeStatus::Completed);
}

#[test]
fn an_attempt_that_is_handed_on_is_claimed_for_its_worker_and_not_waited_for() {
    let mut sim = sim(all_elsewhere(3));
    sim.world.slow("double", S * 30);
    sim.start("twice", "a", &4);
    assert!(idle_after(&mut sim, S).is_some(), "nothing runs here");
    let claims = sim.header("a").claims;
    assert_eq!(claims.iter().map(|claim| claim.owner).collect::<Vec<_>>(), [HANDED_ON]);
    assert!(sim.world.now() < claims[0].until);
    sim.run();
    assert_eq!(sim.output("a"), json!(8));
    sim.check_quiet();
}

#[test]
fn a_fan_out_over_workers_ends_and_each_attempt_is_made_once() {
    for seed in 0..20 {
        let mut sim = sim(all_elsewhere(seed));
        sim.start("many", "a", &100);
        sim.run();
        assert_eq!(sim.output("a"), json!(9900));
        sim.check_quiet();
    }
}

#[test]
fn a_worker_that_dies_is_replaced_once_its_time_is_over() {
    let mut sim = sim(all_elsewhere(5));
    sim.world.slow("double", S * 60);
    sim.start("twice", "a", &4);
    sim.pass(S * 30);
    sim.crash();
    sim.pass(S * 30);
    assert_eq!(sim.header("a").status, RuntimeStatus::Running, "it is its worker's still");
    sim.run();
    assert_eq!(sim.output("a"), json!(8));
}

#[test]
fn a_worker_that_dies_is_replaced_by_a_driver_that_has_the_instance_in_memory() {
    let (mut lost, id) = (0, InstanceId::new("a").unwrap());
    for seed in 0..20 {
        let mut sim = sim(all_elsewhere(seed));
        sim.start("twice", "a", &4);
        sim.pass(S);
        lost += sim.world.lose_workers();
        // The safety net is delivered behind the end of the claim, to the very process that waits for the worker.
        sim.pass(S * 300);
        sim.engine().look(&id, true);
        sim.run();
        assert_eq!(sim.output("a"), json!(8), "seed {seed}");
        sim.check_quiet();
    }
    assert!(lost > 10, "only {lost} workers died");
}

#[test]
fn an_activity_that_nobody_awaits_is_done_with_when_its_worker_has_ended_it() {
    let mut sim = sim(all_elsewhere(8));
    sim.start("leaves_one_behind", "a", &json!(null));
    sim.run();
    let header = sim.header("a");
    assert_eq!((header.status, header.orphans.len(), header.has_work()), (RuntimeStatus::Completed, 0, false));
    sim.check_quiet();
}

#[test]
fn an_alarm_is_taken_back_only_once_the_commit_has_landed_that_needs_it_no_more() {
    let mut sim = sim(Setup { exclusive: false, delivers_atomically: false, ..Setup::default() });
    sim.start("waits", "a", &json!(null));
    sim.pass(S);
    assert_eq!(sim.world.alarms().len(), 1);
    sim.store.follow(Plan::by(|call| if call.op == Op::Commit { Decision::FailBefore } else { Decision::Pass }));
    sim.raise(S, "a", "Go", &1, MessageId([1; 16]));
    sim.pass(S * 5);
    assert_eq!(sim.world.alarms().len(), 1, "the stored header still counts on it");
    sim.store.follow(Plan::none());
    sim.raise(S, "a", "Go", &1, MessageId([1; 16]));
    sim.pass(S * 60);
    assert_eq!((sim.header("a").status, sim.world.alarms().len()), (RuntimeStatus::Completed, 0));
}

#[test]
fn what_is_taken_over_from_a_dead_driver_has_a_safety_net_of_its_own() {
    let mut sim = sim(Setup { exclusive: false, delivers_atomically: false, ..Setup::default() });
    sim.world.slow("double", S * 600);
    sim.start("twice", "a", &4);
    sim.pass(S);
    sim.crash();
    let of_the_dead = sim.world.covers().len();
    let until = sim.header("a").claims[0].until;
    sim.run_until(until.after(S * 30));
    let header = sim.header("a");
    assert!(header.claims[0].until > until, "it is taken over");
    assert_eq!(sim.world.covers().len(), of_the_dead + 1);
}

/// How often the store was asked for the whole of an instance.
fn loads(sim: &Sim) -> usize {
    sim.store.log().iter().filter(|(call, _)| call.op == Op::Load).count()
}

#[test]
fn an_instance_that_does_nothing_between_two_rests_is_let_go_and_read_again_when_something_comes() {
    let mut sim = sim(Setup::default());
    sim.start("collects", "a", &json!(null));
    sim.pass(S);
    let raise = |sim: &mut Sim, n: u8| {
        sim.raise(Duration::ZERO, "a", "Go", &u64::from(n), MessageId([n; 16]));
        sim.pass(S);
        loads(sim)
    };
    let begun = raise(&mut sim, 1);
    sim.engine().rest();
    assert_eq!(raise(&mut sim, 2), begun, "it was busy a moment ago");
    sim.engine().rest();
    sim.pass(S);
    assert_eq!(raise(&mut sim, 3), begun, "it was busy since the last rest");
    sim.engine().rest();
    sim.engine().rest();
    sim.pass(S);
    assert_eq!(raise(&mut sim, 4), begun + 1);
    assert_eq!(sim.output("a"), json!([1, 2, 3, 4]));
}

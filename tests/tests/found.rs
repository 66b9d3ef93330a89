//! What the random suites found, each as a story of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that something is wrong")]

use std::time::Duration;

use durable::header::RuntimeStatus;
use durable::history::Event;
use durable::ids::MessageId;
use durable::message::{Message, MessageBody};
use durable::ports::{Delivered, Store};
use durable::{ActivityContext, App, AppBuilder, ClientError, Context, Error, EventName, Failure, Next, activity, boxed, orchestrator, race};
use durable_tests::faulty::{Decision, Op, Plan};
use durable_tests::sim::{Setup, Sim};
use serde_json::{Value, json};

const NOW: Duration = Duration::ZERO;
const S: Duration = Duration::from_secs(1);

const fn message(n: u8) -> MessageId {
    MessageId([n; 16])
}

fn checked() -> AppBuilder {
    App::builder().build_id("1").check_turns().activity(echo)
}

fn sim(app: AppBuilder) -> Sim {
    Sim::new(app.build().unwrap(), Setup::default())
}

#[activity]
async fn echo(value: Value) -> Result<Value, Failure> {
    Ok(value)
}

#[orchestrator]
async fn two_events(ctx: Context) -> Result<Vec<u64>, Error> {
    let mut events = ctx.events::<u64>(EventName::new("n"));
    Ok(vec![events.next().await?, events.next().await?])
}

#[test]
fn after_a_repeated_message_the_instance_takes_the_next_one_at_the_revision_where_it_stands() {
    let mut sim = sim(checked().orchestrator(two_events));
    sim.start("two_events", "a", &json!(null));
    sim.run();
    for n in [1, 1, 2] {
        sim.raise(NOW, "a", "n", &n, message(n));
        sim.run();
    }
    assert_eq!((sim.output("a"), sim.header("a").status), (json!([1, 2]), RuntimeStatus::Completed));
    sim.check_quiet();
}

#[orchestrator]
async fn tells_and_waits(ctx: Context) -> Result<(), Error> {
    ctx.set_custom_status("waiting")?;
    ctx.event::<u64>(EventName::new("n")).await?;
    ctx.timer(S).await;
    Ok(())
}

#[test]
fn a_custom_status_is_written_by_the_turn_that_set_it_and_not_again_after_a_replay() {
    let mut sim = sim(checked().orchestrator(tells_and_waits));
    sim.start("tells_and_waits", "a", &json!(null));
    sim.run();
    sim.raise(NOW, "a", "n", &1, message(1));
    sim.run();
    assert_eq!((sim.header("a").revision, sim.header("a").status), (3, RuntimeStatus::Completed), "start, event, timer");
}

#[orchestrator]
async fn choice_in_a_choice(ctx: Context) -> Result<u64, Error> {
    let _come_and_not_looked_at = ctx.event::<u64>(EventName::new("early"));
    ctx.timer(S).await;
    let inner = race([ctx.event::<u64>(EventName::new("n"))]);
    let (_, value) = race([boxed(async move { inner.await.1 })]).await;
    value
}

#[test]
fn a_race_in_a_race_waits_like_any_other() {
    let mut sim = sim(checked().orchestrator(choice_in_a_choice));
    sim.start("choice_in_a_choice", "a", &json!(null));
    sim.raise(NOW, "a", "early", &1, message(9));
    sim.run();
    assert_eq!(sim.header("a").fault, None);
    sim.raise(NOW, "a", "n", &1, message(1));
    sim.run();
    assert_eq!(sim.output("a"), json!(1));
}

#[activity(retry(first = "1h", attempts = 2))]
async fn second_time_lucky(ctx: ActivityContext, _: Value) -> Result<(), Failure> {
    if ctx.attempt() == 1 { Err(Failure::new("Net", "down")) } else { Ok(()) }
}

#[orchestrator]
async fn tries(ctx: Context) -> Result<(), Error> {
    ctx.activity(second_time_lucky, Value::Null).await
}

#[test]
fn an_instance_that_pauses_before_another_attempt_has_no_work_now() {
    let mut sim = sim(checked().activity(second_time_lucky).orchestrator(tries));
    sim.start("tries", "a", &json!(null));
    sim.pass(S * 60);
    assert!(!sim.header("a").has_work() && sim.world.covers().is_empty());
    sim.run();
    assert_eq!(sim.header("a").status, RuntimeStatus::Completed);
}

#[test]
fn a_suspended_instance_whose_activity_has_ended_has_no_work() {
    let mut sim = sim(checked().activity(second_time_lucky).orchestrator(tries));
    sim.start("tries", "a", &json!(null));
    sim.pass(S * 3_599);
    sim.world.slow_activities(S * 600);
    sim.pass(S * 5);
    let id = durable::InstanceId::new("a").unwrap();
    sim.ask(NOW, move |client| {
        let id = id.clone();
        Box::pin(async move { client.suspend(&id, "hold").await })
    });
    sim.pass(S * 3_600);
    assert_eq!(sim.header("a").status, RuntimeStatus::Suspended);
    sim.check_quiet();
}

#[orchestrator]
async fn one_call(ctx: Context) -> Result<Value, Error> {
    ctx.activity(echo, json!("done")).await
}

#[test]
fn a_start_whose_outcome_is_not_known_is_settled_by_its_life_and_driven() {
    let mut sim = sim(checked().orchestrator(one_call));
    sim.store.follow(Plan::nth_of(Op::Create, 0, Decision::ApplyThenUnknown));
    let start = sim.start("one_call", "a", &json!(null));
    sim.run();
    assert!(matches!(sim.answer(start), Some(Ok(()))));
    assert_eq!(sim.output("a"), json!("done"));
}

#[orchestrator]
async fn one_child(ctx: Context) -> Result<Value, Error> {
    ctx.activity(echo, json!(1)).await?;
    ctx.sub_orchestration(one_call, ()).await
}

#[test]
fn a_child_started_by_a_commit_whose_outcome_cannot_be_settled_is_driven() {
    let mut sim = sim(checked().orchestrator(one_call).orchestrator(one_child));
    let mut unsettled = false;
    sim.store.follow(Plan::by(move |call| match call.op {
        Op::Commit if call.nth == 0 => {
            unsettled = true;
            Decision::ApplyThenUnknown
        }
        Op::Load if std::mem::take(&mut unsettled) => Decision::FailBefore,
        _ => Decision::Pass,
    }));
    sim.start("one_child", "a", &json!(null));
    sim.run();
    assert_eq!(sim.output("a"), json!("done"));
    sim.check_quiet();
}

#[test]
fn what_a_dead_driver_had_claimed_is_run_when_its_claim_ends() {
    let mut sim = Sim::new(checked().orchestrator(one_call).build().unwrap(), Setup { exclusive: false, ..Setup::default() });
    sim.world.slow_activities(S * 3_600);
    sim.start("one_call", "a", &json!(null));
    sim.pass(S);
    sim.crash();
    sim.run();
    assert_eq!(sim.output("a"), json!("done"));
}

#[orchestrator]
async fn gives_up_later(ctx: Context) -> Result<bool, Error> {
    let early = ctx.event::<u64>(EventName::new("n")).timeout(S * 10).await.is_ok();
    ctx.timer(S * 60).await;
    Ok(early)
}

#[test]
fn an_alarm_that_was_kept_for_a_timer_that_went_is_armed_again_for_the_next() {
    let mut sim = sim(checked().orchestrator(gives_up_later));
    sim.start("gives_up_later", "a", &json!(null));
    sim.raise(S * 5, "a", "n", &1, message(1));
    sim.run();
    assert_eq!(sim.output("a"), json!(true));
}

#[orchestrator]
async fn counts_down(ctx: Context, n: u64) -> Result<Next<u64, u64>, Error> {
    if n > 2 {
        return Ok(Next::again(n - 1));
    }
    ctx.timer(S).await;
    Ok(Next::done(n))
}

#[test]
fn a_first_turn_that_continues_as_new_is_stored_with_its_new_input() {
    let mut sim = sim(checked().orchestrator(counts_down));
    sim.start("counts_down", "a", &json!(3));
    sim.pass(Duration::from_millis(500));
    assert_eq!(sim.stored("a").unwrap().input.stored().as_ref(), b"2");
    sim.crash();
    sim.run();
    assert_eq!((sim.output("a"), sim.header("a").execution), (json!(2), 1));
}

#[activity]
async fn slow(value: Value) -> Result<Value, Failure> {
    Ok(value)
}

#[activity]
async fn fails_once(ctx: ActivityContext, _: Value) -> Result<(), Failure> {
    // A rewind asks again under another effect.
    if ctx.idempotency_key().split('/').nth(3) == Some("0") { Err(Failure::new("Broken", "not yet")) } else { Ok(()) }
}

#[orchestrator]
async fn goes_on_after_a_rewind(ctx: Context) -> Result<u64, Error> {
    let _beside = ctx.activity(slow, json!("beside"));
    ctx.activity(fails_once, Value::Null).await?;
    ctx.event(EventName::new("n")).await
}

#[test]
fn an_activity_that_was_under_way_at_the_failure_is_nobodys_left_over_after_the_rewind() {
    let mut sim = sim(checked().activity(slow).activity(fails_once).orchestrator(goes_on_after_a_rewind));
    sim.world.slow("slow", S * 30);
    sim.start("goes_on_after_a_rewind", "a", &json!(null));
    sim.pass(S * 10);
    assert_eq!((sim.header("a").status, sim.header("a").orphans.len()), (RuntimeStatus::Failed, 1));
    let id = durable::InstanceId::new("a").unwrap();
    let rewound = sim.ask(NOW, move |client| {
        let id = id.clone();
        Box::pin(async move { client.rewind(&id, "mended").await })
    });
    sim.pass(S);
    assert!(matches!(sim.answer(rewound), Some(Ok(()))), "{:?}", sim.answer(rewound));
    sim.run();
    assert_eq!(sim.header("a").status, RuntimeStatus::Running);
    sim.check_quiet();
    sim.raise(NOW, "a", "n", &1, message(1));
    sim.run();
    assert_eq!(sim.output("a"), json!(1));
    sim.check_quiet();
}

#[orchestrator]
async fn works_when_told(ctx: Context) -> Result<Value, Error> {
    ctx.event::<u64>(EventName::new("n")).await?;
    ctx.activity(slow, json!("done")).await
}

#[test]
fn after_store_trouble_one_shard_drives_an_instance_once() {
    let mut sim = sim(checked().activity(slow).orchestrator(works_when_told));
    sim.world.slow("slow", S * 30);
    sim.start("works_when_told", "a", &json!(null));
    sim.pass(S);
    sim.crash();
    sim.store.follow(Plan::nth_of(Op::Load, sim.store.calls_of(Op::Load), Decision::FailBefore));
    sim.raise(NOW, "a", "n", &1, message(1));
    sim.run();
    assert_eq!(sim.output("a"), json!("done"));
    let header = sim.header("a");
    assert_eq!(sim.world.runs_of(&format!("a/{}/0/0/2", header.incarnation)), 1);
}

#[test]
fn a_rewind_of_an_instance_that_has_not_failed_is_refused() {
    let mut sim = sim(checked().orchestrator(two_events));
    sim.start("two_events", "a", &json!(null));
    let id = durable::InstanceId::new("a").unwrap();
    let asked = sim.ask(S, move |client| {
        let id = id.clone();
        Box::pin(async move { client.rewind(&id, "why not").await })
    });
    sim.run();
    assert!(matches!(sim.answer(asked), Some(Err(ClientError::NotFailed { status: RuntimeStatus::Running, .. }))), "{:?}", sim.answer(asked));
    assert_eq!(sim.header("a").revision, 1);
}

const MANY: u64 = durable::limits::INBOX_MESSAGES as u64 + 100;

#[orchestrator]
async fn takes_many(ctx: Context) -> Result<u64, Error> {
    let mut events = ctx.events::<u64>(EventName::new("n"));
    for _ in 0..MANY {
        events.next().await?;
    }
    events.next().await
}

#[orchestrator]
async fn sends_one(ctx: Context) -> Result<(), Error> {
    let to = durable::InstanceId::new("b").map_err(Error::from)?;
    ctx.send_event::<u64>(&to, EventName::new("n"), 4_711)?;
    Ok(())
}

#[test]
fn what_an_instance_sends_to_a_full_inbox_waits_and_is_not_lost() {
    let setup = || Setup { delivers_atomically: false, ..Setup::default() };
    let mut sim = Sim::new(App::builder().build_id("1").orchestrator(takes_many).orchestrator(sends_one).build().unwrap(), setup());
    sim.start("takes_many", "b", &json!(null));
    sim.run();
    // A build that cannot drive it: messages collect.
    sim.deploy(App::builder().build_id("2").orchestrator(sends_one).build().unwrap());
    let number = |n: u64| MessageId(u128::from(n + 1).to_be_bytes());
    for n in 0..MANY {
        sim.raise(NOW, "b", "n", &n, number(n));
    }
    sim.pass(S * 10);
    assert_eq!(sim.stored("b").unwrap().inbox.len(), durable::limits::INBOX_MESSAGES);
    sim.start("sends_one", "a", &json!(null));
    sim.pass(S * 10);
    assert_eq!(sim.header("a").outbox.len(), 1);
    sim.deploy(App::builder().build_id("3").orchestrator(takes_many).orchestrator(sends_one).build().unwrap());
    sim.run();
    assert!(sim.header("a").outbox.is_empty());
    assert_eq!(sim.header("b").status, RuntimeStatus::Completed);
    sim.check_quiet();
}

#[orchestrator]
async fn fails_by_itself(_: Context) -> Result<(), Error> {
    Err(Failure::new("Asked", "as asked").into())
}

#[orchestrator]
async fn has_a_child_that_fails(ctx: Context) -> Result<String, Error> {
    let ended = ctx.sub_orchestration(fails_by_itself, ()).instance_id("own").await;
    Ok(ended.err().and_then(|e| e.failure().map(|failure| failure.kind.clone())).unwrap_or_default())
}

/// Its child is to have its own id, which is in use.
#[orchestrator]
async fn names_its_child_like_itself(ctx: Context) -> Result<(), Error> {
    ctx.sub_orchestration(fails_by_itself, ()).instance_id(ctx.instance_id().as_str()).await
}

fn rewind(sim: &mut Sim, id: &'static str) -> usize {
    sim.ask(NOW, move |client| Box::pin(async move { client.rewind(&durable::InstanceId::new(id).unwrap(), "again").await }))
}

#[test]
fn a_child_that_fails_again_at_once_after_a_rewind_tells_its_parent_at_once() {
    let mut sim = sim(checked().orchestrator(fails_by_itself).orchestrator(has_a_child_that_fails));
    sim.start("has_a_child_that_fails", "a", &json!(null));
    sim.run();
    let asked = rewind(&mut sim, "own");
    sim.run();
    assert!(matches!(sim.answer(asked), Some(Ok(()))));
    assert_eq!((sim.header("own").status, sim.header("own").outbox.len(), sim.output("a")), (RuntimeStatus::Failed, 0, json!("Asked")));
    sim.check_quiet();
}

#[test]
fn a_rewind_leaves_alone_whoever_has_the_id_that_a_child_was_to_have() {
    let mut sim = sim(checked().orchestrator(fails_by_itself).orchestrator(names_its_child_like_itself));
    sim.start("names_its_child_like_itself", "a", &json!(null));
    sim.run();
    assert_eq!(sim.header("a").failure.unwrap().kind, "InstanceInUse");
    let asked = rewind(&mut sim, "a");
    sim.pass(S * 30);
    assert!(matches!(sim.answer(asked), Some(Ok(()))), "it does not wait for itself");
    assert_eq!((sim.header("a").status, sim.header("a").epoch), (RuntimeStatus::Failed, 1));
    sim.check_quiet();
}

#[test]
fn what_another_driver_has_acknowledged_is_taken_before_what_is_asked_after_that() {
    let mut sim = Sim::new(checked().orchestrator(two_events).build().unwrap(), Setup { exclusive: false, ..Setup::default() });
    sim.start("two_events", "a", &json!(null));
    sim.run();
    let body = MessageBody::EventRaised { name: "n".into(), data: sim.app().encode(&1).unwrap() };
    let raised = Message { id: message(1), arrived: sim.world.now(), sender: None, keyed: true, body };
    let delivered = futures_executor::block_on(sim.store.inner().deliver(&durable::InstanceId::new("a").unwrap(), None, raised)).unwrap();
    assert_eq!(delivered, Delivered::Delivered);
    sim.raise(NOW, "a", "n", &2, message(2));
    sim.run();
    assert_eq!(sim.output("a"), json!([1, 2]));
}

#[orchestrator]
async fn takes(ctx: Context, count: usize) -> Result<Vec<u64>, Error> {
    let (mut events, mut all) = (ctx.events::<u64>(EventName::new("n")), Vec::new());
    while all.len() < count {
        all.push(events.next().await?);
    }
    Ok(all)
}

/// Raises as many events at once, so slowly answered that they are stored plainly beside the turns that take them.
fn many_at_once(sim: &mut Sim, count: u8) {
    sim.world.slow_calls(S * 8);
    for n in 0..count {
        sim.raise(Duration::from_millis(u64::from(n)), "a", "n", &n, message(n));
    }
    sim.run();
}

#[test]
fn events_whose_answers_take_too_long_are_taken_once_however_many_there_are() {
    for seed in 0..20 {
        for exclusive in [true, false] {
            let setup = Setup { seed, exclusive, ..Setup::default() };
            let mut sim = Sim::new(checked().orchestrator(takes).build().unwrap(), setup);
            sim.start("takes", "a", &200);
            sim.run();
            many_at_once(&mut sim, 200);
            let mut taken: Vec<u64> = serde_json::from_value(sim.output("a")).unwrap();
            taken.sort_unstable();
            assert!(taken.into_iter().eq(0..200), "seed {seed}");
        }
    }
}

#[test]
fn events_that_nobody_takes_are_unprocessed_once_however_many_there_are() {
    for seed in 0..20 {
        let mut sim = Sim::new(checked().orchestrator(takes).build().unwrap(), Setup { seed, ..Setup::default() });
        sim.start("takes", "a", &1);
        sim.run();
        many_at_once(&mut sim, 200);
        let mut unprocessed: Vec<Event> = sim.history("a").into_iter().filter(|event| matches!(event, Event::EventUnprocessed { .. })).collect();
        let all = unprocessed.len();
        unprocessed.dedup();
        assert_eq!(unprocessed.len(), all, "seed {seed}");
    }
}

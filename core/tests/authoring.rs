//! What orchestrators can ask for, and what they get.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so, and some orchestrators misbehave on purpose")]

mod common;

use std::time::Duration;

use common::{Bench, checked};
use durable::header::{Delivery, RuntimeStatus};
use durable::history::Event;
use durable::message::{MessageBody, Outcome};
use durable::{Context, Error, EventName, Failure, Next, RetryPolicy, activity, as_completed, join_all, orchestrator, race};
use serde_json::{Value, json};

const S: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const APPROVAL: EventName<bool> = EventName::new("Approval");

#[activity]
async fn double(n: u64) -> Result<u64, Failure> {
    Ok(n * 2)
}

#[activity(retry(first = "1s", attempts = 3, except = ["Fatal"]))]
async fn flaky(n: u64) -> Result<u64, Failure> {
    Ok(n)
}

#[orchestrator]
async fn two_steps(ctx: Context, n: u64) -> Result<u64, Error> {
    let n = ctx.activity(double, n).await?;
    ctx.event::<Value>(EventName::new("Go")).await?;
    ctx.activity(double, n).await
}

#[test]
fn the_base_lifecycle_is_four_turns_and_survives_a_restart_between_any_two() {
    for restart in [false, true] {
        let mut bench = Bench::new(checked().orchestrator(two_steps).activity(double).build().unwrap(), "two_steps", json!(5));
        let pause = |bench: &mut Bench| {
            if restart {
                bench.forget()
            }
        };
        bench.turn(&[]).unwrap();
        pause(&mut bench);
        assert_eq!(bench.complete(json!(10)).name, "double");
        assert!(!bench.header.has_work());
        pause(&mut bench);
        bench.raise("go", json!(null));
        assert_eq!(bench.header.open_activities, 1);
        pause(&mut bench);
        bench.complete(json!(20));
        assert_eq!((bench.status(), bench.output(), bench.header.revision), (RuntimeStatus::Completed, json!(20), 5));
    }
}

#[orchestrator]
async fn side_by_side(ctx: Context) -> Result<u64, Error> {
    let (a, b) = (ctx.activity(double, 1), ctx.activity(double, 2));
    Ok(a.await? + b.await?)
}

#[test]
fn calls_made_before_the_first_await_run_side_by_side() {
    let mut bench = Bench::started(checked().orchestrator(side_by_side).build().unwrap(), "side_by_side", json!(null));
    assert_eq!(bench.tasks.len(), 2);
    bench.tasks.swap(0, 1);
    bench.complete(json!(40));
    bench.complete(json!(2));
    assert_eq!(bench.output(), json!(42));
}

#[orchestrator]
async fn retries(ctx: Context, n: u64) -> Result<u64, Error> {
    ctx.activity(flaky, n).await
}

#[test]
fn a_failed_attempt_is_made_again_by_the_policy_under_the_same_idempotency_key() {
    let mut bench = Bench::started(checked().orchestrator(retries).build().unwrap(), "retries", json!(1));
    let first = bench.fail("Net");
    assert!(bench.tasks.is_empty());
    bench.forget();
    bench.pass(S);
    let second = bench.fail("Net");
    assert_eq!((first.effect.to_string(), first.attempt), (second.effect.to_string(), second.attempt - 1));
    bench.pass(S);
    assert!(bench.tasks.is_empty(), "the second pause is twice as long");
    bench.pass(S);
    bench.forget();
    bench.complete(json!(7));
    assert_eq!(bench.output(), json!(7));
}

#[test]
fn a_failure_reaches_the_orchestrator_with_its_type_when_the_policy_is_at_its_end() {
    for (kinds, attempts) in [(vec!["Net", "Net", "Net"], 3), (vec!["Fatal"], 1)] {
        let mut bench = Bench::started(checked().orchestrator(retries).build().unwrap(), "retries", json!(1));
        for kind in &kinds {
            assert_eq!(bench.status(), RuntimeStatus::Running);
            bench.fail(kind);
            bench.pass(S * 10);
        }
        assert_eq!(bench.status(), RuntimeStatus::Failed);
        assert_eq!(bench.header.failure.as_ref().unwrap().kind, kinds[0]);
        assert_eq!(kinds.len(), attempts);
    }
}

#[test]
fn a_late_or_repeated_result_changes_nothing() {
    let mut bench = Bench::started(checked().orchestrator(retries).build().unwrap(), "retries", json!(1));
    let task = bench.tasks[0].clone();
    bench.fail("Net");
    let stale = bench.ended(&task, Outcome::Failed(Failure::new("Net", "again")));
    let events = bench.history.len();
    bench.turn(&[stale]).unwrap();
    assert_eq!(bench.history.len(), events);
    let value = bench.app.encode(&9).unwrap();
    let late = bench.ended(&task, Outcome::Completed(value.clone()));
    let again = bench.ended(&task, Outcome::Completed(value));
    bench.turn(&[late, again]).unwrap();
    assert_eq!(bench.output(), json!(9), "a value of an earlier attempt is as good");
    assert_eq!(bench.events().iter().filter(|e| matches!(e, Event::ActivityCompleted { .. })).count(), 1);
}

#[orchestrator]
async fn approval(ctx: Context) -> Result<Value, Error> {
    match ctx.event(&APPROVAL).timeout(DAY).await {
        Ok(approved) => Ok(json!(approved)),
        Err(e) if e.is_timeout() => {
            let late = ctx.event(&APPROVAL).await?;
            Ok(json!({ "late": late }))
        }
        Err(e) => Err(e),
    }
}

#[test]
fn a_wait_takes_an_event_within_its_time_and_its_timer_goes() {
    let mut bench = Bench::started(checked().orchestrator(approval).build().unwrap(), "approval", json!(null));
    assert_eq!(bench.header.due(), Some(bench.now.after(DAY)));
    bench.raise("approval", json!(true));
    assert_eq!((bench.output(), bench.header.due()), (json!(true), None));
}

#[test]
fn a_wait_that_ran_out_never_swallows_a_later_event() {
    let mut bench = Bench::started(checked().orchestrator(approval).build().unwrap(), "approval", json!(null));
    bench.pass(DAY);
    assert_eq!(bench.header.due(), None);
    bench.raise("Approval", json!(false));
    assert_eq!(bench.output(), json!({ "late": false }));
}

#[test]
fn what_was_due_before_an_event_arrived_wins_even_if_both_are_taken_in_one_turn() {
    for (arrives, expected) in [(DAY + S, json!({ "late": true })), (DAY - S, json!(true))] {
        let mut bench = Bench::started(checked().orchestrator(approval).build().unwrap(), "approval", json!(null));
        let begun = bench.now;
        bench.now = begun.after(arrives);
        let event = bench.event("Approval", json!(true));
        bench.now = begun.after(DAY * 3);
        bench.forget();
        bench.turn(&[event]).unwrap();
        assert_eq!(bench.output(), expected);
    }
}

#[orchestrator]
async fn collects(ctx: Context, n: usize) -> Result<Vec<u64>, Error> {
    let mut events = ctx.events::<u64>(EventName::new("n"));
    ctx.timer(S).await;
    let mut all = Vec::new();
    while all.len() < n {
        all.push(events.next().await?);
    }
    Ok(all)
}

#[test]
fn events_are_kept_when_early_and_come_first_in_first_out_once_each() {
    let mut bench = Bench::started(checked().orchestrator(collects).build().unwrap(), "collects", json!(3));
    bench.raise("N", json!(1));
    let two = bench.event("n", json!(2));
    bench.turn(&[two.clone(), two.clone()]).unwrap();
    bench.turn(&[two]).unwrap();
    bench.forget();
    bench.pass(S);
    bench.raise("n", json!(3));
    assert_eq!(bench.output(), json!([1, 2, 3]));
}

#[orchestrator]
async fn first_of(ctx: Context, by_list: bool) -> Result<String, Error> {
    let (a, b) = (ctx.event::<String>(EventName::new("a")), ctx.event::<String>(EventName::new("b")));
    ctx.timer(S).await;
    if by_list {
        return race([a, b]).await.1;
    }
    durable::select! {
        a = a => a,
        b = b => b,
        _ = ctx.timer(DAY) => Ok("late".to_owned()),
    }
}

#[test]
fn the_winner_is_the_earliest_in_history_also_among_those_there_before_the_choice() {
    for by_list in [false, true] {
        let mut bench = Bench::started(checked().orchestrator(first_of).build().unwrap(), "first_of", json!(by_list));
        bench.raise("b", json!("b"));
        bench.raise("a", json!("a"));
        bench.forget();
        bench.pass(S);
        assert_eq!(bench.output(), json!("b"));
        assert_eq!(bench.header.due(), None, "the loser's timer is cancelled");
    }
}

#[orchestrator]
async fn as_they_come(ctx: Context) -> Result<Vec<u64>, Error> {
    let calls = (0..4).map(|n| ctx.activity(double, n)).collect::<Vec<_>>();
    let mut done = as_completed(calls);
    let mut order = Vec::new();
    while let Some((_, value)) = done.next().await {
        order.push(value?);
        if order.len() == 1 {
            ctx.timer(S).await;
        }
    }
    Ok(order)
}

#[test]
fn as_completed_gives_results_in_the_order_of_history() {
    let mut bench = Bench::started(checked().orchestrator(as_they_come).build().unwrap(), "as_they_come", json!(null));
    bench.tasks.reverse();
    for value in [3, 2, 1] {
        bench.complete(json!(value));
    }
    bench.forget();
    bench.pass(S);
    bench.complete(json!(0));
    assert_eq!(bench.output(), json!([3, 2, 1, 0]));
}

#[orchestrator]
async fn bounded(ctx: Context) -> Result<u64, Error> {
    let all = ctx.map(0..6_u64, |ctx, n| async move { ctx.activity(double, n).await }).at_most(2).await;
    all.into_iter().sum()
}

#[test]
fn a_bounded_fan_out_never_runs_more_than_its_bound() {
    let mut bench = Bench::started(checked().orchestrator(bounded).build().unwrap(), "bounded", json!(null));
    for n in 0..6 {
        assert!(bench.tasks.len() <= 2);
        assert_eq!(bench.header.open_activities as usize, bench.tasks.len());
        bench.complete(json!(n * 2));
    }
    assert_eq!(bench.output(), json!(30));
}

#[orchestrator]
async fn wide(ctx: Context, n: u64) -> Result<usize, Error> {
    let all = join_all((0..n).map(|i| ctx.activity(double, i))).await;
    Ok(all.len())
}

#[test]
fn a_fan_in_of_ten_thousand_is_linear() {
    let app = durable::App::builder().orchestrator(wide).build().unwrap();
    let mut bench = Bench::started(app, "wide", json!(10_000));
    assert_eq!(bench.tasks.len(), 10_000);
    let tasks = std::mem::take(&mut bench.tasks);
    for chunk in tasks.chunks(64) {
        let messages: Vec<_> = chunk
            .iter()
            .map(|task| {
                let value = bench.app.encode(&1).unwrap();
                bench.ended(task, Outcome::Completed(value))
            })
            .collect();
        assert_eq!(bench.turn(&messages).unwrap().taken, messages.len());
    }
    assert_eq!(bench.output(), json!(10_000));
}

#[orchestrator]
async fn forever(ctx: Context, n: u64) -> Result<Next<u64, u64>, Error> {
    if n == 0 {
        ctx.timer(S).await;
    }
    let add: u64 = ctx.event(EventName::new("add")).await?;
    let _unclaimed_wait_is_dropped = ctx.event::<u64>(EventName::new("add"));
    if n + add >= 6 { Ok(Next::done(n + add)) } else { Ok(Next::again(n + add)) }
}

#[test]
fn unclaimed_events_survive_continue_as_new_in_order() {
    let mut bench = Bench::started(checked().orchestrator(forever).build().unwrap(), "forever", json!(0));
    let all: Vec<_> = (1..=3).map(|n| bench.event("Add", json!(n))).collect();
    bench.turn(&all).unwrap();
    bench.pass(S);
    assert_eq!((bench.status(), bench.header.execution), (RuntimeStatus::ContinuedAsNew, 1));
    assert_eq!(bench.header.events, 2, "the two that nobody took");
    while bench.header.has_work() {
        bench.forget();
        bench.turn(&[]).unwrap();
    }
    assert_eq!((bench.output(), bench.header.execution), (json!(6), 2));
}

#[test]
fn what_the_turn_that_continues_as_new_did_not_take_stays_in_the_inbox() {
    let mut bench = Bench::started(checked().orchestrator(forever).build().unwrap(), "forever", json!(1));
    let (first, second) = (bench.event("add", json!(1)), bench.event("add", json!(4)));
    assert_eq!(bench.turn(&[first, second.clone()]).unwrap().taken, 1);
    bench.turn(&[second]).unwrap();
    assert_eq!(bench.output(), json!(6));
}

#[orchestrator]
async fn parent(ctx: Context) -> Result<u64, Error> {
    let detached = ctx.sub_orchestration(two_steps, 9).instance_id("own-id").detach()?;
    ctx.send_event::<String>(&detached, EventName::new("Go"), "now".to_owned())?;
    ctx.sub_orchestration(two_steps, 3).await
}

#[test]
fn a_sub_orchestration_is_started_with_its_parent_and_its_outcome_comes_back() {
    let mut bench = Bench::started(checked().orchestrator(parent).orchestrator(two_steps).build().unwrap(), "parent", json!(null));
    let deliveries = bench.last.clone().unwrap().deliveries;
    let [
        Delivery::Start { instance, header, if_refused: None, .. },
        Delivery::Message { to, message, .. },
        Delivery::Start { instance: child, header: awaited, .. },
    ] = &deliveries[..]
    else {
        panic!("{deliveries:?}")
    };
    assert_eq!((instance.as_str(), to.as_str()), ("own-id", "own-id"));
    assert!(!header.parent.as_ref().unwrap().awaited && awaited.parent.as_ref().unwrap().awaited);
    assert!(matches!(&message.body, MessageBody::EventRaised { name, .. } if name == "Go") && message.sender.as_ref().unwrap().number == 1);
    let sequence = awaited.parent.as_ref().unwrap().sequence;
    let outcome = Outcome::Completed(bench.app.encode(&12).unwrap());
    let ended = bench.message(MessageBody::ChildEnded { execution: 0, sequence, child: child.clone(), outcome });
    bench.forget();
    bench.turn(&[ended]).unwrap();
    assert_eq!(bench.output(), json!(12));
}

#[test]
fn terminate_ends_the_instance_with_the_reason_and_reaches_the_children_that_are_awaited() {
    let mut bench = Bench::started(checked().orchestrator(parent).orchestrator(two_steps).build().unwrap(), "parent", json!(null));
    let early = bench.event("nobody", json!(1));
    let stop = bench.message(MessageBody::Terminate { reason: "enough".into() });
    let late = bench.event("nobody", json!(2));
    let deliveries = bench.turn(&[early, stop, late]).unwrap().deliveries.clone();
    assert_eq!((bench.status(), bench.output()), (RuntimeStatus::Terminated, json!("enough")));
    assert!(matches!(&deliveries[..], [Delivery::Message { message, .. }] if matches!(message.body, MessageBody::Terminate { .. })), "{deliveries:?}");
    assert!(matches!(bench.events().last(), Some(Event::EventUnprocessed { .. })));
}

#[test]
fn while_suspended_messages_are_recorded_and_time_waits_and_resume_applies_all_in_order() {
    let mut bench = Bench::started(checked().orchestrator(collects).build().unwrap(), "collects", json!(2));
    let suspend = bench.message(MessageBody::Suspend { reason: "hold".into() });
    bench.turn(&[suspend]).unwrap();
    assert_eq!((bench.status(), bench.header.due()), (RuntimeStatus::Suspended, None));
    bench.raise("n", json!(1));
    bench.pass(DAY);
    bench.forget();
    bench.raise("n", json!(2));
    assert_eq!(bench.status(), RuntimeStatus::Suspended);
    let resume = bench.message(MessageBody::Resume { reason: "go on".into() });
    bench.forget();
    bench.turn(&[resume]).unwrap();
    assert_eq!((bench.status(), bench.output()), (RuntimeStatus::Completed, json!([1, 2])));
}

#[orchestrator]
async fn draws(ctx: Context) -> Result<Vec<String>, Error> {
    let mut drawn = vec![ctx.random().to_string(), ctx.uuid().to_string(), ctx.now().to_string()];
    ctx.timer(S).await;
    drawn.extend([ctx.random().to_string(), ctx.uuid().to_string(), ctx.now().to_string()]);
    Ok(drawn)
}

#[test]
fn time_and_randomness_are_the_same_on_replay_and_never_repeat() {
    let run = |restart: bool| {
        let mut bench = Bench::started(checked().orchestrator(draws).build().unwrap(), "draws", json!(null));
        if restart {
            bench.forget();
        }
        bench.pass(S * 5);
        bench.output()
    };
    let drawn = run(false);
    assert_eq!(drawn, run(true));
    let all: std::collections::BTreeSet<_> = drawn.as_array().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(all.len(), 6);
}

#[orchestrator]
async fn tells(ctx: Context) -> Result<(), Error> {
    ctx.set_custom_status("half")?;
    let too_large = ctx.set_custom_status(&"x".repeat(8 * 1024));
    assert!(matches!(too_large, Err(Error::CustomStatusTooLarge { bytes: 16388 })));
    ctx.timer(S).await;
    Ok(())
}

#[test]
fn a_custom_status_is_shown_and_one_beyond_16_kb_is_refused() {
    let bench = Bench::started(checked().orchestrator(tells).build().unwrap(), "tells", json!(null));
    assert_eq!(bench.custom_status.unwrap().stored().as_ref(), b"\"half\"");
}

#[orchestrator]
async fn fire_and_forget(ctx: Context) -> Result<(), Error> {
    let audit = ctx.activity(double, 1).retry(RetryPolicy::fixed(S, 9));
    ctx.timer(S).await;
    drop(audit);
    Ok(())
}

#[test]
fn an_activity_that_nobody_waits_for_any_more_is_still_run_and_then_forgotten() {
    let mut bench = Bench::started(checked().orchestrator(fire_and_forget).build().unwrap(), "fire_and_forget", json!(null));
    bench.pass(S);
    assert_eq!(bench.status(), RuntimeStatus::Completed);
    assert_eq!(bench.header.orphans.len(), 1);
    assert!(bench.header.has_work());
    bench.complete(json!(2));
    assert!(!bench.header.has_work());
}

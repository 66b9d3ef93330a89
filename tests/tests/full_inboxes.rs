//! Inboxes without room, where a store delivers one message at a time: who sends waits without cost, holds nothing else up, and nothing is lost.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "test code")]

use std::time::Duration;

use durable::header::{Held, RuntimeStatus};
use durable::ids::MessageId;
use durable::{App, AppBuilder, Context, Error, EventName, InstanceId, Timestamp, join_all, limits, orchestrator};
use durable_tests::faulty::{Decision, Plan};
use durable_tests::sim::{Setup, Sim};
use serde_json::json;

const NOW: Duration = Duration::ZERO;
const DAY: Duration = Duration::from_secs(86_400);

const ITEM: EventName<u64> = EventName::new("Item");

/// Takes so many items.
#[orchestrator]
async fn collects(ctx: Context, count: u64) -> Result<Vec<u64>, Error> {
    let (mut items, mut all) = (ctx.events(ITEM), Vec::new());
    for _ in 0..count {
        all.push(items.next().await?);
    }
    Ok(all)
}

/// Sends these items to these instances.
#[orchestrator]
async fn tells(ctx: Context, to: Vec<(String, u64)>) -> Result<(), Error> {
    for (instance, item) in to {
        ctx.send_event(&InstanceId::new(instance).unwrap(), ITEM, item)?;
    }
    Ok(())
}

#[orchestrator]
async fn echoes(_: Context, n: u64) -> Result<u64, Error> {
    Ok(n)
}

/// Waits for its children, which end one after the other.
#[orchestrator]
async fn gathers(ctx: Context, count: u64) -> Result<u64, Error> {
    let all = join_all((0..count).map(|n| ctx.sub_orchestration(rests, n))).await;
    all.into_iter().sum()
}

#[orchestrator]
async fn rests(ctx: Context, n: u64) -> Result<u64, Error> {
    ctx.timer(Duration::from_secs(3_600 + n)).await;
    Ok(n)
}

/// Asks for children of the same id, of which one at a time can be.
#[orchestrator]
async fn crowds(ctx: Context, count: u64) -> Result<u64, Error> {
    let all = join_all((0..count).map(|n| ctx.sub_orchestration(echoes, n).instance_id("child"))).await;
    Ok(all.into_iter().filter(Result::is_ok).count() as u64)
}

fn senders(build: &str) -> AppBuilder {
    App::builder().build_id(build).check_turns().orchestrator(tells).orchestrator(echoes).orchestrator(rests).orchestrator(crowds)
}

/// Without those whose inboxes these stories are about.
fn broken() -> App {
    senders("broken").build().unwrap()
}

fn whole() -> App {
    senders("whole").orchestrator(collects).orchestrator(gathers).build().unwrap()
}

fn sim(room: usize) -> Sim {
    Sim::new(whole(), Setup { delivers_atomically: false, exclusive: false, room, ..Setup::default() })
}

#[test]
fn pauses_double_up_to_the_longest_and_begin_anew_where_something_found_room() {
    let at = |secs: i64| Timestamp(secs * 1_000_000);
    let first = Held::again(None, at(0));
    assert_eq!(first, Held { tries: 1, until: at(1) });
    let second = Held::again(Some(first), at(1));
    assert_eq!(second, Held { tries: 2, until: at(3) });
    let many = Held { tries: u32::MAX, until: at(0) };
    assert_eq!(Held::again(Some(many), at(0)).until, at(0).after(limits::ROOM_LONGEST));
}

/// `full` bears a fault, and its inbox of two holds all it can; `free` waits for an item.
fn one_is_full(sim: &mut Sim) {
    sim.start("collects", "full", &4);
    sim.start("collects", "free", &1);
    sim.pass(DAY);
    sim.deploy(broken());
    for n in 1..=2 {
        sim.raise(NOW, "full", "Item", &n, MessageId([n; 16]));
        sim.pass(DAY);
    }
    let full = sim.stored("full").unwrap();
    assert!(full.header.fault.is_some() && full.inbox.len() == 2);
}

#[test]
fn what_finds_no_room_for_days_costs_little_and_arrives_when_there_is_room() {
    let mut sim = sim(2);
    one_is_full(&mut sim);
    sim.start("tells", "a", &json!([["full", 3], ["full", 4]]));
    sim.pass(DAY);
    let sender = sim.header("a");
    assert_eq!((sender.status, sender.outbox.len(), sender.has_work()), (RuntimeStatus::Completed, 2, false));
    assert!(sim.world.covers().is_empty() && sender.alarm_at.is_some(), "an alarm is all that it needs");
    assert!(sender.revision < 24 * 6 + 20, "tried every ten minutes, and the first times sooner: {} commits", sender.revision);
    sim.deploy(whole());
    sim.pass(limits::ROOM_LONGEST);
    assert_eq!(sim.output("full"), json!([1, 2, 3, 4]), "in order");
    let sender = sim.header("a");
    assert_eq!((sender.outbox.len(), sender.held, sender.alarm_at), (0, None, None));
    sim.run();
}

#[test]
fn what_goes_elsewhere_does_not_wait_for_it() {
    let mut sim = sim(2);
    one_is_full(&mut sim);
    sim.deploy(senders("broken in another way").build().unwrap());
    sim.start("tells", "a", &json!([["full", 3], ["free", 7], ["full", 4]]));
    sim.pass(Duration::from_secs(60));
    assert_eq!(sim.stored("free").unwrap().inbox.len(), 1, "the item is there");
    sim.deploy(whole());
    sim.pass(limits::ROOM_LONGEST);
    assert_eq!((sim.output("free"), sim.output("full")), (json!([7]), json!([1, 2, 3, 4])));
}

#[test]
fn the_ends_of_children_wait_for_a_parent_that_cannot_take_them() {
    let mut sim = sim(2);
    sim.start("gathers", "parent", &6);
    sim.pass(Duration::from_secs(1_800));
    sim.deploy(broken());
    sim.pass(3 * DAY);
    let parent = sim.stored("parent").unwrap();
    assert!(parent.header.fault.is_some() && parent.inbox.len() == 2);
    let held = sim.all().into_iter().filter(|(_, loaded)| loaded.header.held.is_some()).count();
    assert_eq!(held, 4, "the other children keep what they have to say");
    sim.deploy(whole());
    sim.pass(limits::ROOM_LONGEST);
    assert_eq!(sim.output("parent"), json!(15));
    sim.run();
    sim.check_quiet();
}

#[test]
fn a_parent_that_lacks_room_itself_takes_what_it_has_and_starts_no_child_twice() {
    let mut sim = sim(1);
    sim.start("crowds", "parent", &12);
    sim.run();
    sim.check_quiet();
    assert_eq!(sim.header("parent").status, RuntimeStatus::Completed);
    let lives = sim.store.inner().executions().into_iter().filter(|((id, ..), _)| id.as_str() == "child").count() as u64;
    assert_eq!(sim.output("parent"), json!(lives), "each life of the child ended once, and was told of");
}

#[test]
fn what_takes_long_to_hand_on_is_noted_piece_by_piece() {
    let mut sim = sim(1_000);
    sim.start("collects", "b", &100);
    sim.run();
    sim.world.slow_calls(Duration::from_secs(1));
    sim.start("tells", "a", &json!((0..100).map(|n| ("b", n)).collect::<Vec<_>>()));
    sim.run();
    assert_eq!(sim.output("b"), json!((0..100).collect::<Vec<_>>()));
    assert!((5..30).contains(&sim.header("a").revision), "a commit for some seconds, not for each message: {}", sim.header("a").revision);
}

/// The whole story of an inbox that is full for an hour, with trouble at one call of the store. Gives how many calls there were.
fn full_for_an_hour(trouble: Option<(u64, Decision)>) -> u64 {
    let mut sim = sim(2);
    if let Some((number, decision)) = trouble {
        let world = std::sync::Arc::downgrade(&sim.world);
        sim.store.follow(Plan::by(move |call| {
            let here = call.number == number;
            if here && matches!(decision, Decision::Halt | Decision::ApplyThenHalt) {
                world.upgrade().unwrap().ask_for_crash();
            }
            if here { decision } else { Decision::Pass }
        }));
    }
    one_is_full(&mut sim);
    sim.start("tells", "a", &json!([["full", 3], ["free", 7], ["full", 4]]));
    sim.pass(Duration::from_secs(3_600));
    assert!(sim.header("a").held.is_some() && sim.stored("free").unwrap().inbox.len() == 1);
    sim.deploy(whole());
    sim.run();
    sim.check_quiet();
    assert_eq!((sim.output("free"), sim.output("full")), (json!([7]), json!([1, 2, 3, 4])));
    sim.store.calls()
}

#[test]
fn whatever_fails_or_dies_at_any_call_what_was_held_back_arrives_once_and_in_order() {
    for number in 0..full_for_an_hour(None) {
        for decision in [Decision::Halt, Decision::ApplyThenHalt, Decision::FailBefore, Decision::ApplyThenUnknown] {
            println!("{decision:?} at call {number}");
            full_for_an_hour(Some((number, decision)));
        }
    }
}

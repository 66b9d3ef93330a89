//! What the random suites found, each as a story of its own.

use std::time::Duration;

use durable::header::RuntimeStatus;
use durable::ids::MessageId;
use durable::{App, AppBuilder, Context, Error, EventName, Failure, activity, boxed, orchestrator, race};
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
    let inner = race([ctx.event::<u64>(EventName::new("n"))]);
    let (_, value) = race([boxed(async move { inner.await.1 })]).await;
    value
}

#[test]
fn a_race_in_a_race_waits_like_any_other() {
    let mut sim = sim(checked().orchestrator(choice_in_a_choice));
    sim.start("choice_in_a_choice", "a", &json!(null));
    sim.run();
    assert_eq!(sim.header("a").fault, None);
    sim.raise(NOW, "a", "n", &1, message(1));
    sim.run();
    assert_eq!(sim.output("a"), json!(1));
}

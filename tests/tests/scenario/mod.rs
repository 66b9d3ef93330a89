//! The scenarios of the crash walk, and the walk itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use durable::header::RuntimeStatus;
use durable::history::Event;
use durable::ids::MessageId;
use durable::{ActivityContext, App, Client, ClientError, Context, Error, EventName, Failure, InstanceId, Next, activity, join, orchestrator};
use durable_tests::faulty::{Decision, Plan};
use durable_tests::sim::{Setup, Sim};
use serde_json::{Value, json};

const NOW: Duration = Duration::ZERO;
const S: Duration = Duration::from_secs(1);

/// Whether the world outside has been mended: activities that fail until then.
#[derive(Default)]
pub struct Outside {
    mended: Arc<AtomicBool>,
}

/// One step of a scenario.
pub type Act = fn(&mut Sim, &Outside);

/// A scenario: how it begins, what is done once it has come to rest, and how it ends.
pub struct Story<'a> {
    pub name: &'a str,
    /// Instances whose histories are checked.
    pub roots: &'a [&'a str],
    pub begin: Act,
    pub after: &'a [Act],
    /// Outputs at the end; none at all means that nothing is stored.
    pub outcome: &'a [(&'a str, &'a str)],
}

/// Tells it once undisturbed, and then with a crash before and after each store call in turn.
pub fn walk(story: &Story<'_>) {
    for delivers_atomically in [true, false] {
        let calls = tell(story, delivers_atomically, None);
        assert!(calls > 0);
        for number in 0..calls {
            for decision in [Decision::Halt, Decision::ApplyThenHalt, Decision::FailBefore, Decision::ApplyThenUnknown] {
                let told = std::panic::catch_unwind(|| tell(story, delivers_atomically, Some((number, decision))));
                if let Err(panic) = told {
                    eprintln!("`{}` goes wrong with {decision:?} at call {number} (delivers in the commit: {delivers_atomically})", story.name);
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
}

fn tell(story: &Story<'_>, delivers_atomically: bool, trouble: Option<(u64, Decision)>) -> u64 {
    let outside = Outside::default();
    let mut sim = Sim::new(app(&outside, "1", false), Setup { seed: 3, delivers_atomically, ..Setup::default() });
    if let Some((number, decision)) = trouble {
        let world = Arc::downgrade(&sim.world);
        sim.store.follow(Plan::by(move |call| {
            if call.number != number {
                return Decision::Pass;
            }
            if matches!(decision, Decision::Halt | Decision::ApplyThenHalt)
                && let Some(world) = world.upgrade()
            {
                world.ask_for_crash();
            }
            decision
        }));
    }
    (story.begin)(&mut sim, &outside);
    sim.pass(S * 30);
    for act in story.after {
        act(&mut sim, &outside);
        sim.pass(S * 30);
    }
    sim.run();
    sim.check_quiet();
    let killed = matches!(trouble, Some((_, Decision::Halt | Decision::ApplyThenHalt)));
    assert!(!killed || sim.crashes > 0, "the process has died");
    for root in story.roots {
        if let Some(stored) = sim.stored(root) {
            let events: Vec<Event> = stored.events.iter().map(|bytes| Event::from_bytes(bytes).unwrap()).collect();
            durable_tests::sim::check_history(&InstanceId::new(*root).unwrap(), &events);
        }
    }
    for (id, output) in story.outcome {
        let expected: Value = serde_json::from_str(output).unwrap();
        assert_eq!(sim.output(id), expected, "{id}: {:#?}", sim.history(id));
    }
    assert!(!story.outcome.is_empty() || sim.all().is_empty());
    sim.store.calls()
}

/// The app of all scenarios. A `broken` build panics in every orchestrator that asks whether it is.
fn app(outside: &Outside, build: &str, broken: bool) -> App {
    BROKEN.with(|flag| flag.store(broken, Ordering::SeqCst));
    App::builder()
        .build_id(build)
        .check_turns()
        .resource(outside.mended.clone())
        .activity(echo)
        .activity(fragile)
        .activity(slow)
        .orchestrator(two_steps)
        .orchestrator(sleeper)
        .orchestrator(parent)
        .orchestrator(gives)
        .orchestrator(says)
        .orchestrator(collects)
        .orchestrator(loops)
        .orchestrator(holds)
        .orchestrator(waits)
        .orchestrator(breaks)
        .orchestrator(breaks_in_child)
        .orchestrator(lives)
        .build()
        .unwrap()
}

thread_local! {
    static BROKEN: AtomicBool = const { AtomicBool::new(false) };
}

#[activity]
async fn echo(value: Value) -> Result<Value, Failure> {
    Ok(value)
}

#[activity]
async fn slow(value: Value) -> Result<Value, Failure> {
    Ok(value)
}

#[activity]
async fn fragile(ctx: ActivityContext, _: Value) -> Result<String, Failure> {
    let mended = ctx.resource::<Arc<AtomicBool>>().is_some_and(|flag| flag.load(Ordering::SeqCst));
    if mended { Ok("mended".to_owned()) } else { Err(Failure::new("Broken", "not yet")) }
}

#[orchestrator]
async fn two_steps(ctx: Context) -> Result<Value, Error> {
    let one = ctx.activity(echo, json!("one")).await?;
    let event: Value = ctx.event(EventName::new("go")).await?;
    if BROKEN.with(|flag| flag.load(Ordering::SeqCst)) {
        panic!("this build is broken");
    }
    let two = ctx.activity(echo, json!("two")).await?;
    Ok(json!([one, event, two]))
}

#[orchestrator]
async fn sleeper(ctx: Context) -> Result<String, Error> {
    ctx.timer(S * 5).await;
    ctx.timer(S * 5).await;
    Ok("slept twice".to_owned())
}

#[orchestrator]
async fn gives(ctx: Context, value: String) -> Result<String, Error> {
    ctx.activity(echo, json!(null)).await?;
    if value == "fail" { Err(Failure::new("Asked", "as asked").into()) } else { Ok(value) }
}

#[orchestrator]
async fn parent(ctx: Context) -> Result<Vec<String>, Error> {
    let first = ctx.sub_orchestration(gives, "x".to_owned());
    let own = ctx.sub_orchestration(gives, "y".to_owned()).instance_id("own");
    let failing = ctx.sub_orchestration(gives, "fail".to_owned());
    let (first, (own, failing)) = join(first, join(own, failing)).await;
    let kind = failing.err().and_then(|e| e.failure().map(|f| f.kind.clone())).unwrap_or_default();
    Ok(vec![first?, own?, kind])
}

#[orchestrator]
async fn says(ctx: Context) -> Result<String, Error> {
    let to = InstanceId::new("b").map_err(Error::from)?;
    ctx.send_event::<u64>(&to, EventName::new("n"), 1)?;
    ctx.send_event::<u64>(&to, EventName::new("n"), 2)?;
    ctx.timer(S).await;
    ctx.send_event::<u64>(&to, EventName::new("n"), 3)?;
    Ok("sent".to_owned())
}

#[orchestrator]
async fn collects(ctx: Context) -> Result<Vec<u64>, Error> {
    let mut events = ctx.events::<u64>(EventName::new("n"));
    Ok(vec![events.next().await?, events.next().await?, events.next().await?])
}

#[orchestrator]
async fn loops(ctx: Context, so_far: Vec<u64>) -> Result<Next<Vec<u64>, Vec<u64>>, Error> {
    let mut all = so_far;
    all.push(ctx.event(EventName::new("n")).await?);
    Ok(if all.len() == 3 { Next::done(all) } else { Next::again(all) })
}

#[orchestrator]
async fn waits(ctx: Context) -> Result<(), Error> {
    ctx.event::<Value>(EventName::new("never")).await?;
    Ok(())
}

#[orchestrator]
async fn holds(ctx: Context) -> Result<(), Error> {
    ctx.sub_orchestration(waits, ()).instance_id("own").await
}

#[orchestrator]
async fn breaks_in_child(ctx: Context) -> Result<String, Error> {
    ctx.activity(fragile, json!(null)).await
}

#[orchestrator]
async fn breaks(ctx: Context) -> Result<Vec<String>, Error> {
    // Slow: still under way when the orchestration fails, and when it is rewound.
    let _beside = ctx.activity(slow, json!("beside"));
    let (child, own) = join(ctx.sub_orchestration(breaks_in_child, ()).instance_id("own"), ctx.activity(fragile, json!(null))).await;
    Ok(vec![child?, own?])
}

#[orchestrator]
async fn lives(ctx: Context, life: String) -> Result<String, Error> {
    if life == "first" {
        // Slow, and still under way when the first life ends.
        let _late = ctx.activity(echo, json!("of the first life")).attempt_timeout(S);
        let _timer = ctx.timer(S * 40);
        ctx.event::<Value>(EventName::new("never")).await?;
    }
    ctx.timer(S * 60).await;
    Ok(life)
}

fn message(n: u8) -> MessageId {
    MessageId([n; 16])
}

pub fn base(sim: &mut Sim, outside: &Outside) {
    started(sim, outside);
    // Against a running start: answered by a refusal, and asked again, until the instance is there.
    sim.pass(S * 10);
    event(sim, outside);
}

pub fn started(sim: &mut Sim, _: &Outside) {
    sim.start("two_steps", "a", &json!(null));
}

pub fn event(sim: &mut Sim, _: &Outside) {
    sim.raise(NOW, "a", "go", &7, message(1));
    sim.raise(S, "a", "go", &7, message(1));
}

/// A build is deployed that panics when the event comes.
pub fn faulted(sim: &mut Sim, outside: &Outside) {
    started(sim, outside);
    sim.pass(S * 30);
    sim.deploy(app(outside, "2", true));
    // The event that meets the panic; the one of the scenario comes behind it.
    let _ = sim.raise(NOW, "a", "other", &0, message(8));
    sim.raise(NOW, "a", "go", &7, message(1));
    sim.pass(S * 10);
    assert!(sim.header("a").fault.is_some());
}

pub fn cure(sim: &mut Sim, outside: &Outside) {
    sim.deploy(app(outside, "3", false));
}

pub fn timers(sim: &mut Sim, _: &Outside) {
    sim.start("sleeper", "a", &json!(null));
}

pub fn children(sim: &mut Sim, _: &Outside) {
    sim.start("parent", "a", &json!(null));
}

pub fn sender(sim: &mut Sim, _: &Outside) {
    sim.start("collects", "b", &json!(null));
    sim.start_after(S * 10, "says", "a", &json!(null));
}

pub fn again(sim: &mut Sim, _: &Outside) {
    sim.start("loops", "a", &json!([]));
}

pub fn three_events(sim: &mut Sim, _: &Outside) {
    for n in 1..=3 {
        // One after the other, as the order of events is that of their acknowledgements.
        let raised = sim.raise(NOW, "a", "n", &n, message(n));
        while sim.answer(raised).is_none() {
            sim.pass(Duration::from_millis(100));
        }
    }
}

pub fn waiting_child(sim: &mut Sim, _: &Outside) {
    sim.start("holds", "a", &json!(null));
}

type Ask = fn(Client, InstanceId) -> durable_tests::sim::Attempt;

fn control(sim: &mut Sim, ask: Ask) {
    let id = InstanceId::new("a").unwrap();
    sim.ask(NOW, move |client| ask(client, id.clone()));
}

pub fn terminate(sim: &mut Sim, _: &Outside) {
    control(sim, |client, id| Box::pin(async move { client.terminate(&id, "enough").await }));
}

pub fn suspend(sim: &mut Sim, _: &Outside) {
    control(sim, |client, id| Box::pin(async move { client.suspend(&id, "hold").await }));
    sim.pass(S * 10);
    assert_eq!(sim.header("a").status, RuntimeStatus::Suspended);
}

pub fn resume(sim: &mut Sim, _: &Outside) {
    control(sim, |client, id| Box::pin(async move { client.resume(&id, "go on").await }));
}

pub fn failing(sim: &mut Sim, _: &Outside) {
    sim.world.slow("slow", S * 100);
    sim.start("breaks", "a", &json!(null));
    sim.pass(S * 30);
    assert_eq!(sim.header("a").status, RuntimeStatus::Failed);
}

pub fn mend(_: &mut Sim, outside: &Outside) {
    outside.mended.store(true, Ordering::SeqCst);
}

pub fn rewind(sim: &mut Sim, _: &Outside) {
    control(sim, |client, id| Box::pin(async move { client.rewind(&id, "mended").await }));
}

pub fn purge(sim: &mut Sim, _: &Outside) {
    control(sim, |client, id| {
        Box::pin(async move {
            match client.purge(&id).await {
                // Asked again after a crash.
                Err(ClientError::NotFound(_)) => Ok(()),
                other => other,
            }
        })
    });
}

pub fn first_life(sim: &mut Sim, _: &Outside) {
    sim.world.slow_activities(S * 200);
    sim.start("lives", "a", &json!("first"));
}

pub fn second_life(sim: &mut Sim, _: &Outside) {
    sim.start("lives", "a", &json!("second"));
}

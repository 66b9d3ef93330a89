//! What the base lifecycle is billed, with the real engine and the template's orchestrator: four writes of one item.

use std::sync::Arc;
use std::time::Duration;

use durable::header::RuntimeStatus;
use durable::ids::Incarnation;
use durable::ports::{AlarmKey, Alarms, Handle, PortFuture, Store, StoreError, TurnGuard};
use durable::{App, Client, Engine, EngineConfig, InstanceId, Payload, Ports, Start, Timestamp};
use durable_aws::store::{DynamoStore, Operation};
use durable_host::{Activities, NoWake, SystemClock, SystemEntropy};
use durable_tests::build::{id, text};
use durable_tests::dynamodb::Local;

/// No timer is set here, and nobody watches turns.
struct Nothing;

impl Alarms for Nothing {
    fn arm(&self, key: AlarmKey, _: Timestamp) -> PortFuture<Result<Handle, StoreError>> {
        panic!("{key:?}: the base lifecycle sets no timer")
    }

    fn disarm(&self, _: Handle) -> PortFuture<()> {
        Box::pin(std::future::ready(()))
    }
}

impl TurnGuard for Nothing {
    fn enter(&self, _: usize, _: &InstanceId, _: Incarnation, _: u64) {}
    fn leave(&self, _: usize) {}
}

/// Runs one part of a story on an engine of its own, as one invocation would, and ends the engine.
fn invocation<T>(store: &DynamoStore, story: impl AsyncFnOnce(Client) -> T) -> T {
    let local = Local::get();
    let app: Arc<App> = Arc::new(durable_orchestrator::app().unwrap());
    local.run(async {
        let ports = Ports {
            store: Arc::new(store.clone()),
            alarms: Arc::new(Nothing),
            wake: Arc::new(NoWake),
            dispatch: Arc::new(Activities::new(Arc::clone(&app), tokio::runtime::Handle::current(), 4)),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            guard: Arc::new(Nothing),
        };
        let (engine, mut shards) = Engine::new(app, ports, EngineConfig { exclusive: false, ..EngineConfig::default() });
        let story = async {
            let told = story(engine.client()).await;
            engine.stop();
            told
        };
        let (_, told) = tokio::join!(shards.remove(0).run(), story);
        told
    })
}

/// Waits, by looks that are not counted, until an instance is as it should be.
async fn until(other: &DynamoStore, instance: &str, is: impl Fn(&durable_aws::store::Peeked) -> bool) {
    let patience = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let peeked = other.peek(&id(instance), false).await.unwrap();
        if peeked.as_ref().is_some_and(&is) {
            return;
        }
        assert!(tokio::time::Instant::now() < patience, "waited in vain: {peeked:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn the_base_lifecycle_is_four_writes_and_six_units() {
    let local = Local::get();
    let (client, table) = (Local::client(local.address()), local.table());
    let (store, looks) = (Local::store(&client, &table, "hub"), Local::store(&client, &table, "hub"));
    let instance = "4f8d7c1a9b3e4d5f8a6b7c8d9e0f1a2b";
    let start = Start { instance: Some(id(instance)), ..Start::new("base_orchestrator", text("{\"message\":\"Hello\",\"wait_event_name\":\"WakeUp\"}")) };
    invocation(&store, async |client| {
        client.start(start).await.unwrap();
        until(&looks, instance, |seen| seen.header.status == RuntimeStatus::Running && seen.is_idle()).await;
    });
    let asleep = store.capacity();
    invocation(&store, async |client| {
        client.raise_event(&id(instance), "WakeUp", text("{\"approved\":true,\"by\":\"somebody@example.com\"}"), None).await.unwrap();
        until(&looks, instance, |seen| seen.header.status == RuntimeStatus::Completed).await;
    });
    let all = store.capacity();
    for operation in Operation::ALL {
        println!("{operation:?}: {:?} asleep, {:?} in all", asleep.of(operation), all.of(operation));
    }
    let status = local.run(looks.status(&id(instance))).unwrap().unwrap();
    assert!(status.output.is_some_and(|output: Payload| output.len() > 20));
    let (create, commit, load) = (all.of(Operation::Create), all.of(Operation::Commit), all.of(Operation::Load));
    assert_eq!((create.calls, commit.calls), (1, 3), "four writes");
    assert!(create.write_units + commit.write_units <= 6.0, "{} write units", create.write_units + commit.write_units);
    assert_eq!(create.write_units, 2.0, "the item, and its entry in the index");
    assert!(load.read_units + create.read_units + commit.read_units <= 2.0, "{load:?}");
    assert_eq!(all.total().calls, create.calls + commit.calls + load.calls, "nothing else was asked");
}

/// What a start, a delivery, a look and a status are billed for a small instance.
#[test]
fn small_things_are_billed_as_little_as_can_be() {
    use durable_tests::build::{Turn, created, deliver, events, load, raised, start};
    let (local, store) = (Local::get(), Local::get().fresh());
    local.run(async {
        let used = |before: &durable_aws::store::Capacity| store.capacity().since(before).total();
        let mut at = store.capacity();
        created(&store, start("a", 1)).await;
        assert_eq!((used(&at).calls, used(&at).write_units), (1, 2.0));
        at = store.capacity();
        deliver(&store, "a", raised(1)).await;
        assert_eq!((used(&at).calls, used(&at).write_units, used(&at).read_units), (1, 1.0, 0.0));
        at = store.capacity();
        let loaded = load(&store, "a").await;
        assert_eq!((used(&at).calls, used(&at).read_units), (1, 1.0));
        at = store.capacity();
        Turn::on("a", &loaded).takes_all().append(events(0..3)).lands(&store).await;
        assert_eq!((used(&at).calls, used(&at).write_units, used(&at).read_units), (1, 1.0, 0.0));
        at = store.capacity();
        store.peek(&id("a"), false).await.unwrap();
        assert_eq!((used(&at).calls, used(&at).read_units), (1, 0.5));
        at = store.capacity();
        deliver(&store, "a", raised(1)).await;
        assert_eq!((used(&at).calls, used(&at).write_units), (1, 1.0), "a refusal is billed too");
    });
}

/// A history and a custom status of usual sizes never make the item large: old events go into rows, each once.
#[test]
fn a_long_history_does_not_make_writes_dear() {
    use durable_tests::build::{Turn, created, events, start};
    let (local, store) = (Local::get(), Local::get().fresh());
    local.run(async {
        let mut committed = created(&store, start("a", 1)).await;
        let mut commit = Turn::after(&durable::ports::Commit::header_only(id("a"), committed.token.clone(), 0, start("a", 1).header), &committed);
        let before = store.capacity();
        for n in 0..200 {
            let next = commit.append(events(n * 5..n * 5 + 5)).build_commit();
            let durable::ports::CommitOutcome::Committed(landed) = store.commit(next.clone()).await else { panic!("commit {n} should have landed") };
            committed = landed;
            commit = Turn::after(&next, &committed);
        }
        let used = store.capacity().since(&before).of(Operation::Commit);
        let each = used.write_units / 200.0;
        assert!(each < 2.5, "{each} write units for each commit");
        assert_eq!(store.load(&id("a"), None).await.unwrap().unwrap().events, events(0..1000));
    });
}

//! The real engine and the template's orchestrator on a store, one invocation after another, for counting what that costs.

use std::sync::Arc;
use std::time::Duration;

use durable::header::RuntimeStatus;
use durable::ids::Incarnation;
use durable::ports::{AlarmKey, Alarms, Handle, Loaded, PortFuture, Store, StoreError, TurnGuard};
use durable::{App, Client, Engine, EngineConfig, InstanceId, Payload, Ports, Start, Timestamp};
use durable_host::{Activities, NoWake, SystemClock, SystemEntropy};
use durable_tests::build::{id, text};

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
async fn invocation<T>(store: &Arc<dyn Store>, story: impl AsyncFnOnce(Client) -> T) -> T {
    let app: Arc<App> = Arc::new(durable_orchestrator::app().unwrap());
    let ports = Ports {
        store: Arc::clone(store),
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
}

/// Waits, by looks that are not counted, until an instance is as it should be.
async fn until(looks: &dyn Store, instance: &str, is: impl Fn(&Loaded) -> bool) {
    let patience = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let seen = looks.load(&id(instance), None).await.unwrap();
        if seen.as_ref().is_some_and(&is) {
            return;
        }
        assert!(tokio::time::Instant::now() < patience, "waited in vain: {seen:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Start, activity, sleep; then the event that wakes it, another activity, the end. `asleep` is called in between. `looks` is another store on
/// the same table.
pub async fn base_lifecycle(store: Arc<dyn Store>, looks: &dyn Store, asleep: impl FnOnce()) {
    let instance = "4f8d7c1a9b3e4d5f8a6b7c8d9e0f1a2b";
    let start = Start { instance: Some(id(instance)), ..Start::new("base_orchestrator", text("{\"message\":\"Hello\",\"wait_event_name\":\"WakeUp\"}")) };
    invocation(&store, async |client| {
        client.start(start).await.unwrap();
        let sleeps = |seen: &Loaded| seen.header.status == RuntimeStatus::Running && seen.inbox.is_empty() && !seen.header.has_work();
        until(looks, instance, sleeps).await;
    })
    .await;
    asleep();
    invocation(&store, async |client| {
        client.raise_event(&id(instance), "WakeUp", text("{\"approved\":true,\"by\":\"somebody@example.com\"}"), None).await.unwrap();
        until(looks, instance, |seen| seen.header.status == RuntimeStatus::Completed).await;
    })
    .await;
    let status = looks.status(&id(instance)).await.unwrap().unwrap();
    assert!(status.output.is_some_and(|output: Payload| output.len() > 20));
}

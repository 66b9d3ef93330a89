//! The local host in process: what clients can do with an instance, across restarts, on the real store.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use durable::header::RuntimeStatus;
use durable::ports::{ListQuery, ReusePolicy};
use durable::{
    ActivityContext, App, Client, ClientError, Context, Error, EventName, Failure, InstanceId, PayloadCodec, RetryPolicy, Start, activity, orchestrator,
};
use durable_local::{LocalHost, LocalOptions};
use serde_json::{Value, json};

struct Broken(Arc<AtomicBool>);
struct Runs(Arc<AtomicU64>);

#[activity]
async fn touchy(ctx: ActivityContext, n: u64) -> Result<u64, Failure> {
    if let Some(Runs(runs)) = ctx.resource::<Runs>() {
        runs.fetch_add(1, Ordering::SeqCst);
    }
    match ctx.resource::<Broken>() {
        Some(Broken(broken)) if broken.load(Ordering::SeqCst) => Err(Failure::new("Broken", "not now")),
        _ => Ok(n * 10),
    }
}

#[orchestrator]
async fn child(ctx: Context, n: u64) -> Result<u64, Error> {
    ctx.activity(touchy, n).await
}

#[orchestrator]
async fn parent(ctx: Context, n: u64) -> Result<u64, Error> {
    let mut sum = 0;
    for i in 1..=n {
        sum += ctx.sub_orchestration(child, i).await?;
    }
    Ok(sum)
}

#[orchestrator]
async fn waits(ctx: Context) -> Result<Value, Error> {
    ctx.set_custom_status("waiting")?;
    ctx.event(EventName::new("Go")).await
}

#[orchestrator]
async fn counts(ctx: Context, n: usize) -> Result<Vec<u64>, Error> {
    let mut events = ctx.events::<u64>(EventName::new("n"));
    let mut all = Vec::new();
    while all.len() < n {
        all.push(events.next().await?);
    }
    Ok(all)
}

#[orchestrator]
async fn retries(ctx: Context) -> Result<u64, Error> {
    ctx.activity(touchy, 1).retry(RetryPolicy::fixed(Duration::from_millis(20), 1000)).await
}

fn app(broken: &Arc<AtomicBool>, runs: &Arc<AtomicU64>) -> durable::AppBuilder {
    let all = App::builder().orchestrator(child).orchestrator(parent).orchestrator(waits).orchestrator(counts).orchestrator(retries).activity(touchy);
    all.resource(Broken(broken.clone())).resource(Runs(runs.clone())).check_turns()
}

struct Running {
    host: LocalHost,
    client: Client,
    folder: tempfile::TempDir,
    broken: Arc<AtomicBool>,
    runs: Arc<AtomicU64>,
}

impl Running {
    async fn new() -> Self {
        let (folder, broken, runs) = (tempfile::tempdir().unwrap(), Arc::default(), Arc::default());
        let host = LocalHost::open(app(&broken, &runs).build().unwrap(), LocalOptions::new(folder.path())).await.unwrap();
        Self { client: host.client(), host, folder, broken, runs }
    }

    async fn restart(self) -> Self {
        let Self { host, folder, broken, runs, .. } = self;
        host.stop(Duration::from_secs(5)).await;
        let host = LocalHost::open(app(&broken, &runs).build().unwrap(), LocalOptions::new(folder.path())).await.unwrap();
        Self { client: host.client(), host, folder, broken, runs }
    }

    async fn start(&self, name: &str, input: Value) -> InstanceId {
        self.client.start(Start::new(name, self.client.app().encode(&input).unwrap())).await.unwrap().instance
    }

    async fn end(&self, id: &InstanceId) -> (RuntimeStatus, Value) {
        let limit = Duration::from_secs(20);
        let record = self.client.wait_for_end_within(id, limit).await.unwrap().unwrap_or_else(|| panic!("{id} did not end"));
        (record.header.status, record.output.map_or(Value::Null, |output| self.client.app().decode(&output).unwrap()))
    }

    async fn status(&self, id: &InstanceId) -> RuntimeStatus {
        self.client.status(id).await.unwrap().unwrap().header.status
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_tree_is_rewound_from_the_leaf_that_failed_and_what_had_succeeded_is_not_run_again() {
    let mut running = Running::new().await;
    running.broken.store(true, Ordering::SeqCst);
    let id = running.start("parent", json!(2)).await;
    assert_eq!(running.end(&id).await.0, RuntimeStatus::Failed);
    running = running.restart().await;
    running.broken.store(false, Ordering::SeqCst);
    running.client.rewind(&id, "mended").await.unwrap();
    assert_eq!(running.end(&id).await, (RuntimeStatus::Completed, json!(30)));
    assert_eq!(running.runs.load(Ordering::SeqCst), 3, "one that failed, the same again, and the other child's");
    assert!(matches!(running.client.rewind(&id, "again").await, Err(ClientError::NotFailed { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewind_whose_child_was_purged_is_refused_and_nothing_changes() {
    let running = Running::new().await;
    running.broken.store(true, Ordering::SeqCst);
    let id = running.start("parent", json!(1)).await;
    assert_eq!(running.end(&id).await.0, RuntimeStatus::Failed);
    let prefix = Some(format!("{id}:"));
    let page = running.client.list(ListQuery { prefix, ..ListQuery::default() }, None).await.unwrap();
    running.client.purge(&page.items[0].instance).await.unwrap();
    let refused = running.client.rewind(&id, "x").await;
    assert!(matches!(refused, Err(ClientError::ChildPurged { .. })), "{refused:?}");
    assert_eq!(running.status(&id).await, RuntimeStatus::Failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_instance_keeps_what_comes_over_a_restart_and_takes_it_at_the_resume() {
    let mut running = Running::new().await;
    let id = running.start("waits", Value::Null).await;
    running.client.suspend(&id, "hold").await.unwrap();
    assert_eq!(running.status(&id).await, RuntimeStatus::Suspended);
    assert!(matches!(running.client.suspend(&id, "twice").await, Err(ClientError::WrongState { .. })));
    let data = running.client.app().encode(&json!({"n": 1})).unwrap();
    running.client.raise_event(&id, "go", data, None).await.unwrap();
    running = running.restart().await;
    assert_eq!(running.status(&id).await, RuntimeStatus::Suspended);
    running.client.resume(&id, "go on").await.unwrap();
    assert_eq!(running.end(&id).await, (RuntimeStatus::Completed, json!({"n": 1})));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_raised_again_under_its_key_is_raised_once_however_many_came_between() {
    let mut running = Running::new().await;
    let id = running.start("counts", json!(42)).await;
    let data = |n: u64| running.client.app().encode(&n).unwrap();
    running.client.raise_event_once(&id, "n", data(0), "order-17").await.unwrap();
    for n in 1..=40 {
        running.client.raise_event(&id, "n", data(n), None).await.unwrap();
    }
    running = running.restart().await;
    let data = |n: u64| running.client.app().encode(&n).unwrap();
    running.client.raise_event_once(&id, "n", data(0), "order-17").await.unwrap();
    running.client.raise_event_once(&id, "n", data(41), "order-18").await.unwrap();
    assert_eq!(running.end(&id).await, (RuntimeStatus::Completed, json!((0..=41).collect::<Vec<u64>>())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_in_use_is_refused_by_default_and_an_ended_one_begins_a_new_life() {
    let running = Running::new().await;
    let id = InstanceId::new("mine").unwrap();
    let start = || Start::new("waits", running.client.app().encode(&Value::Null).unwrap()).id(id.clone());
    let first = running.client.start(start()).await.unwrap();
    let refused = running.client.start(start()).await.unwrap_err();
    assert_eq!(refused.to_string(), "An Orchestration instance with the status Running already exists.");
    running.client.terminate(&id, "enough").await.unwrap();
    assert_eq!(running.end(&id).await, (RuntimeStatus::Terminated, json!("enough")));
    let data = running.client.app().encode(&1).unwrap();
    assert!(matches!(running.client.raise_event(&id, "go", data, None).await, Err(ClientError::Ended { status: RuntimeStatus::Terminated, .. })));
    let second = running.client.start(start()).await.unwrap();
    assert_ne!(first.incarnation, second.incarnation);
    let any = Start { policy: ReusePolicy::ReplaceAny, ..start() };
    let third = running.client.start(any).await.unwrap();
    assert_eq!(running.client.status(&id).await.unwrap().unwrap().header.incarnation, third.incarnation);
    let never = Start { policy: ReusePolicy::Never, ..start() };
    assert!(matches!(running.client.start(never).await, Err(ClientError::InUse { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_goes_on_after_a_restart_in_its_pause() {
    let mut running = Running::new().await;
    running.broken.store(true, Ordering::SeqCst);
    let id = running.start("retries", Value::Null).await;
    running.client.wait_until(&id, |record| record.header.revision > 6).await.unwrap();
    running = running.restart().await;
    running.broken.store(false, Ordering::SeqCst);
    assert_eq!(running.end(&id).await, (RuntimeStatus::Completed, json!(10)));
}

/// Stands for a codec that encrypts: what is stored is not what was sent.
struct Flipped;

impl PayloadCodec for Flipped {
    fn encode(&self, text: bytes::Bytes) -> Result<bytes::Bytes, String> {
        Ok(text.iter().map(|byte| !byte).collect::<Vec<u8>>().into())
    }
    fn decode(&self, stored: &bytes::Bytes) -> Result<bytes::Bytes, String> {
        self.encode(stored.clone())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_codec_nothing_readable_is_stored_and_text_is_shown_as_it_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(&Arc::default(), &Arc::default()).codec(Flipped).build().unwrap();
    let host = LocalHost::open(app, LocalOptions::new(folder.path())).await.unwrap();
    let client = host.client();
    let sent = bytes::Bytes::from_static(b"null");
    let id = client.start(Start::new("waits", client.app().encode_text(sent.clone()).unwrap())).await.unwrap().instance;
    let secret = r#"{ "secret":  "s3cr3t-value" }"#;
    client.raise_event(&id, "Go", client.app().encode_text(secret.into()).unwrap(), None).await.unwrap();
    let record = client.wait_for_end(&id).await.unwrap();
    assert_eq!(client.app().text(&record.input).unwrap(), sent);
    assert_eq!(client.app().decode::<Value>(&record.output.unwrap()).unwrap(), json!({"secret": "s3cr3t-value"}));
    assert_eq!(client.app().text(&record.custom_status.unwrap()).unwrap(), "\"waiting\"");
    host.stop(Duration::from_secs(5)).await;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(6).any(|w| w == b"s3cr3t"), "the secret stands in the data folder");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_comes_to_the_end_of_far_more_instances_than_it_has_under_way_at_a_time() {
    let (folder, broken, runs) = (tempfile::tempdir().unwrap(), Arc::new(AtomicBool::new(true)), Arc::default());
    let open = async || {
        let options = LocalOptions { shards: Some(1), live: 16, ..LocalOptions::new(folder.path()) };
        LocalHost::open(app(&broken, &runs).build().unwrap(), options).await.unwrap()
    };
    let host = open().await;
    let client = host.client();
    let input = client.app().encode(&()).unwrap();
    let starts = (0..700).map(|n| {
        let start = Start { instance: Some(InstanceId::new(format!("i{n}")).unwrap()), ..Start::new("retries", input.clone()) };
        let client = client.clone();
        tokio::spawn(async move { client.start(start).await.unwrap().instance })
    });
    let mut ids = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        ids.push(start.await.unwrap());
    }
    host.stop(Duration::from_secs(5)).await;

    broken.store(false, Ordering::SeqCst);
    let host = open().await;
    let client = host.client();
    for id in &ids {
        let record = client.wait_for_end_within(id, Duration::from_secs(30)).await.unwrap().unwrap_or_else(|| panic!("{id} did not end"));
        assert_eq!(record.header.status, RuntimeStatus::Completed, "{id}");
    }
    host.stop(Duration::from_secs(5)).await;
}

//! A server in this process: the router, a real engine on a store in memory, and ports on tokio. For the router's tests.
//!
//! Must never make a test wait for time to pass: conditions are awaited through the client.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code, shared by several test files")]

mod exact;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use durable::event_url::EventUrls;
use durable::header::{ActivityTask, RuntimeStatus};
use durable::ids::Incarnation;
use durable::message::Outcome;
use durable::ports::{AlarmKey, Alarms, Clock, Dispatch, Entropy, Handle, PortFuture, StatusRecord, StoreError, TurnGuard, Wake};
use durable::{App, Client, Context, Engine, EngineConfig, EventName, Failure, InstanceId, Next, Ports, RetryPolicy, Shard, Timestamp};
use durable_http::Options;
use durable_tests::MemoryStore;
use serde_json::Value;
use tower::ServiceExt;

struct Tokio;

impl Clock for Tokio {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
    fn sleep_until(&self, at: Timestamp) -> PortFuture<()> {
        let after = self.now().until(at);
        Box::pin(async move { tokio::time::sleep(after).await })
    }
}

impl Entropy for Tokio {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).unwrap();
    }
}

/// Has an instance looked at when it is due.
#[derive(Default)]
struct Bells(Arc<OnceLock<Engine>>);

impl Alarms for Bells {
    fn arm(&self, key: AlarmKey, at: Timestamp) -> PortFuture<Result<Handle, StoreError>> {
        let engine = self.0.clone();
        Box::pin(async move {
            tokio::spawn(async move {
                tokio::time::sleep(Tokio.now().until(at)).await;
                if let Some(engine) = engine.get() {
                    engine.look(&key.instance, false);
                }
            });
            Ok(Handle::new())
        })
    }
    fn disarm(&self, _: Handle) -> PortFuture<()> {
        Box::pin(async {})
    }
}

impl Wake for Tokio {
    fn cover(&self, _: &InstanceId, _: Incarnation, _: u64, _: Timestamp) -> PortFuture<Result<Handle, StoreError>> {
        Box::pin(async { Ok(Handle::new()) })
    }
    fn release(&self, _: Handle) -> PortFuture<()> {
        Box::pin(async {})
    }
}

impl TurnGuard for Tokio {
    fn enter(&self, _: usize, _: &InstanceId, _: Incarnation, _: u64) {}
    fn leave(&self, _: usize) {}
}

struct Spawned(Arc<App>);

impl Dispatch for Spawned {
    fn run(&self, task: ActivityTask) -> PortFuture<Outcome> {
        let run = tokio::spawn(self.0.run_activity(task));
        Box::pin(async move { run.await.unwrap_or_else(|e| Outcome::Failed(Failure::new("Lost", e.to_string()))) })
    }
}

/// What the activity `check` says; shared with the tests.
#[derive(Clone, Default)]
pub struct Healthy(pub Arc<AtomicBool>);

const GO: EventName<Value> = EventName::new("Go");

#[durable::activity]
async fn echo(value: Value) -> Result<Value, std::convert::Infallible> {
    Ok(value)
}

#[durable::activity]
async fn check(ctx: durable::ActivityContext, value: Value) -> Result<Value, Failure> {
    let healthy = ctx.resource::<Healthy>().is_some_and(|healthy| healthy.0.load(Ordering::SeqCst));
    if healthy { Ok(value) } else { Err(Failure::new("Unhealthy", "not today")) }
}

/// The end of the server, for what waits for it.
#[derive(Clone, Default)]
struct Gone(Arc<tokio::sync::Notify>);

/// Does not end before the server does.
#[durable::activity]
async fn hang(ctx: durable::ActivityContext, value: Value) -> Result<Value, std::convert::Infallible> {
    if let Some(gone) = ctx.resource::<Gone>() {
        gone.0.notified().await;
    }
    Ok(value)
}

/// Waits for an activity, a sub-orchestration and a timer at a time, for ever.
#[durable::orchestrator]
async fn busy(ctx: Context, input: Value) -> Result<(), durable::Error> {
    ctx.send_event(&InstanceId::new("nobody").unwrap(), EventName::<Value>::new("Hi"), &input)?;
    let child = ctx.sub_orchestration(waits, &input).instance_id("kid");
    let _ = durable::join3(ctx.activity(hang, &input), child, ctx.timer(Duration::from_secs(3600))).await;
    Ok(())
}

/// Gives `null` inside so many lists.
#[durable::orchestrator]
async fn deepens(ctx: Context, depth: u32) -> Result<Value, durable::Error> {
    let _ = ctx.now();
    Ok((0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner])))
}

/// Gives its input back by way of an activity.
#[durable::orchestrator]
async fn hello(ctx: Context, input: Value) -> Result<Value, durable::Error> {
    ctx.activity(echo, input).await
}

/// Waits for the event `Go` and gives its data back.
#[durable::orchestrator]
async fn waits(ctx: Context, input: Value) -> Result<Value, durable::Error> {
    ctx.set_custom_status(&serde_json::json!({ "asked": input }))?;
    ctx.event(GO).await
}

/// Fails while `check` does.
#[durable::orchestrator]
async fn fragile(ctx: Context, input: Value) -> Result<Value, durable::Error> {
    ctx.activity(check, input).await
}

/// Panics once `Go` has come.
#[durable::orchestrator]
async fn panics(ctx: Context) -> Result<Value, durable::Error> {
    let _ = ctx.event(GO).await?;
    panic!("out of paper")
}

/// Tries `check` twice.
#[durable::orchestrator]
async fn retries(ctx: Context, input: Value) -> Result<Value, durable::Error> {
    ctx.activity(check, input).retry(RetryPolicy::fixed(Duration::from_millis(1), 2)).await
}

/// Continues as new until its input is zero.
#[durable::orchestrator]
async fn repeats(ctx: Context, left: u32) -> Result<Next<String, u32>, durable::Error> {
    let _ = ctx.now();
    Ok(if left == 0 { Next::done(format!("after {}", ctx.execution())) } else { Next::again(left - 1) })
}

/// Gives what `hello` gives.
#[durable::orchestrator]
async fn parent(ctx: Context, input: Value) -> Result<Value, durable::Error> {
    ctx.sub_orchestration(hello, input).await
}

/// Sleeps for a millisecond.
#[durable::orchestrator]
async fn sleeps(ctx: Context) -> Result<String, durable::Error> {
    ctx.timer(Duration::from_millis(1)).await;
    Ok("awake".to_owned())
}

/// The server.
pub struct Server {
    pub client: Client,
    pub healthy: Healthy,
    router: Router,
    engine: Engine,
    gone: Gone,
    shard: Option<JoinHandle<()>>,
}

impl Server {
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        Self::driven(options, true)
    }

    /// One whose engine drives nothing: what is started stays pending.
    pub fn asleep() -> Self {
        Self::driven(Options::default(), false)
    }

    fn driven(options: Options, driven: bool) -> Self {
        let (healthy, gone) = (Healthy::default(), Gone::default());
        let app = App::builder().orchestrator(hello).orchestrator(waits).orchestrator(fragile).orchestrator(panics);
        let app = app.orchestrator(parent).orchestrator(repeats).orchestrator(retries).orchestrator(sleeps).orchestrator(busy).orchestrator(deepens);
        let app = app.event_urls(EventUrls::new("http://localhost:7071", [7; 32]).unwrap());
        let app = Arc::new(app.activity(echo).activity(check).activity(hang).resource(gone.clone()).resource(healthy.clone()).build().unwrap());
        let tokio = Arc::new(Tokio);
        let bells = Arc::new(OnceLock::new());
        let ports = Ports {
            store: Arc::new(MemoryStore::new(true)),
            alarms: Arc::new(Bells(bells.clone())),
            wake: tokio.clone(),
            dispatch: Arc::new(Spawned(app.clone())),
            clock: tokio.clone(),
            entropy: tokio.clone(),
            guard: tokio,
        };
        let (engine, shards) = Engine::new(app, ports, EngineConfig::default());
        let _ = bells.set(engine.clone());
        let shard = shards.into_iter().next().filter(|_| driven);
        let run = |shard: Shard| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(shard.run());
        };
        let thread = shard.map(|shard| std::thread::spawn(move || run(shard)));
        let client = engine.client();
        Self { router: durable_http::router(client.clone(), options), client, healthy, engine, gone, shard: thread }
    }

    /// Has the engine stop.
    pub fn stop(&self) {
        self.engine.stop();
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path).body(Body::empty()).unwrap()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(request("DELETE", path).body(Body::empty()).unwrap()).await
    }

    /// Posts JSON; nothing if the text is empty.
    pub async fn post(&self, path: &str, text: impl Into<Body>) -> Answer {
        self.send(request("POST", path).header("content-type", "application/json; charset=utf-8").body(text.into()).unwrap()).await
    }

    /// Starts an instance under an id, and waits until it is as `wanted` says.
    pub async fn started(&self, name: &str, id: &str, input: &'static str, wanted: RuntimeStatus) {
        let answer = self.post(&format!("/durabletask/orchestrators/{name}/{id}"), input).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
        self.becomes(id, wanted).await;
    }

    pub async fn becomes(&self, id: &str, wanted: RuntimeStatus) -> StatusRecord {
        self.until(id, move |record| record.header.status == wanted).await
    }

    pub async fn until(&self, id: &str, wanted: impl Fn(&StatusRecord) -> bool) -> StatusRecord {
        let id = InstanceId::new(id).unwrap();
        let wait = self.client.wait_until(&id, wanted);
        match tokio::time::timeout(Duration::from_secs(20), wait).await {
            Ok(record) => record.unwrap(),
            Err(_) => panic!("{id} stays {:?}", self.client.status(&id).await.unwrap().map(|record| record.header)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.engine.stop();
        self.gone.0.notify_one();
        if let Some(shard) = self.shard.take() {
            let _ = shard.join();
        }
    }
}

pub fn request(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "localhost:7071")
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn code(&self) -> u16 {
        self.status.as_u16()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// A code without a body and a media type.
    pub fn is_bare(&self, code: u16) -> bool {
        self.code() == code && self.body.is_empty() && self.header("content-type").is_none()
    }
}

//! One host instance: its handler, what waits for triggers, and how one execution runs.
//!
//! Must never: outlive [`Instance::stop`] with any task, or try an execution again. Trying again belongs to triggers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::app::{App, Trigger};
use super::handler::{Handler, Orders};
use super::journal::Journal;
use super::payload::{self, Verdict};
use super::{HOST_VERSION, listener, timers};

/// So many times the initialisation timeout an execution waits for the handler.
const PATIENCE: u32 = 4;

/// What a handler answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Where timers stand: it outlives host instances, as the monitor's blobs do.
pub(super) type Monitor = Arc<Mutex<BTreeMap<String, timers::Status>>>;

/// One host instance.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) app: Arc<App>,
    pub(super) handler: Handler,
    pub(super) client: reqwest::Client,
    pub(super) journal: Arc<Journal>,
    pub(super) monitor: Monitor,
    /// How long a message is invisible to others before it is renewed or comes back.
    pub(super) lease: Duration,
    in_flight: AtomicUsize,
    /// None: it has stopped.
    tasks: Mutex<Option<JoinSet<()>>>,
    /// Why it has to end.
    over: mpsc::UnboundedSender<String>,
}

/// Counts an execution for as long as it runs.
struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Instance {
    /// An instance that is starting. The receiver learns why it ends, if it ends by itself.
    pub(super) fn start(
        (app, handler, orders): (Arc<App>, Handler, Orders),
        client: reqwest::Client,
        (journal, monitor): (Arc<Journal>, Monitor),
        lease: Duration,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<String>) {
        let (over, ended) = mpsc::unbounded_channel();
        let tasks = Mutex::new(Some(JoinSet::new()));
        let instance = Arc::new(Self { app, handler, client, journal, monitor, lease, in_flight: AtomicUsize::new(0), tasks, over });
        let keeper = instance.clone();
        instance.spawn(async move {
            let why = keeper.handler.keep_alive(orders).await;
            let _ = keeper.over.send(why);
        });
        let starter = instance.clone();
        instance.spawn(async move {
            starter.handler.ready().await;
            starter.listen();
        });
        (instance, ended)
    }

    /// Functions start once the handler is ready.
    fn listen(self: &Arc<Self>) {
        for function in &self.app.functions {
            match &function.trigger {
                Trigger::Http { .. } => {}
                Trigger::Queue { .. } => self.spawn(listener::listen(self.clone(), function.clone())),
                Trigger::Timer { .. } => self.spawn(timers::keep(self.clone(), function.clone())),
            }
        }
    }

    /// Runs something that ends with the instance at the latest.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(tasks) = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
    }

    /// Ends everything at once, the handler by SIGKILL: nothing is settled.
    pub(super) async fn stop(&self) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
    }

    /// How many executions run.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// One execution of a function: waits for the handler, and then for the work, but no longer than the function timeout. That one takes the
    /// whole handler with it.
    pub(super) async fn execute<T>(&self, function: &str, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let _in_flight = InFlight(&self.in_flight);
        let Ok(process) = tokio::time::timeout(self.app.initialization_timeout * PATIENCE, self.handler.ready()).await else {
            let _ = self.over.send("the handler did not become ready".to_owned());
            return Err("the handler did not become ready".to_owned());
        };
        self.journal.count(function, |counts| counts.started += 1);
        let ended = match self.app.function_timeout {
            None => Some(work.await),
            Some(limit) => tokio::time::timeout(limit, work).await.ok(),
        };
        let Some(result) = ended else {
            self.journal.count(function, |counts| (counts.failed, counts.timed_out) = (counts.failed + 1, counts.timed_out + 1));
            self.journal.say(format!("{function} timed out: the handler is killed, and started again"));
            self.handler.restart(process);
            return Err("it ran into the function timeout".to_owned());
        };
        match &result {
            Ok(_) => self.journal.count(function, |counts| counts.succeeded += 1),
            Err(why) => {
                self.journal.count(function, |counts| counts.failed += 1);
                self.journal.say(format!("{function} failed: {why}"));
            }
        }
        result
    }

    /// Sends a request to the handler and takes its whole answer.
    pub(super) async fn exchange(&self, request: reqwest::RequestBuilder) -> Result<Answer, String> {
        let failed = |e: reqwest::Error| format!("the handler cannot be reached, or broke off: {e:?}");
        let answer = request.send().await.map_err(failed)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok(Answer { status, headers, body: answer.bytes().await.map_err(failed)? })
    }

    /// One execution in payload mode.
    pub(super) async fn payload(&self, function: &str, body: Value) -> Result<(), String> {
        let request = self.client.post(format!("http://127.0.0.1:{}/{function}", self.handler.port)).header("content-type", "application/json; charset=utf-8");
        let request =
            request.header("x-azure-functions-invocationid", super::guid()).header("x-azure-functions-hostversion", HOST_VERSION).body(body.to_string());
        let work = async {
            let answer = self.exchange(request).await?;
            let content_type = answer.headers.get("content-type").and_then(|value| value.to_str().ok());
            match payload::verdict(answer.status.as_u16(), content_type, &answer.body) {
                Verdict::Succeeded(lines) => {
                    lines.into_iter().for_each(|line| self.journal.say(line));
                    Ok(())
                }
                Verdict::Failed(why) => Err(why),
                Verdict::Hangs => std::future::pending().await,
            }
        };
        self.execute(function, work).await
    }
}

//! The app: which orchestrators and activities there are, and how payloads are stored.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;

use crate::activity::{Activity, ActivityContext, ActivityOptions, Resources};
use crate::context::Context;
use crate::event_url::EventUrls;
use crate::failure::{Failure, KIND_PAYLOAD};
use crate::header::ActivityTask;
use crate::limits;
use crate::message::Outcome;
use crate::orchestrator::{Next, Orchestrator};
use crate::payload::{self, Payload, PayloadCodec, PayloadError, PlainJson};

/// How an orchestrator's run ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ending {
    Done(Payload),
    Again(Payload),
    Failed(Failure),
}

pub(crate) type OrchestratorFuture = Pin<Box<dyn Future<Output = Ending>>>;
type RunOrchestrator = Box<dyn Fn(Context, Payload, Arc<dyn PayloadCodec>) -> OrchestratorFuture + Send + Sync>;
type RunActivity = Box<dyn Fn(ActivityContext, Payload, Arc<dyn PayloadCodec>) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// What happens to an instance whose orchestrator panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnPanic {
    /// It keeps its history, shows the fault in its status, and goes on with a build that does not panic.
    #[default]
    Fault,
    /// It fails.
    Fail,
}

/// The orchestrators and activities of a program. Built once, shared by every host.
pub struct App {
    orchestrators: BTreeMap<String, Vec<(Option<String>, RunOrchestrator)>>,
    activities: BTreeMap<String, RunActivity>,
    resources: Resources,
    pub(crate) codec: Arc<dyn PayloadCodec>,
    pub(crate) event_urls: Option<Arc<EventUrls>>,
    pub(crate) build: String,
    pub(crate) on_panic: OnPanic,
    pub(crate) strict_inputs: bool,
    pub(crate) check_turns: bool,
    pub(crate) history_limit: u64,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("orchestrators", &self.orchestrator_names())
            .field("activities", &self.activities.keys())
            .field("build", &self.build)
            .finish_non_exhaustive()
    }
}

/// An app that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppError {
    /// Two orchestrators of one name and version.
    #[error("orchestrator `{name}` (version {version:?}) is registered twice: give one another name or version")]
    OrchestratorTwice {
        /// The name.
        name: String,
        /// The version.
        version: Option<String>,
    },
    /// Two activities of one name.
    #[error("activity `{0}` is registered twice: give one another name")]
    ActivityTwice(String),
}

/// Collects what an [`App`] is made of.
pub struct AppBuilder {
    app: App,
    resources: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    error: Option<AppError>,
}

impl App {
    /// An empty app.
    #[must_use]
    pub fn builder() -> AppBuilder {
        let app = Self {
            orchestrators: BTreeMap::new(),
            activities: BTreeMap::new(),
            resources: Resources::default(),
            codec: Arc::new(PlainJson),
            event_urls: None,
            build: String::new(),
            on_panic: OnPanic::default(),
            strict_inputs: false,
            check_turns: false,
            history_limit: limits::HISTORY_EVENTS,
        };
        AppBuilder { app, resources: HashMap::new(), error: None }
    }

    /// The names of all orchestrators, sorted.
    #[must_use]
    pub fn orchestrator_names(&self) -> Vec<&str> {
        self.orchestrators.keys().map(String::as_str).collect()
    }

    /// The build that runs, as faults name it.
    #[must_use]
    pub fn build_id(&self) -> &str {
        &self.build
    }

    /// The same app, named as this build unless it was given a name.
    #[must_use]
    pub fn or_build_id(mut self, build: impl Into<String>) -> Self {
        if self.build.is_empty() {
            self.build = build.into();
        }
        self
    }

    /// What makes and checks signed URLs for one event of one instance, if this app was given a secret for them.
    #[must_use]
    pub fn event_urls(&self) -> Option<&EventUrls> {
        self.event_urls.as_deref()
    }

    /// The same app, with these signed URLs unless it was given its own: hosts know where they are reached once they listen.
    #[must_use]
    pub fn or_event_urls(mut self, urls: EventUrls) -> Self {
        self.event_urls.get_or_insert_with(|| Arc::new(urls));
        self
    }

    /// The version that a start gets: the one asked for, or the latest there is. `None` if there is no such orchestrator or version.
    #[must_use]
    pub fn resolve(&self, name: &str, version: Option<&str>) -> Option<Option<String>> {
        let versions = self.orchestrators.get(name)?;
        match version {
            Some(_) => versions.iter().find(|(v, _)| v.as_deref() == version).map(|(v, _)| v.clone()),
            None => versions.iter().map(|(v, _)| v).max_by_key(|v| version_key(v.as_deref())).cloned(),
        }
    }

    /// Writes a value as this app stores it.
    ///
    /// # Errors
    /// [`PayloadError`] if it does not become JSON, or the codec refuses it.
    pub fn encode<T: serde::Serialize + ?Sized>(&self, value: &T) -> Result<Payload, PayloadError> {
        payload::encode(&*self.codec, value, "the value")
    }

    /// Stores JSON text as it was sent. The caller has checked that it is JSON.
    ///
    /// # Errors
    /// [`PayloadError`] if the codec refuses it.
    pub fn encode_text(&self, text: bytes::Bytes) -> Result<Payload, PayloadError> {
        self.codec.encode(text).map(Payload::from_stored).map_err(|why| PayloadError::Encode { what: "the value".to_owned(), why })
    }

    /// The JSON text of a payload, exactly as it was sent.
    ///
    /// # Errors
    /// [`PayloadError`] if this app's codec cannot read it.
    pub fn text(&self, payload: &Payload) -> Result<bytes::Bytes, PayloadError> {
        self.codec.decode(payload.stored()).map_err(|why| PayloadError::Stored { what: "the payload".to_owned(), why })
    }

    /// Reads a value out of a payload.
    ///
    /// # Errors
    /// [`PayloadError`] if it does not fit.
    pub fn decode<T: serde::de::DeserializeOwned>(&self, payload: &Payload) -> Result<T, PayloadError> {
        payload::decode(&*self.codec, payload, "the payload")
    }

    /// Runs one attempt of an activity on whatever executor polls the future. A panic becomes a failure.
    /// The attempt's timeout is the caller's affair: it has the clock.
    pub fn run_activity(&self, task: ActivityTask) -> impl Future<Output = Outcome> + Send + 'static {
        let run = self.activities.get(&task.name).map(|run| {
            let context = ActivityContext::new(task.effect.clone(), task.attempt, self.resources.clone());
            // The call itself runs user code up to the first await only when polled.
            run(context, task.input.clone(), self.codec.clone())
        });
        async move {
            let outcome = match run {
                Some(future) => match AssertUnwindSafe(future).catch_unwind().await {
                    Ok(outcome) => outcome,
                    Err(panic) => Outcome::Failed(Failure::from_panic(&*panic)),
                },
                None => Outcome::Failed(Failure::new("MissingActivity", format!("this build has no activity `{}`", task.name))),
            };
            match outcome {
                Outcome::Failed(failure) => Outcome::Failed(Failure { attempts: task.attempt, ..failure }),
                completed => completed,
            }
        }
    }

    pub(crate) fn run_orchestrator(&self, name: &str, version: Option<&str>, context: Context, input: Payload) -> Option<OrchestratorFuture> {
        let versions = self.orchestrators.get(name)?;
        let (_, run) = versions.iter().find(|(v, _)| v.as_deref() == version)?;
        Some(run(context, input, self.codec.clone()))
    }
}

/// Orders versions by their numbers (`1.10` after `1.9`), no version first.
fn version_key(version: Option<&str>) -> Option<Vec<(u64, String)>> {
    version.map(|v| v.split('.').map(|part| (part.parse().unwrap_or(0), part.to_owned())).collect())
}

impl AppBuilder {
    /// Adds an orchestrator.
    #[must_use]
    pub fn orchestrator<O: Orchestrator>(mut self, _: O) -> Self {
        let versions = self.app.orchestrators.entry(O::NAME.to_owned()).or_default();
        let version = O::VERSION.map(ToOwned::to_owned);
        if versions.iter().any(|(v, _)| *v == version) {
            self.error.get_or_insert(AppError::OrchestratorTwice { name: O::NAME.to_owned(), version });
            return self;
        }
        versions.push((version, Box::new(run_orchestrator::<O>)));
        self
    }

    /// Adds an activity.
    #[must_use]
    pub fn activity<A: Activity>(mut self, _: A) -> Self {
        if self.app.activities.insert(A::NAME.to_owned(), Box::new(run_activity::<A>)).is_some() {
            self.error.get_or_insert(AppError::ActivityTwice(A::NAME.to_owned()));
        }
        self
    }

    /// Gives activities a value, which they find by its type (see [`ActivityContext::resource`]).
    #[must_use]
    pub fn resource<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.resources.insert(TypeId::of::<T>(), Arc::new(value));
        self
    }

    /// Stores payloads through this codec.
    #[must_use]
    pub fn codec(mut self, codec: impl PayloadCodec) -> Self {
        self.app.codec = Arc::new(codec);
        self
    }

    /// Makes signed URLs (see [`Context::event_url`]); hosts set this if you do not.
    #[must_use]
    pub fn event_urls(mut self, urls: EventUrls) -> Self {
        self.app.event_urls = Some(Arc::new(urls));
        self
    }

    /// Names the build. A faulted instance is tried again by itself when another build comes; hosts set this if you do not.
    #[must_use]
    pub fn build_id(mut self, build: impl Into<String>) -> Self {
        self.app.build = build.into();
        self
    }

    /// What a panic in an orchestrator does to its instance.
    #[must_use]
    pub const fn on_panic(mut self, what: OnPanic) -> Self {
        self.app.on_panic = what;
        self
    }

    /// Makes a changed input of a replayed call a fault, not only a warning.
    #[must_use]
    pub const fn strict_inputs(mut self) -> Self {
        self.app.strict_inputs = true;
        self
    }

    /// Runs every turn twice and compares: finds non-determinism at once. For tests; costs a replay per turn.
    #[must_use]
    pub const fn check_turns(mut self) -> Self {
        self.app.check_turns = true;
        self
    }

    /// How many events the history of one execution may have. A tenth of it is warned of in the log; a turn that would go beyond is a fault, which
    /// says so: the instance keeps what it has, can be terminated, and goes on under an app that allows more.
    #[must_use]
    pub const fn history_limit(mut self, events: u64) -> Self {
        self.app.history_limit = events;
        self
    }

    /// Ends the collection.
    ///
    /// # Errors
    /// [`AppError`] if a name was given twice.
    pub fn build(mut self) -> Result<App, AppError> {
        match self.error {
            Some(error) => Err(error),
            None => {
                self.app.resources = Arc::new(self.resources);
                Ok(self.app)
            }
        }
    }
}

fn run_orchestrator<O: Orchestrator>(context: Context, input: Payload, codec: Arc<dyn PayloadCodec>) -> OrchestratorFuture {
    let input = payload::decode::<O::Input>(&*codec, &input, "the input of the orchestrator");
    Box::pin(async move {
        let result = match input {
            Ok(input) => O::run(context, input).await,
            Err(e) => return Ending::Failed(Failure::new(KIND_PAYLOAD, e.to_string())),
        };
        let encoded = match result {
            Ok(Next::Done(output)) => payload::encode(&*codec, &output, "the output of the orchestrator").map(Ending::Done),
            Ok(Next::Again(input)) => payload::encode(&*codec, &input, "the next input of the orchestrator").map(Ending::Again),
            Err(failure) => return Ending::Failed(failure),
        };
        encoded.unwrap_or_else(|e| Ending::Failed(Failure::new(KIND_PAYLOAD, e.to_string())))
    })
}

fn run_activity<A: Activity>(context: ActivityContext, input: Payload, codec: Arc<dyn PayloadCodec>) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
    Box::pin(async move {
        let input = match payload::decode::<A::Input>(&*codec, &input, "the input of the activity") {
            Ok(input) => input,
            Err(e) => return Outcome::Failed(Failure::new(KIND_PAYLOAD, e.to_string()).non_retryable()),
        };
        match A::run(context, input).await {
            Ok(output) => match payload::encode(&*codec, &output, "the output of the activity") {
                Ok(output) => Outcome::Completed(output),
                Err(e) => Outcome::Failed(Failure::new(KIND_PAYLOAD, e.to_string()).non_retryable()),
            },
            Err(failure) => Outcome::Failed(failure),
        }
    })
}

/// The defaults of an activity's calls.
pub(crate) fn options_of<A: Activity>() -> ActivityOptions {
    A::options()
}

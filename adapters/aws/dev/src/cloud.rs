//! Sets the parts up and takes them down.
//!
//! Must never: listen beyond loopback, or leave a process behind.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::function::{Event, Function, Kind, Outcome, Pool, SandboxInfo, SandboxOptions, Watch};
use crate::journal::{Journal, JournalError};
use crate::lambda::{AsyncOptions, Counts, FailedEvent, InvokeError, Lambda};
use crate::parts::{NotQuiet, Parts};
use crate::pulse::Pulse;
use crate::schedule::{Schedule, Scheduler};
use crate::steps::{Execution, ExecutionStatus, Steps, StepsError, StepsOptions};
use crate::stream::{self, FailedBatch, Mapping, Shared, StreamError, StreamOptions, Trouble};
use crate::url::Auth;
use crate::{control, function_arn, state_machine_arn, url};

/// A cloud that cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloudError {
    /// An address is not loopback.
    #[error("{0} is not a loopback address: this driver asks for no credentials, so it only listens on and talks to 127.0.0.1 or [::1]")]
    NotLoopback(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {why}; choose another one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        why: std::io::Error,
    },
    /// There is no function.
    #[error("no function was given: name a bootstrap, or the URL of a running `cargo lambda watch`")]
    NoFunction,
    /// The function cannot be run.
    #[error("the function cannot be run: {0}")]
    Function(std::io::Error),
    /// The client for `cargo lambda watch` cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
    /// A stream was asked for without saying where DynamoDB is.
    #[error("a stream can only be read if DynamoDB's endpoint is given")]
    NoDynamo,
    /// The state file cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The state machine cannot be set up.
    #[error(transparent)]
    Steps(#[from] StepsError),
    /// The stream cannot be read.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

enum Target {
    Bootstrap(PathBuf),
    Watch(String),
    Function(Arc<dyn Function>),
}

/// Settings of a [`Cloud`].
pub struct Builder {
    name: String,
    target: Option<Target>,
    env: BTreeMap<String, String>,
    concurrency: usize,
    timeout: Duration,
    freeze: bool,
    log: Option<PathBuf>,
    asynchronous: AsyncOptions,
    url: SocketAddr,
    auth: Auth,
    api: SocketAddr,
    dynamodb: Option<String>,
    stream: Option<(String, Mapping)>,
    definition: Option<PathBuf>,
    substitutions: BTreeMap<String, String>,
    retry_scale: f64,
    lateness: Duration,
    state: Option<PathBuf>,
}

impl Builder {
    fn new() -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            name: "durable".to_owned(),
            target: None,
            env: BTreeMap::new(),
            concurrency: 10,
            timeout: Duration::from_secs(60),
            freeze: true,
            log: None,
            asynchronous: AsyncOptions::default(),
            url: free,
            auth: Auth::None,
            api: free,
            dynamodb: None,
            stream: None,
            definition: None,
            substitutions: BTreeMap::new(),
            retry_scale: 1.0,
            lateness: Duration::ZERO,
            state: None,
        }
    }

    /// The function's name; `durable` if not said. The ARNs follow from it.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The function is this executable, run here.
    #[must_use]
    pub fn bootstrap(mut self, bootstrap: impl Into<PathBuf>) -> Self {
        self.target = Some(Target::Bootstrap(bootstrap.into()));
        self
    }

    /// The function is a running `cargo lambda watch`, at this invoke URL.
    #[must_use]
    pub fn watch(mut self, url: impl Into<String>) -> Self {
        self.target = Some(Target::Watch(url.into()));
        self
    }

    /// The function is this one, in this process.
    #[must_use]
    pub fn function(mut self, function: Arc<dyn Function>) -> Self {
        self.target = Some(Target::Function(function));
        self
    }

    /// A variable of the function's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// How many processes run at most; 10 if not said.
    #[must_use]
    pub fn concurrency(mut self, most: usize) -> Self {
        self.concurrency = most;
        self
    }

    /// How long an invocation may take; a minute if not said.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether a process is stopped while it waits for an event; yes if not said.
    #[must_use]
    pub fn freeze(mut self, freeze: bool) -> Self {
        self.freeze = freeze;
        self
    }

    /// The file that takes the processes' output.
    #[must_use]
    pub fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self
    }

    /// How asynchronous events are treated.
    #[must_use]
    pub fn asynchronous(mut self, options: AsyncOptions) -> Self {
        self.asynchronous = options;
        self
    }

    /// Where the function's URL listens; a free port if not said.
    #[must_use]
    pub fn url(mut self, address: SocketAddr, auth: Auth) -> Self {
        (self.url, self.auth) = (address, auth);
        self
    }

    /// Where the API listens; a free port if not said.
    #[must_use]
    pub fn api(mut self, address: SocketAddr) -> Self {
        self.api = address;
        self
    }

    /// DynamoDB's endpoint.
    #[must_use]
    pub fn dynamodb(mut self, endpoint: impl Into<String>) -> Self {
        self.dynamodb = Some(endpoint.into());
        self
    }

    /// Maps the stream of this table to the function.
    #[must_use]
    pub fn stream(mut self, table: impl Into<String>, mapping: Mapping) -> Self {
        self.stream = Some((table.into(), mapping));
        self
    }

    /// The state machine's definition.
    #[must_use]
    pub fn definition(mut self, file: impl Into<PathBuf>) -> Self {
        self.definition = Some(file.into());
        self
    }

    /// The value of a `${…}` in the definition. Names without one mean the function's ARN.
    #[must_use]
    pub fn substitution(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.substitutions.insert(name.into(), value.into());
        self
    }

    /// Multiplies the retry intervals of the state machine.
    #[must_use]
    pub fn retry_scale(mut self, scale: f64) -> Self {
        self.retry_scale = scale;
        self
    }

    /// How late schedules fire.
    #[must_use]
    pub fn schedule_lateness(mut self, lateness: Duration) -> Self {
        self.lateness = lateness;
        self
    }

    /// The folder in which open executions, schedules and asynchronous events outlast the driver.
    #[must_use]
    pub fn state(mut self, folder: impl Into<PathBuf>) -> Self {
        self.state = Some(folder.into());
        self
    }

    /// Sets everything up.
    ///
    /// # Errors
    /// [`CloudError`] says what is in the way, and what to do.
    pub async fn start(self) -> Result<Cloud, CloudError> {
        let (url_listener, url) = listen(self.url).await?;
        let (api_listener, api) = listen(self.api).await?;
        if let Some(endpoint) = &self.dynamodb {
            loopback(endpoint)?;
        }
        let arn = function_arn(&self.name);
        let machine = state_machine_arn(&self.name);
        let pulse = Pulse::new();
        let journal = Arc::new(Journal::open(self.state.as_deref())?);
        let env = environment(&self.name, api, self.dynamodb.as_deref(), &self.env);
        let function: Arc<dyn Function> = match self.target.ok_or(CloudError::NoFunction)? {
            Target::Bootstrap(bootstrap) => {
                let Self { concurrency, timeout, freeze, log, .. } = self;
                let options = SandboxOptions { bootstrap, concurrency, timeout, freeze, env: env.clone(), log };
                Pool::new(options, &arn, pulse.clone()).map_err(CloudError::Function)?
            }
            Target::Watch(url) => {
                loopback(&url)?;
                Arc::new(Watch::new(url, self.timeout, pulse.clone())?)
            }
            Target::Function(function) => function,
        };
        let lambda = Lambda::new(self.name, arn, function, self.asynchronous, journal.clone(), pulse.clone());
        let steps = match self.definition {
            Some(definition) => {
                let options = StepsOptions { definition, substitutions: self.substitutions, retry_scale: self.retry_scale };
                Some(Steps::open(options, machine, lambda.clone(), journal.clone(), pulse.clone())?)
            }
            None => None,
        };
        let scheduler = Scheduler::open(lambda.clone(), journal, pulse.clone(), self.lateness);
        let stream = self.stream.is_some().then(|| Arc::new(Shared::new(pulse.clone())));
        let parts = Arc::new(Parts { lambda: lambda.clone(), steps, scheduler, stream: stream.clone(), pulse });
        // From here on, dropping it ends what runs.
        let mut cloud = Cloud { parts, url, api, env, tasks: JoinSet::new() };
        cloud.serve(url_listener, url::router(lambda.clone(), self.auth));
        cloud.serve(api_listener, control::router(cloud.parts.clone()));
        if let (Some(shared), Some((table, mapping))) = (stream, self.stream) {
            let dynamodb = self.dynamodb.ok_or(CloudError::NoDynamo)?;
            let mut readers = stream::start(StreamOptions { dynamodb, table, mapping }, shared, lambda.clone()).await?;
            cloud.tasks.spawn(async move { while readers.join_next().await.is_some() {} });
        }
        lambda.resume();
        Ok(cloud)
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), CloudError> {
    if !address.ip().is_loopback() {
        return Err(CloudError::NotLoopback(address.to_string()));
    }
    let listener = TcpListener::bind(address).await.map_err(|why| CloudError::Listen { address, why })?;
    let bound = listener.local_addr().map_err(|why| CloudError::Listen { address, why })?;
    Ok((listener, bound))
}

fn loopback(url: &str) -> Result<(), CloudError> {
    let refused = || CloudError::NotLoopback(url.to_owned());
    let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).ok_or_else(refused)?;
    if ["127.0.0.1", "localhost", "[::1]"].contains(&host.as_str()) { Ok(()) } else { Err(refused()) }
}

/// The environment of the function: what Lambda gives, the endpoints here, and what was asked for, which wins.
fn environment(name: &str, api: SocketAddr, dynamodb: Option<&str>, given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let api = format!("http://{api}");
    let mut env: BTreeMap<String, String> = [
        ("AWS_LAMBDA_FUNCTION_NAME", name),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/local"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "local"),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023"),
        ("AWS_REGION", crate::REGION),
        ("AWS_DEFAULT_REGION", crate::REGION),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_ENDPOINT_URL_LAMBDA", &api),
        ("AWS_ENDPOINT_URL_SFN", &api),
        ("AWS_ENDPOINT_URL_SCHEDULER", &api),
        ("_HANDLER", "bootstrap"),
        ("TZ", ":UTC"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    env.extend(dynamodb.map(|endpoint| ("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), endpoint.to_owned())));
    env.extend(given.clone());
    env
}

/// One function with what of AWS is around it. Dropping it ends everything, the processes included.
pub struct Cloud {
    parts: Arc<Parts>,
    url: SocketAddr,
    api: SocketAddr,
    env: BTreeMap<String, String>,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cloud").field("url", &self.url).field("api", &self.api).finish_non_exhaustive()
    }
}

impl Cloud {
    /// Settings, all at what AWS has if nothing else is said.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn serve(&mut self, listener: TcpListener, router: axum::Router) {
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            // Answers are small: waiting to fill a packet would only delay them.
            let _ = stream.set_nodelay(true);
        });
        self.tasks.spawn(async move {
            if let Err(e) = axum::serve(listener, router).await {
                tracing::error!("serving broke off: {e}");
            }
        });
    }

    /// The function's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.url)
    }

    /// The endpoint of Lambda, Step Functions, Scheduler and the driver itself.
    #[must_use]
    pub fn api(&self) -> String {
        format!("http://{}", self.api)
    }

    /// The environment that the function's processes get.
    #[must_use]
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// The function's ARN.
    #[must_use]
    pub fn function_arn(&self) -> &str {
        &self.parts.lambda.arn
    }

    /// The state machine's ARN, if there is one.
    #[must_use]
    pub fn state_machine_arn(&self) -> Option<&str> {
        self.parts.steps.as_ref().map(|steps| steps.arn.as_str())
    }

    /// Sends the function an event and waits for its answer. [`crate::url`] makes events of requests.
    ///
    /// # Errors
    /// [`InvokeError`] if the function has not run.
    pub async fn invoke(&self, payload: impl Into<bytes::Bytes>) -> Result<Outcome, InvokeError> {
        self.parts.lambda.invoke(Event::new(Kind::Direct, payload)).await
    }

    /// Puts an event into the asynchronous queue.
    ///
    /// # Errors
    /// [`InvokeError::TooLarge`].
    pub fn enqueue(&self, payload: impl Into<bytes::Bytes>) -> Result<(), InvokeError> {
        self.parts.lambda.enqueue(Event::new(Kind::Async, payload))
    }

    /// Invocations so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.parts.lambda.counts()
    }

    /// The processes.
    #[must_use]
    pub fn sandboxes(&self) -> Vec<SandboxInfo> {
        self.parts.lambda.function().sandboxes()
    }

    /// Kills a process with SIGKILL. False if there is none with this number.
    #[must_use]
    pub fn kill(&self, sandbox: u64) -> bool {
        self.parts.lambda.function().kill(sandbox)
    }

    /// Asynchronous events that wait or run.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.parts.lambda.queued()
    }

    /// Asynchronous events that failed for good, oldest first.
    #[must_use]
    pub fn failed_events(&self) -> Vec<FailedEvent> {
        self.parts.lambda.failed()
    }

    /// All executions of the state machine.
    #[must_use]
    pub fn executions(&self) -> Vec<Execution> {
        self.parts.steps.as_ref().map(|steps| steps.all()).unwrap_or_default()
    }

    /// Those that have not ended.
    #[must_use]
    pub fn open_executions(&self) -> Vec<Execution> {
        let mut open = self.executions();
        open.retain(|execution| execution.status == ExecutionStatus::Running);
        open
    }

    /// The schedules there are.
    #[must_use]
    pub fn schedules(&self) -> Vec<Schedule> {
        self.parts.scheduler.all()
    }

    /// Makes the stream suffer, or lets it be.
    pub fn trouble_stream(&self, change: impl FnOnce(&mut Trouble)) {
        if let Some(stream) = &self.parts.stream {
            stream.trouble(change);
        }
    }

    /// Records of the stream that were read and are not done with.
    #[must_use]
    pub fn stream_backlog(&self) -> usize {
        self.parts.stream.as_ref().map_or(0, |stream| stream.backlog())
    }

    /// Batches of the stream that were given up, oldest first.
    #[must_use]
    pub fn failed_batches(&self) -> Vec<FailedBatch> {
        self.parts.stream.as_ref().map(|stream| stream.failed()).unwrap_or_default()
    }

    /// Waits until no sandbox is busy, all queues are empty and the stream has been read to its end. Timers that wait are quiet, and so is a paused stream.
    ///
    /// # Errors
    /// [`NotQuiet`] says what is left.
    pub async fn quiesce(&self, within: Duration) -> Result<(), NotQuiet> {
        self.parts.quiesce(within).await
    }

    /// Ends everything.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.parts.stop();
    }
}

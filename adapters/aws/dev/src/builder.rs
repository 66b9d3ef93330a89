//! Settings of a cloud, and how it is set up from them.
//!
//! Must never: listen beyond loopback, or talk to anything beyond it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::cloud::Cloud;
use crate::function::{Function, Pool, SandboxOptions, Watch};
use crate::journal::{Journal, JournalError};
use crate::lambda::{AsyncOptions, Lambda};
use crate::parts::Parts;
use crate::pulse::Pulse;
use crate::schedule::Scheduler;
use crate::steps::{Steps, StepsError, StepsOptions};
use crate::stream::{self, Mapping, Shared, StreamError, StreamOptions};
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
    pub(crate) fn new() -> Self {
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

    /// How long the stream's mapping gathers records. Call it behind [`Self::stream`].
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        if let Some((_, mapping)) = &mut self.stream {
            mapping.window = window;
        }
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
        let mut cloud = Cloud::new(parts.clone(), url, api, env);
        cloud.serve(url_listener, url::router(lambda.clone(), self.auth));
        cloud.serve(api_listener, control::router(parts, url));
        if let (Some(shared), Some((table, mapping))) = (stream, self.stream) {
            let dynamodb = self.dynamodb.ok_or(CloudError::NoDynamo)?;
            let mut readers = stream::start(StreamOptions { dynamodb, table, mapping }, shared, lambda.clone()).await?;
            cloud.run(async move { while readers.join_next().await.is_some() {} });
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

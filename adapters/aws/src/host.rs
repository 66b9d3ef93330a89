//! What all invocations of one process share: the app, the store, and the services around it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_types::SdkConfig;
use durable::event_url::EventUrls;
use durable::ports::{Clock, PortFuture, StoreError, StoreResult};
use durable::{App, Shard, Timestamp};
use durable_host::invoked::{AlarmService, Function, Setup, Shared};
use durable_host::stores::CloudStore;
use durable_host::turns::STACK;
use durable_host::{Running, Suspect, SystemClock, SystemEntropy, ThisMachine, Watchdog, build_of_this_program};
use tokio::sync::oneshot;

use crate::alarms::{Scheduler, StepFunctions};
use crate::invoker::Invoker;
use crate::settings::{Secret, Settings, Timers};
use crate::store::{BadHub, Capacity, DynamoStore, Options};

/// Where the instance is noted whose turn runs: it survives the process in the same sandbox.
const SUSPECTS: &str = "/tmp/durable-suspects";

/// How often turns are looked at that may never come back.
const LOOK: Duration = Duration::from_millis(500);

/// Input of an activity that travels with its event at most; a longer one is read from the history. (An asynchronous event may have 1 MB.)
const INPUT_BYTES: usize = 200 * 1024;

/// Shared by all invocations of a process.
pub struct Host {
    /// What the environment says.
    pub settings: Settings,
    /// The table.
    pub store: DynamoStore,
    /// What an invocation's engine is made of.
    shared: Shared,
    /// Watches turns.
    pub watchdog: Arc<Watchdog>,
    /// Instances whose turn took the last process of this sandbox with it, until that is recorded.
    pub suspects: Mutex<Vec<Suspect>>,
    greeted: AtomicBool,
    /// What the table had been used when the last invocation ended.
    used: Mutex<Capacity>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Host {
    /// True once: for the first invocation of this process.
    #[must_use]
    pub fn is_new(&self) -> bool {
        !self.greeted.swap(true, Ordering::SeqCst)
    }

    /// What the table was used since the last call.
    #[must_use]
    pub fn used_since(&self) -> Capacity {
        let now = self.store.capacity();
        let before = std::mem::replace(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner), now);
        now.since(&before)
    }

    /// Takes out the instances whose turn took the last process of this sandbox with it.
    #[must_use]
    pub fn take_suspects(&self) -> Vec<Suspect> {
        std::mem::take(&mut self.suspects.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is around an invocation here.
#[derive(Debug, Clone)]
pub struct OnLambda(pub Arc<Host>);

impl Function for OnLambda {
    fn shared(&self) -> &Shared {
        &self.0.shared
    }

    fn store(&self, by: Timestamp) -> Arc<dyn CloudStore> {
        Arc::new(self.0.store.with_deadline(Instant::now() + SystemClock.now().until(by)))
    }

    /// On a thread of their own, which can be abandoned.
    fn run(&self, shards: Vec<Shard>) -> StoreResult<PortFuture<()>> {
        let (ended, turns) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let run = move || {
            for shard in shards {
                runtime.block_on(shard.run());
            }
            let _ = ended.send(());
        };
        let thread = std::thread::Builder::new().name("turns".to_owned()).stack_size(STACK).spawn(run);
        thread.map_err(|e| StoreError::Unavailable(format!("a thread cannot be started: {e}")))?;
        Ok(Box::pin(async move { drop(turns.await) }))
    }

    fn stuck_turn(&self) -> PortFuture<Running> {
        let watchdog = self.0.watchdog.clone();
        Box::pin(async move {
            loop {
                if let Some((_, turn)) = watchdog.take_overdue() {
                    return turn;
                }
                tokio::time::sleep(LOOK).await;
            }
        })
    }
}

/// What a host is made of, before the first event has told the rest.
#[derive(Debug)]
pub struct Parts {
    settings: Settings,
    config: SdkConfig,
    store: DynamoStore,
    invoker: Invoker,
    app: Mutex<Option<App>>,
}

impl Parts {
    /// Builds the clients that every invocation needs.
    ///
    /// # Errors
    /// [`BadHub`] if no task hub can have the name that was said.
    pub fn new(app: App, settings: Settings, config: SdkConfig) -> Result<Self, BadHub> {
        let store = DynamoStore::new(&aws_sdk_dynamodb::Client::new(&config), Options::new(&settings.table, &settings.hub))?;
        let invoker = Invoker::new(aws_sdk_lambda::Client::new(&config), settings.function.clone());
        Ok(Self { settings, config, store, invoker, app: Mutex::new(Some(app)) })
    }

    /// What the environment says.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Makes the host, once: the first event tells the function's ARN, and perhaps where people reach it.
    ///
    /// # Errors
    /// What is in the way. It can be tried again.
    pub async fn host(&self, function_arn: &str, reached_at: Option<String>) -> Result<Host, String> {
        let settings = self.settings.clone();
        let urls = match &settings.url_secret {
            None => None,
            Some(secret) => self.event_urls(secret, reached_at).await?,
        };
        let app = self.app.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or("the app is gone: the first invocation was broken off")?;
        let app = app.or_build_id(build_of_this_program());
        let app = match urls {
            Some(urls) => app.or_event_urls(urls),
            None => app,
        };
        let alarms: Arc<dyn AlarmService> = match &settings.timers {
            Timers::StepFunctions { state_machine } => Arc::new(StepFunctions::new(aws_sdk_sfn::Client::new(&self.config), state_machine.clone())),
            Timers::Scheduler { group, role } => {
                let client = aws_sdk_scheduler::Client::new(&self.config);
                Arc::new(Scheduler::new(client, group.clone(), role.clone(), function_arn.to_owned()))
            }
        };
        let (watchdog, suspects) = Watchdog::open(Path::new(SUSPECTS), 1);
        let died = suspects.iter().filter_map(|suspect| suspect.first).collect();
        let (suspects, used) = (Mutex::new(suspects), Mutex::new(self.store.capacity()));
        let app = Arc::new(app);
        let shared = Shared {
            machine: Arc::new(ThisMachine::new(app.clone())),
            app,
            entropy: Arc::new(SystemEntropy),
            guard: watchdog.clone(),
            invoker: Arc::new(self.invoker.clone()),
            alarms,
            died,
            setup: Setup {
                hub: settings.hub.clone(),
                attempt: settings.attempt,
                queued: settings.queued,
                grace: settings.grace,
                in_place: settings.in_place,
                input_bytes: INPUT_BYTES,
            },
        };
        Ok(Host { settings, store: self.store.clone(), shared, watchdog, suspects, greeted: AtomicBool::new(false), used })
    }

    /// Signed URLs below the address that was said, that the first request came to, or that the function has.
    async fn event_urls(&self, secret: &Secret, reached_at: Option<String>) -> Result<Option<EventUrls>, String> {
        let base = match self.settings.public_url.clone().or(reached_at) {
            Some(base) => Some(base),
            None => self.invoker.function_url().await?,
        };
        base.map(|base| EventUrls::new(base, secret.0.clone()).map_err(|e| format!("DURABLE_URL_SECRET: {e}"))).transpose()
    }
}

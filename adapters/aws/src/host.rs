//! What all invocations of one process share: the app, the store, and the services around it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_types::SdkConfig;
use durable::App;
use durable::event_url::EventUrls;
use durable::ports::FirstTurn;
use durable_host::{Suspect, Watchdog, build_of_this_program};

use crate::alarms::{AlarmService, Scheduler, StepFunctions};
use crate::invoker::Invoker;
use crate::settings::{Secret, Settings, Timers};
use crate::store::{BadHub, Capacity, DynamoStore, Options};

/// Where the instance is noted whose turn runs: it survives the process in the same sandbox.
const SUSPECTS: &str = "/tmp/durable-suspects";

/// Shared by all invocations of a process.
pub struct Host {
    /// What the environment says.
    pub settings: Settings,
    /// The orchestrators and activities.
    pub app: Arc<App>,
    /// The table.
    pub store: DynamoStore,
    /// Where long timers wait.
    pub alarms: Arc<dyn AlarmService>,
    /// Takes what is handed on.
    pub invoker: Invoker,
    /// Watches turns.
    pub watchdog: Arc<Watchdog>,
    /// Instances whose turn took the last process of this sandbox with it, until that is recorded.
    pub suspects: Mutex<Vec<Suspect>>,
    /// First turns that took it with them: starts like those are stored before they are run.
    pub died: Vec<FirstTurn>,
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
        Ok(Host {
            settings,
            app: Arc::new(app),
            store: self.store.clone(),
            alarms,
            invoker: self.invoker.clone(),
            watchdog,
            suspects,
            died,
            greeted: AtomicBool::new(false),
            used,
        })
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

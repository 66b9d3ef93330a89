//! A Functions host for tests: runs a staged folder (`host.json`, one folder per function, an executable) as Azure's host runs a custom handler.
//!
//! | part | module | what it plays |
//! | --- | --- | --- |
//! | the folder | `app`, `settings`, `timespan` | what the host reads, resolves, overrides and refuses |
//! | the process | `handler` | port, readiness, exit codes, three errors, SIGKILL |
//! | an execution | `instance` | waiting for the handler, the function timeout that kills it |
//! | the platform | `platform` | starts host instances, also after they shut themselves down |
//! | HTTP | `front`, `template` | routes by name, keys, reserved paths, the request as it is rebuilt |
//! | payload mode | `payload` | double encoding, metadata that messages overwrite, which answers succeed, fail or hang |
//! | queues | `listener`, [`storage`] | batches, leases and their renewal, dequeue counts, poison queues |
//! | timers | `timers`, `schedule` | NCRONTAB, past due, no overlap |
//!
//! It plays what Azure gives and what it refuses; what it does not play (proxying, payload mode for HTTP, output bindings, identities) it refuses
//! with a sentence. Two of them may share one storage account; a timer is one firing within each. By default it is as `func start` is: no keys,
//! `AZURE_FUNCTIONS_ENVIRONMENT=Development`. [`Options::cloud`] asks for keys.
//!
//! Must never: listen on, or send to, anything but loopback; leave a process behind; be kinder to a handler than Azure is.

mod app;
mod front;
mod handler;
mod instance;
mod journal;
mod listener;
mod options;
mod payload;
mod platform;
mod schedule;
mod settings;
mod staging;
pub mod storage;
mod template;
mod timers;
mod timespan;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use app::Trigger;
use handler::Phase;
use instance::Monitor;
use journal::Journal;
pub use journal::{Counts, Line, Source};
pub use options::Options;
use platform::{Platform, client};
pub use staging::stage;
use storage::{Queue, QueueError};

/// The version that the host says it has.
pub const HOST_VERSION: &str = "4.1037.0.0";

/// Why a host does not start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file cannot be read.
    #[error("{}: {source}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not the JSON that it has to be.
    #[error("{}: {source}", file.display())]
    Json {
        /// Which.
        file: PathBuf,
        /// Where, and why.
        source: serde_json::Error,
    },
    /// A file says what the host refuses.
    #[error("{}: {rule}", file.display())]
    Rule {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        rule: String,
    },
    /// This machine does not give what the host needs.
    #[error("the host cannot run here: {0}")]
    Machine(String),
}

/// Where the host stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its handler is being started.
    Starting,
    /// Its handler has answered.
    Running,
    /// No host instance runs.
    Down(String),
}

/// A host that runs. Dropped, it ends at once, and its handler with it.
pub struct Functions {
    platform: Arc<Platform>,
    runtime: Handle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Functions").field("folder", &self.platform.options.folder).finish_non_exhaustive()
    }
}

impl Functions {
    /// Starts a host. Requests wait until its handler is ready.
    ///
    /// # Errors
    /// What the real host would not start with either; functions that fail to load leave the rest alone, see [`Self::failed`].
    pub fn start(options: Options) -> Result<Self, HostError> {
        let machine = |e: std::io::Error| HostError::Machine(e.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(machine)?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).map_err(machine)?;
        let address = listener.local_addr().map_err(machine)?;
        let journal = Arc::new(Journal::new());
        let current = Mutex::new(Err("it has not started yet".to_owned()));
        let platform = Arc::new(Platform { options, address, journal, monitor: Monitor::default(), current });
        let (handle, (stop, stopped)) = (runtime.handle().clone(), tokio::sync::oneshot::channel());
        let (begun, beginning) = mpsc::channel();
        let this = platform.clone();
        // One thread for all of it: handlers die with the thread that started them.
        let thread = std::thread::Builder::new().name("functions".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let router = axum::Router::new().fallback(front::take).with_state(this.clone());
                let served = tokio::spawn(async move { axum::serve(listener, router).await });
                let _ = begun.send(this.begin());
                let _ = stopped.await;
                served.abort();
                if let Some(instance) = this.instance() {
                    this.end(&instance, "it was stopped".to_owned()).await;
                }
            });
        });
        let host = Self { platform, runtime: handle, stop: Some(stop), thread: Some(thread.map_err(machine)?) };
        beginning.recv().map_err(|_| HostError::Machine("the host's thread has ended".to_owned()))??;
        Ok(host)
    }

    /// Where the app is reached. It stays the same over all restarts.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.platform.address
    }

    /// Where the host stands.
    #[must_use]
    pub fn state(&self) -> State {
        match &*self.platform.current() {
            Ok(instance) if matches!(instance.handler.phase(), Phase::Ready(_)) => State::Running,
            Ok(_) => State::Starting,
            Err(why) => State::Down(why.clone()),
        }
    }

    /// The functions that failed to load, and why.
    #[must_use]
    pub fn failed(&self) -> BTreeMap<String, String> {
        self.platform.instance().map(|instance| instance.app.failed.clone()).unwrap_or_default()
    }

    /// Kills the handler. As on Azure that is an error: the third one within half an hour ends the host.
    pub fn kill_handler(&self) {
        if let Some(instance) = self.platform.instance() {
            instance.handler.kill();
        }
    }

    /// The whole host instance dies, its handler with it: messages stay invisible until their leases end.
    pub fn die(&self) {
        let platform = self.platform.clone();
        self.run(async move {
            if let Some(instance) = platform.instance() {
                platform.end(&instance, "it was killed".to_owned()).await;
            }
        });
    }

    /// Starts a host instance again, if none runs.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn revive(&self) -> Result<(), HostError> {
        let platform = self.platform.clone();
        self.run(async move { if platform.instance().is_some() { Ok(()) } else { platform.begin() } })
    }

    /// Fires a timer now, past its time or not, and waits until that has ended.
    ///
    /// # Errors
    /// Why the firing failed, or that there is no such timer.
    pub fn fire(&self, function: &str, past_due: bool) -> Result<(), String> {
        let (platform, function) = (self.platform.clone(), function.to_owned());
        self.run(async move {
            let instance = platform.instance().ok_or("no host instance runs")?;
            let found = instance.app.functions.iter().find(|one| one.name == function && matches!(one.trigger, Trigger::Timer { .. })).cloned();
            timers::fire(&instance, &found.ok_or_else(|| format!("there is no timer {function}"))?, past_due).await
        })
    }

    /// How the executions of a function have ended so far.
    #[must_use]
    pub fn counts(&self, function: &str) -> Counts {
        self.platform.journal.counts(function)
    }

    /// How many executions run now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.platform.instance().map_or(0, |instance| instance.in_flight())
    }

    /// How long each start of the handler took until it was ready.
    #[must_use]
    pub fn ready_after(&self) -> Vec<Duration> {
        self.platform.journal.starts()
    }

    /// The host's own calls of the queue service so far, by operation.
    #[must_use]
    pub fn transactions(&self) -> BTreeMap<&'static str, u64> {
        self.platform.journal.transactions()
    }

    /// Everything that handler and host have said so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.platform.journal.lines()
    }

    /// The same as one text.
    #[must_use]
    pub fn log(&self) -> String {
        self.lines().into_iter().map(|line| line.text + "\n").collect()
    }

    /// A queue of the account in this setting (a connection string).
    ///
    /// # Errors
    /// The setting is missing, or no connection string of an emulator.
    pub fn queue(&self, setting: &str, name: &str) -> Result<Queue, QueueError> {
        let connection = self.platform.options.settings.get(setting).ok_or(QueueError::Connection("is missing"))?;
        let client = client(None).map_err(|e| QueueError::Failed { operation: "open", why: e.to_string() })?;
        Queue::open(connection, name, client, Arc::new(Journal::new()))
    }

    /// Waits until a condition holds: it is looked at again whenever anything is said or counted.
    ///
    /// # Panics
    /// When it has not come to that in time, with the log.
    #[track_caller]
    pub fn wait(&self, what: &str, patience: Duration, holds: impl Fn(&Self) -> bool) {
        let (begun, mut changes) = (Instant::now(), self.platform.journal.listen());
        while !holds(self) {
            assert!(begun.elapsed() < patience, "waited {patience:?} in vain: {what}; the log says:\n{}", self.log());
            let changed = async move {
                // Not everything that can be asked for is said: a short while is enough to look again.
                let _ = tokio::time::timeout(Duration::from_millis(20), changes.changed()).await;
                changes
            };
            changes = self.run(changed);
        }
    }

    /// Runs a future on the host's thread.
    pub fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (reply, result) = mpsc::channel();
        self.runtime.spawn(async move {
            let _ = reply.send(future.await);
        });
        result.recv().expect("the host's thread runs as long as this value lives")
    }
}

impl Drop for Functions {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A text in the form of a GUID, of random digits.
fn guid() -> String {
    let half = || getrandom::u64().unwrap_or_default();
    let digits = format!("{:016x}{:016x}", half(), half());
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]);
    parts.join("-")
}

/// A random number in this range.
fn random_share(low: f64, high: f64) -> f64 {
    low + (high - low) * f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX)
}

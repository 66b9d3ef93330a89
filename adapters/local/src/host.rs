//! The local host: one process that owns a folder. Shard threads drive instances; activities have threads of their own too.
//!
//! Must never: begin to drive before what the last process left is known, or hold back its end for user code that does not come back.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use durable::ports::StoreError;
use durable::{App, Client, Engine, EngineConfig, Ports, Shard};
use durable_host::turns::{self, STACK};
use durable_host::{Activities, NoWake, SystemClock, SystemEntropy, Watchdog, build_of_this_program, rest_every};
use tokio::task::{JoinHandle, JoinSet};

use crate::alarms::LocalAlarms;
use crate::pace::Pace;
use crate::restart::Restart;
use crate::runtime::ActivityThreads;
use crate::secret::{self, UrlSecret};
use crate::store::{OpenError, Options, SqliteStore, Stats};

/// How a local host runs.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// The folder that holds everything. It is made if it is not there.
    pub folder: PathBuf,
    /// Shard threads; one for each core if none is said.
    pub shards: Option<usize>,
    /// Activities that run at a time.
    pub activities: usize,
    /// Instances that stay in memory between turns, over all shards: about 6 KB each. The others are replayed when something comes for them.
    pub live: usize,
    /// An instance that has done nothing for so long, or up to twice as long, does not stay in memory.
    pub idle: Duration,
    /// Opens a database that is known to lack its last commits (see [`OpenError::MissingCommits`]).
    pub accept_missing_commits: bool,
    /// Signs the URLs that the server lets people outside use (see [`durable::event_url`]). If none is said, the one in the folder's file
    /// `event-url-secret`, which is made if it is not there.
    pub url_secret: Option<UrlSecret>,
}

impl LocalOptions {
    /// Everything in this folder, the rest as it is usual.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            shards: None,
            activities: 256,
            live: 4_000,
            idle: Duration::from_secs(30),
            accept_missing_commits: false,
            url_secret: None,
        }
    }
}

/// A host that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The secret of signed URLs cannot be used.
    #[error("the secret of signed URLs: {0}")]
    Secret(String),
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// A running local host.
pub struct LocalHost {
    engine: Engine,
    store: SqliteStore,
    watchdog: Arc<Watchdog>,
    alarms: JoinHandle<()>,
    /// Those that drive what the last process left, one for each shard.
    restarts: Vec<JoinHandle<()>>,
    supervisor: JoinHandle<()>,
    rests: JoinHandle<()>,
    ended: Arc<Ended>,
    /// Ends with the host.
    _activities: ActivityThreads,
}

/// Counts shard threads that have ended.
#[derive(Default)]
struct Ended {
    count: Mutex<usize>,
    changed: tokio::sync::Notify,
}

impl LocalHost {
    /// Opens the folder, drives what the last process left, and serves. Must be called on a tokio runtime; activities run on one of their own.
    ///
    /// # Errors
    /// [`LocalError`] says what is in the way, and what to do.
    pub async fn open(app: App, options: LocalOptions) -> Result<Self, LocalError> {
        Self::open_at(app, options, None).await
    }

    /// As [`LocalHost::open`]; what the app's signed URLs begin with, if it may make some.
    pub(crate) async fn open_at(app: App, options: LocalOptions, base_url: Option<String>) -> Result<Self, LocalError> {
        let mut opening = Options::new(&options.folder);
        opening.accept_missing_commits = options.accept_missing_commits;
        // Opening reads and locks files: not on the runtime's own threads.
        let opened = tokio::task::spawn_blocking(move || SqliteStore::open(opening)).await;
        let store = opened.map_err(|e| std::io::Error::other(e.to_string()))??;
        let app = match base_url {
            Some(base_url) => app.or_event_urls(secret::urls(base_url, options.url_secret, &options.folder).await.map_err(LocalError::Secret)?),
            None => app,
        };
        let app = Arc::new(app.or_build_id(build_of_this_program()));
        let count = options.shards.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
        let (watchdog, suspects) = Watchdog::open(&options.folder.join("suspects"), count);
        let alarms = LocalAlarms::new();
        let (activities, runtime) = ActivityThreads::start()?;
        let ports = Ports {
            store: Arc::new(store.clone()),
            alarms: Arc::new(alarms.clone()),
            wake: Arc::new(NoWake),
            dispatch: Arc::new(Activities::new(app.clone(), runtime, options.activities)),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            guard: watchdog.clone(),
        };
        let config = EngineConfig { shards: count, live_per_shard: options.live.div_ceil(count), exclusive: true, ..EngineConfig::default() };
        let (engine, shards) = Engine::new(app, ports, config);
        for suspect in suspects {
            engine.record_fault(&suspect.instance, suspect.incarnation, &turns::died()).await?;
            if let Some(first) = suspect.first {
                engine.store_first(first);
            }
        }
        watchdog.clear();
        let ended = Arc::new(Ended::default());
        for shard in shards {
            run_shard(shard, &ended)?;
        }
        let restart = Restart { engine: engine.clone(), store: store.clone(), pace: Pace::new(count) };
        let supervisor = supervise(&restart, &watchdog, &ended)?;
        let restarts = restart.every_shard(count).await?;
        let alarms = tokio::spawn(alarms.ring(store.clone(), engine.clone(), restart.pace));
        let rests = tokio::spawn(rest_every(engine.clone(), options.idle));
        Ok(Self { engine, store, watchdog, alarms, restarts, supervisor, rests, ended, _activities: activities })
    }

    /// A client.
    #[must_use]
    pub fn client(&self) -> Client {
        self.engine.client()
    }

    /// What the store has counted since it was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.store.stats()
    }

    /// The store, for its counts and listings.
    #[must_use]
    pub const fn store(&self) -> &SqliteStore {
        &self.store
    }

    /// Stops: what is under way is finished, as far as it ends `within` this time; the rest goes on at the next start.
    pub async fn stop(self, within: Duration) {
        self.alarms.abort();
        self.rests.abort();
        self.restarts.iter().for_each(JoinHandle::abort);
        self.engine.stop();
        let shards = self.engine.shard_count();
        let all_ended = async {
            loop {
                let changed = self.ended.changed.notified();
                if *self.ended.count.lock().unwrap_or_else(PoisonError::into_inner) >= shards {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(within, all_ended).await.is_err() {
            tracing::warn!("not everything ended within {within:?}: it goes on at the next start");
        }
        self.supervisor.abort();
        self.watchdog.stop();
        let store = self.store.clone();
        // Closing writes the log back into the database.
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
    }
}

/// Runs a shard on a thread of its own.
fn run_shard(shard: Shard, ended: &Arc<Ended>) -> Result<(), std::io::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let ended = ended.clone();
    std::thread::Builder::new().name(format!("shard-{}", shard.index())).stack_size(STACK).spawn(move || {
        if !runtime.block_on(shard.run()) {
            return;
        }
        *ended.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        ended.changed.notify_one();
    })?;
    Ok(())
}

/// Replaces shards whose turn does not come back: the fault is recorded first, so that the successor does not fall into the same hole.
fn supervise(restart: &Restart, watchdog: &Arc<Watchdog>, ended: &Arc<Ended>) -> Result<JoinHandle<()>, std::io::Error> {
    let mut stuck = turns::overdue(watchdog)?;
    let (restart, ended) = (restart.clone(), ended.clone());
    Ok(tokio::spawn(async move {
        // They end with this task.
        let mut readers = JoinSet::new();
        while let Some((index, turn)) = stuck.recv().await {
            while readers.try_join_next().is_some() {}
            let fault = turns::too_long();
            tracing::error!(instance = %turn.instance, shard = index, "{fault}");
            if let Err(trouble) = restart.engine.record_fault(&turn.instance, turn.incarnation, &fault).await {
                tracing::error!(instance = %turn.instance, "the fault cannot be recorded: {trouble}");
            }
            if let Err(e) = run_shard(restart.engine.replace_shard(index), &ended) {
                tracing::error!(shard = index, "the shard cannot be replaced: {e}");
                continue;
            }
            restart.pace.renew(index);
            match restart.store.newest().await {
                Ok(newest) => drop(readers.spawn(restart.clone().what_is_left(index, newest))),
                Err(trouble) => tracing::error!(shard = index, "what the shard left cannot be read: {trouble}"),
            }
        }
    }))
}

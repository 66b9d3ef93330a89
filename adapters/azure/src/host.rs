//! The host: makes everything from the settings, once, and serves until the Functions host ends the process, which it does without a word.
//!
//! One engine serves all invocations of the process. Others may serve the same hub at the same time. Must never: listen before what it needs is
//! there, end by itself once it listens, or hold back anything for the end of the process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use durable::event_url::EventUrls;
use durable::{App, Engine, EngineConfig, Ports, Shard};
use durable_host::queued::{
    Attempts, Bells, Covered, FarAlarms, Handler, HostAlarms, HostDispatch, Hourly, Pauses, PoisonQueue, Queues, SafetyNet, announce_build,
};
use durable_host::stores::CloudStore;
use durable_host::turns::{self, STACK};
use durable_host::{Machine, SystemEntropy, ThisMachine, Watchdog, build_of_this_program, rest_every};
use tokio::net::TcpListener;
use tokio::runtime::Handle as Runtime;

use crate::AzureError;
use crate::alarms::AlarmTable;
use crate::http::{Front, prefix_of_links};
use crate::metrics::Metrics;
use crate::queue::{NAMES, Queue};
use crate::server::{self, Calls};
use crate::settings::Settings;
use crate::storage::Storage;
use crate::store::TableStore;
use crate::table::Table;

/// How long storage may not be reachable at the start. The Functions host waits 30 seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pause before storage is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// The tables and queues of a hub.
struct Places {
    store: TableStore,
    far: AlarmTable,
    queues: [Queue; 3],
    poison: [Queue; 3],
}

impl Places {
    fn new(storage: &Storage, settings: &Settings) -> Result<Self, AzureError> {
        let queue = |name: &str| Queue::new(storage.clone(), settings.queue(name));
        // Names of queues and tables know no case: hubs that differ in nothing else are one.
        let hub = settings.hub.to_ascii_lowercase();
        let store = TableStore::new(storage.clone(), crate::store::Options::new(&hub)).map_err(|e| AzureError::Hub(e.to_string()))?;
        let alarms = Table::new(storage.clone(), format!("DurableAlarms{hub}")).map_err(|e| AzureError::Hub(e.to_string()))?;
        Ok(Self { store, far: AlarmTable::new(alarms), queues: NAMES.map(queue), poison: NAMES.map(|name| queue(&format!("{name}-poison"))) })
    }

    /// Makes what is not there yet.
    async fn create(&self) -> Result<(), AzureError> {
        let [work, activities, alarms] = &self.queues;
        let [work_poison, activities_poison, alarms_poison] = &self.poison;
        let queues = async {
            tokio::try_join!(work.create(), activities.create(), alarms.create(), work_poison.create(), activities_poison.create(), alarms_poison.create())
        };
        let store = async { self.store.create_table().await.map_err(AzureError::from) };
        let others = async { tokio::try_join!(self.far.create(), queues).map_err(AzureError::from) };
        tokio::try_join!(others, store).map(drop)
    }

    /// Makes them, and waits a while for storage that cannot be reached.
    async fn ready(&self) -> Result<(), AzureError> {
        let begun = Instant::now();
        loop {
            match self.create().await {
                Ok(()) => return Ok(()),
                Err(refused @ AzureError::Refused(_)) => return Err(refused),
                Err(trouble) if begun.elapsed() >= PATIENCE => return Err(AzureError::Unreachable(trouble.to_string())),
                Err(trouble) => {
                    tracing::warn!("{trouble}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Serves until the process is ended.
///
/// # Errors
/// [`AzureError`] if it cannot begin.
pub async fn serve(app: App, settings: Settings) -> Result<std::convert::Infallible, AzureError> {
    let storage = Storage::new(settings.account.clone(), crate::storage::Options::default()).map_err(crate::settings::SettingsError::from)?;
    let places = Places::new(&storage, &settings)?;
    let app = match event_urls(&settings)? {
        Some(urls) => app.or_event_urls(urls),
        None => app,
    };
    let app = Arc::new(app.or_build_id(build_of_this_program()));
    places.ready().await?;
    let calls = start(app, &settings, &storage, places).await?;
    let listener = TcpListener::bind(settings.listen).await.map_err(|why| AzureError::Listen { address: settings.listen, why })?;
    tracing::info!("serving task hub {} in storage account {}", settings.hub, settings.account.name());
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // Answers are small: waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, server::router(Arc::new(calls))).await.map_err(AzureError::Runtime)?;
    Err(AzureError::Runtime(std::io::Error::other("the listener is gone")))
}

/// Signed URLs, if there is a secret and an address.
fn event_urls(settings: &Settings) -> Result<Option<EventUrls>, AzureError> {
    let Some(secret) = &settings.url_secret else { return Ok(None) };
    let Some(base) = &settings.public_url else {
        tracing::warn!("there are no signed event URLs: nobody says where people reach this app, say it in DURABLE_PUBLIC_URL");
        return Ok(None);
    };
    let base = format!("{}{}", base.trim_end_matches('/'), prefix_of_links(settings));
    EventUrls::new(base, secret.0.clone()).map(Some).map_err(|e| AzureError::Secret(e.to_string()))
}

/// Starts the engine, and says what calls need.
async fn start(app: Arc<App>, settings: &Settings, storage: &Storage, places: Places) -> Result<Calls, AzureError> {
    let [work, activities, alarms] = places.queues;
    let queues = Queues { work: Arc::new(work), activities: Arc::new(activities), alarms: Arc::new(alarms) };
    let far: Arc<dyn FarAlarms> = Arc::new(places.far);
    let store: Arc<dyn CloudStore> = Arc::new(places.store);
    let machine: Arc<dyn Machine> = Arc::new(ThisMachine::new(app.clone()));
    let bells = Bells::default();
    let (watchdog, suspects) = Watchdog::open(&suspects_file(settings), settings.shards);
    let ports = Ports {
        store: Arc::new(Covered::new(store.clone(), queues.work.clone(), machine.clone())),
        alarms: Arc::new(HostAlarms::new(queues.alarms.clone(), far.clone(), bells.clone(), machine.clone())),
        wake: Arc::new(SafetyNet::new(queues.work.clone(), machine.clone(), settings.safety)),
        dispatch: Arc::new(HostDispatch::new(machine.clone(), queues.activities.clone(), settings.limits.clone())),
        clock: machine.clone(),
        entropy: Arc::new(SystemEntropy),
        guard: watchdog.clone(),
    };
    let config = EngineConfig {
        shards: settings.shards,
        live_per_shard: settings.live.div_ceil(settings.shards),
        // Whatever runs in place ends within this.
        claim: settings.limits.in_place + settings.limits.grace,
        deadline: None,
        exclusive: false,
    };
    let (engine, shards) = Engine::new(app.clone(), ports, config);
    for suspect in suspects {
        engine.record_fault(&suspect.instance, suspect.incarnation, &turns::died()).await?;
        if let Some(first) = suspect.first {
            engine.store_first(first);
        }
    }
    watchdog.clear();
    for shard in shards {
        run_shard(shard)?;
    }
    supervise(&engine, &watchdog)?;
    tokio::spawn(bells.ring(engine.clone(), machine.clone()));
    tokio::spawn(rest_every(engine.clone(), IDLE));
    tokio::spawn(announce_build(store.clone(), queues.work.clone(), machine.clone(), app.build_id().to_owned()));
    let poison: Vec<Arc<dyn PoisonQueue>> = places.poison.into_iter().map(|queue| Arc::new(queue) as Arc<dyn PoisonQueue>).collect();
    let handler = Handler {
        engine: engine.clone(),
        store,
        queues: queues.clone(),
        poison: poison.into(),
        hourly: Hourly::new(far, queues, machine.clone()),
        machine,
        longest: settings.limits.longest,
        pauses: Pauses::new(settings.safety, settings.limits.grace),
        attempts: Attempts::default(),
    };
    let metrics = Metrics::new(storage.clone(), settings.hub.clone(), settings.metrics);
    Ok(Calls { handler, front: Front::new(engine.client(), settings), metrics })
}

/// An instance that has done nothing for so long does not stay in memory.
const IDLE: Duration = Duration::from_secs(30);

/// Where it is noted whose turn runs. It outlives the process, whose successor listens at the same port.
fn suspects_file(settings: &Settings) -> PathBuf {
    std::env::temp_dir().join(format!("durable-suspects-{}-{}", settings.hub, settings.listen.port()))
}

/// Runs a shard on a thread of its own, with this runtime's network.
fn run_shard(shard: Shard) -> std::io::Result<()> {
    let runtime = Runtime::current();
    let name = format!("shard-{}", shard.index());
    std::thread::Builder::new().name(name).stack_size(STACK).spawn(move || runtime.block_on(shard.run())).map(drop)
}

/// Replaces shards whose turn does not come back: the fault is recorded first, so that the successor does not fall into the same hole. What else
/// the shard had in hand has its safety nets.
fn supervise(engine: &Engine, watchdog: &Arc<Watchdog>) -> std::io::Result<()> {
    let mut stuck = turns::overdue(watchdog)?;
    let engine = engine.clone();
    tokio::spawn(async move {
        while let Some((index, turn)) = stuck.recv().await {
            let fault = turns::too_long();
            tracing::error!(instance = %turn.instance, shard = index, "{fault}");
            if let Err(trouble) = engine.record_fault(&turn.instance, turn.incarnation, &fault).await {
                tracing::error!(instance = %turn.instance, "the fault cannot be recorded: {trouble}");
            }
            if let Err(e) = run_shard(engine.replace_shard(index)) {
                tracing::error!(shard = index, "the shard cannot be replaced: {e}");
            }
        }
    });
    Ok(())
}

//! Exhaustive single faults on the real Azure host: its process behind the Functions host of the tests, Azurite behind proxies. See `single_faults`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod hosts;
mod single_faults;
mod support;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use durable::ports::{StatusRecord, Store};
use durable::{InstanceId, Timestamp};
use durable_azure::alarms::AlarmTable;
use durable_azure::store::TableStore;
use durable_azure::table::Table;
use durable_host::queued::FarAlarms;
use durable_tests::azurite::Azurite;
use durable_tests::functions::storage::QueueError;
use durable_tests::functions::{Functions, stage};
use durable_tests::proxy::{Dialect, Proxy};
use durable_tests::tools;
use hosts::azure::{KEY, options};
use single_faults::{MENDED, Rig, Script};
use support::{Http, workload_azure};

/// Delays of the safety nets, all in seconds; and so few activities in place that some are handed on.
const NETS: [(&str, &str); 6] = [
    ("DURABLE_SAFETY_SECONDS", "2"),
    ("DURABLE_ATTEMPT_SECONDS", "3"),
    ("DURABLE_IN_PLACE_SECONDS", "3"),
    ("DURABLE_GRACE_SECONDS", "1"),
    ("DURABLE_QUEUED_SECONDS", "2"),
    ("DURABLE_IN_PLACE", "2"),
];

/// Any step of a story is done within this: the client's own patience included, and a machine that does much else.
const BOUND: Duration = Duration::from_secs(60);

/// A message whose execution nobody has settled comes again after this. On Azure that takes ten minutes.
const LEASE: Duration = Duration::from_secs(8);

/// How often the queues are looked at.
const LOOK: Duration = Duration::from_millis(400);

const QUEUES: [&str; 3] = ["work", "activities", "alarms"];

/// Longer than a message of the queue of alarms waits in these stories.
const SETTLES: Duration = Duration::from_secs(45);

/// One app in a hub of its own.
struct AzureRig {
    functions: Functions,
    store: TableStore,
    far: AlarmTable,
    hub: String,
    folder: tempfile::TempDir,
    proxies: [Proxy; 2],
}

/// The app, staged once for all runs.
fn staged() -> &'static PathBuf {
    static STAGED: OnceLock<PathBuf> = OnceLock::new();
    STAGED.get_or_init(|| {
        let folder = tools::target().join("azure-faults");
        stage(workload_azure(), &folder);
        folder
    })
}

impl AzureRig {
    fn length(&self, queue: &str) -> u64 {
        let queue = self.functions.queue("AzureWebJobsStorage", &format!("{}-{queue}", self.hub)).expect("a queue");
        match self.functions.run(async move { queue.length().await }) {
            Ok(length) => length,
            Err(QueueError::NotFound { .. }) => 0,
            // Nobody knows: it is asked again.
            Err(_) => u64::MAX,
        }
    }

    /// Waits until nothing runs, and no queue holds anything; what is left in vain.
    fn settle(&self, patience: Duration) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            if self.functions.in_flight() == 0 && QUEUES.iter().all(|queue| self.length(queue) == 0) {
                return Ok(());
            }
            if begun.elapsed() > patience {
                let lengths = QUEUES.map(|queue| self.length(queue));
                return Err(format!("after {patience:?} {} executions run, and the queues hold {lengths:?}", self.functions.in_flight()));
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Rig for AzureRig {
    fn start(script: &Arc<Script>, cold: bool) -> Self {
        let (local, hub) = (Azurite::get(), Azurite::hub());
        let before = |service: &str, dialect, name| local.run(Proxy::before(&local.address(service), dialect, script.plan(name))).expect("a proxy");
        let (tables, queues) = (before("table", Dialect::AZURE_TABLES, "table"), before("queue", Dialect::AZURE_QUEUES, "queue"));
        let through = local.connection_string(Some(&tables.address())).replace(&local.address("queue"), &queues.address());
        let options =
            NETS.iter().fold(options(staged(), &hub).cloud().function_key(KEY).restarted_by_platform(), |options, (name, value)| options.setting(name, value));
        let folder = tempfile::tempdir().expect("a temporary folder");
        // The app goes through the proxies. The Functions host itself does not: what it asks of its queues are no calls of the app.
        let options = options.for_the_handler("AzureWebJobsStorage", &through).setting("MENDED", &folder.path().join(MENDED).display().to_string());
        let options = options.setting("AzureFunctionsJobHost__extensions__queues__visibilityTimeout", "00:00:01");
        let options = options.lease(LEASE);
        let functions = Functions::start(options.setting("AzureFunctionsJobHost__extensions__queues__maxPollingInterval", "00:00:01")).expect("a host");
        let store = Azurite::store(local.storage(None), &hub);
        let far = AlarmTable::new(Table::new(local.storage(None), format!("DurableAlarms{hub}")).expect("a name"));
        let rig = Self { functions, store, far, hub, folder, proxies: [tables, queues] };
        if !cold {
            rig.functions.wait("the first message, which each new build sends, to be done", BOUND, |functions| functions.counts("work").succeeded == 1);
            rig.rest();
        }
        rig
    }

    fn http(&self) -> Http {
        Http::new(self.functions.address()).with_key(KEY).management_below("/api")
    }

    fn record(&self, instance: &InstanceId) -> Option<StatusRecord> {
        // A host that is being born has no table yet.
        Azurite::get().run(self.store.status(instance)).ok().flatten()
    }

    fn rest(&self) {
        self.settle(SETTLES).unwrap_or_else(|left| panic!("stuck: {left}"));
    }

    fn left(&self) -> Vec<String> {
        let poison = QUEUES.map(|queue| format!("{queue}-poison")).into_iter().filter(|queue| self.length(queue) > 0);
        poison.map(|queue| format!("messages in {queue}")).collect()
    }

    fn alarms(&self) -> usize {
        Azurite::get().run(self.far.earliest(Timestamp::MAX)).expect("the table can be read").len()
    }

    fn bound(&self) -> Duration {
        BOUND
    }

    fn killed(&self) -> u64 {
        self.proxies.iter().map(Proxy::killed).sum()
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log(&self) -> String {
        self.functions.log()
    }
}

#[test]
fn whatever_dies_or_fails_on_azure_every_story_ends_as_it_must() {
    let settings = NETS.map(|(name, value)| format!("{name}={value}")).join(" ");
    single_faults::walk::<AzureRig>("Azure", &format!("{settings}, a failed message comes again after 1 s"), 8);
}

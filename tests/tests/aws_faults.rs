//! Exhaustive single faults on the real AWS host: its processes behind the local driver, DynamoDB Local and the driver's own Lambda and Step
//! Functions behind proxies. See `single_faults`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod hosts;
mod single_faults;
mod support;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use durable::ports::{Clock, StatusRecord, Store};
use durable::{InstanceId, Timestamp};
use durable_aws::store::DynamoStore;
use durable_aws_dev::Cloud;
use durable_host::SystemClock;
use durable_tests::dynamodb::Local;
use durable_tests::proxy::{Dialect, Proxy};
use durable_tests::tools;
use hosts::aws::{KEY, builder};
use serde_json::Value;
use single_faults::{MENDED, Rig, Script};
use support::{Http, workload_lambda};

/// How long an invocation may take.
const INVOCATION: Duration = Duration::from_secs(12);

/// Delays of the safety nets, all in seconds; and so few activities in place that some are handed on.
const NETS: [(&str, &str); 4] = [("DURABLE_ATTEMPT_SECONDS", "3"), ("DURABLE_GRACE_SECONDS", "1"), ("DURABLE_QUEUED_SECONDS", "2"), ("DURABLE_IN_PLACE", "2")];

/// Any step of a story is done within this: the client's own patience included, and a machine that does much else.
const BOUND: Duration = Duration::from_secs(60);

/// So many runs are told on one server.
const SERVED_BY_ONE: u32 = 100;

/// One function on a table of its own.
struct AwsRig {
    cloud: Cloud,
    store: DynamoStore,
    folder: tempfile::TempDir,
    proxies: [Proxy; 3],
    /// Last, for the others run on it.
    local: Arc<Local>,
}

/// The function, copied once for all runs: a build beside them may replace the original.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let copy = tools::target().join("aws-faults").join("bootstrap");
        std::fs::create_dir_all(copy.parent().expect("a folder")).expect("the folder can be made");
        let made = copy.with_extension("new");
        std::fs::copy(workload_lambda(), &made).and_then(|_| std::fs::rename(&made, &copy)).expect("the program can be copied");
        copy
    })
}

/// A server of tables that is not slow yet.
fn server() -> Arc<Local> {
    static LATEST: Mutex<Option<(Arc<Local>, u32)>> = Mutex::new(None);
    let mut latest = LATEST.lock().expect("the latest server");
    let (server, served) = latest.take().filter(|(_, served)| *served < SERVED_BY_ONE).unwrap_or_else(|| (Arc::new(Local::start()), 0));
    *latest = Some((server.clone(), served + 1));
    server
}

/// Whether an execution sleeps for longer than any story.
fn sleeps_long(input: &str) -> bool {
    let input: Value = serde_json::from_str(input).unwrap_or_default();
    let at = input["fireAt"].as_str().and_then(Timestamp::parse);
    at.is_some_and(|at| SystemClock.now().until(at) > Duration::from_secs(3_600))
}

impl Rig for AwsRig {
    fn start(script: &Arc<Script>, cold: bool) -> Self {
        let (local, folder) = (server(), tempfile::tempdir().expect("a temporary folder"));
        let table = local.table();
        let before = |upstream: &str, dialect, name| local.run(Proxy::before(upstream, dialect, script.plan(name))).expect("a proxy");
        let tables = before(local.address(), Dialect::DYNAMO_DB, "table");
        // Where these two lead to is known once the driver runs.
        let (lambda, timers) = (before("", Dialect::LAMBDA, "lambda"), before("", Dialect::STEP_FUNCTIONS, "timers"));
        let builder = NETS
            .iter()
            .fold(builder(program(), &local, &table, &folder.path().join("log")).timeout(INVOCATION), |builder, (name, value)| builder.env(*name, *value));
        let builder = builder
            .env("MENDED", folder.path().join(MENDED).display().to_string())
            .env("AWS_ENDPOINT_URL_DYNAMODB", format!("http://{}", tables.address()))
            .env("AWS_ENDPOINT_URL_LAMBDA", format!("http://{}", lambda.address()))
            .env("AWS_ENDPOINT_URL_SFN", format!("http://{}", timers.address()));
        let cloud = local.run(builder.start()).unwrap_or_else(|e| panic!("the driver does not start: {e}"));
        let api = cloud.api().replace("http://", "");
        lambda.lead_to(&api);
        timers.lead_to(&api);
        let store = Local::store(&Local::client(local.address()), &table, "TestHubName");
        let rig = Self { cloud, store, folder, proxies: [tables, lambda, timers], local };
        if !cold {
            assert_eq!(rig.http().get("/api/orchestrators/nobody/status").code, 404);
            rig.rest();
        }
        rig
    }

    fn http(&self) -> Http {
        let address = self.cloud.url().strip_prefix("http://").and_then(|address| address.parse().ok()).expect("an address");
        Http::new(address).with_key(KEY)
    }

    fn record(&self, instance: &InstanceId) -> Option<StatusRecord> {
        self.local.run(self.store.status(instance)).expect("the table can be read")
    }

    fn rest(&self) {
        self.local.run(self.cloud.quiesce(BOUND)).unwrap_or_else(|left| panic!("stuck: {left}"));
    }

    fn left(&self) -> Vec<String> {
        let begun = Instant::now();
        let soon = || self.cloud.open_executions().iter().any(|execution| !sleeps_long(&execution.input));
        while soon() && begun.elapsed() < BOUND {
            std::thread::sleep(Duration::from_millis(100));
        }
        let executions = self.cloud.open_executions().into_iter().filter(|execution| !sleeps_long(&execution.input)).map(|execution| execution.input);
        let batches = self.cloud.failed_batches().into_iter().map(|batch| format!("a batch of the stream: {:?}", batch.error));
        let events = self.cloud.failed_events().into_iter().filter(|event| event.dropped).map(|event| format!("an event: {}", event.payload));
        executions.chain(batches).chain(events).collect()
    }

    fn alarms(&self) -> usize {
        self.cloud.open_executions().len()
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
        String::from_utf8_lossy(&std::fs::read(self.folder.path().join("log")).unwrap_or_default()).into_owned()
    }
}

#[test]
fn whatever_dies_or_fails_on_aws_every_story_ends_as_it_must() {
    let settings = NETS.map(|(name, value)| format!("{name}={value}")).join(" ");
    single_faults::walk::<AwsRig>("AWS", &format!("{settings}, an invocation has {INVOCATION:?}, an event that failed comes again after 1 and 2 s"), 8);
}

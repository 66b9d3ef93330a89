//! The AWS host with what of AWS is around it, on this machine: DynamoDB Local, and the local driver.
//!
//! Must never: talk to anything but loopback, or leave a process behind.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use durable_aws_dev::lambda::AsyncOptions;
use durable_aws_dev::stream::{Filter, Mapping};
use durable_aws_dev::{Builder, Cloud};
use durable_tests::dynamodb::Local;
use serde_json::Value;

use super::Host;
use crate::support::{Http, PATIENCE, Webhook};

pub use super::KEY;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A function on a table of its own.
pub struct Aws {
    /// What is around it. Dropped first.
    pub cloud: Cloud,
    webhook: Webhook,
    folder: tempfile::TempDir,
}

impl Aws {
    /// This program as the function, see [`builder`].
    pub fn start(program: &Path, with: impl FnOnce(Builder) -> Builder) -> Self {
        // `RUST_LOG` shows what the driver has to say.
        let _ = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).try_init();
        let (local, webhook, folder) = (Local::get(), Webhook::new(), tempfile::tempdir().expect("a temporary folder"));
        let builder = builder(program, local, &local.table(), &folder.path().join("log")).env("WEBHOOK_SERVICE_URL", &webhook.url);
        let cloud = local.run(with(builder).start()).unwrap_or_else(|e| panic!("the driver does not start: {e}"));
        Self { cloud, webhook, folder }
    }

    /// Where the function's URL listens.
    pub fn address(&self) -> SocketAddr {
        self.cloud.url().strip_prefix("http://").and_then(|address| address.parse().ok()).expect("an address")
    }

    /// Runs a future on the driver's runtime.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        Local::get().run(future)
    }

    /// Waits until nothing runs and nothing waits to.
    #[track_caller]
    pub fn quiesce(&self) {
        self.run(self.cloud.quiesce(PATIENCE)).unwrap_or_else(|e| panic!("{e}: {}", self.log()));
    }

    /// What the processes have written.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.path().join("log")).unwrap_or_default()).into_owned()
    }

    /// The metrics that the invocations have written.
    pub fn metrics(&self) -> Vec<Value> {
        self.log().lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|line| line.get("_aws").is_some()).collect()
    }
}

/// This program as the function on a table, with the template's mapping and timers, and short delays of the safety nets.
pub fn builder(program: &Path, local: &Local, table: &str, log: &Path) -> Builder {
    let retries = vec![Duration::from_secs(1), Duration::from_secs(2)];
    Cloud::builder()
        .bootstrap(program)
        .log(log)
        .dynamodb(format!("http://{}", local.address()))
        .stream(table, Mapping { filter: filter(), poll: Duration::from_millis(100), ..Mapping::default() })
        .definition(Path::new(ROOT).join("infra/aws/timer.asl.json"))
        .substitution("Partition", "aws")
        .asynchronous(AsyncOptions { retries, allow_loops: true, ..AsyncOptions::default() })
        .env("DURABLE_TABLE", table)
        .env("DURABLE_TIMER_STATE_MACHINE_ARN", durable_aws_dev::state_machine_arn("durable"))
        .env("DURABLE_URL_AUTH", "KEY")
        .env("DURABLE_KEY", KEY)
        .env("DURABLE_URL_SECRET", KEY)
}

impl Host for Aws {
    fn http(&self) -> Http {
        Http::new(self.address()).with_key(KEY)
    }

    fn webhook(&self) -> &Webhook {
        &self.webhook
    }
}

/// The filter of the stream's mapping, as the template has it.
fn filter() -> Filter {
    let template = std::fs::read_to_string(Path::new(ROOT).join("infra/aws/template.yaml")).expect("the template");
    let pattern = template.lines().find_map(|line| line.trim().strip_prefix("- Pattern: '")?.strip_suffix('\'')).expect("a filter in the template");
    Filter::new(vec![serde_json::from_str(pattern).expect("a pattern")]).expect("a filter that the driver knows")
}

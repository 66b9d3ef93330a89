//! The host on Azure Functions with what of Azure is around it, on this machine: Azurite, and a Functions host that plays the real one.
//!
//! Must never: talk to anything but loopback, or leave a process behind.

use std::path::Path;

use durable_tests::azurite::Azurite;
use durable_tests::functions::{Functions, Options, stage};

use super::Host;
use crate::support::{Http, Webhook};

pub use super::KEY;

/// An app with a task hub of its own.
pub struct Azure {
    /// What runs it. Dropped first.
    pub functions: Functions,
    webhook: Webhook,
    /// The name of the hub.
    pub hub: String,
    folder: tempfile::TempDir,
}

impl Azure {
    /// This program as the app, as it is published, with keys, and with a short delay of the safety net.
    pub fn start(program: &Path, with: impl FnOnce(Options) -> Options) -> Self {
        Self::beside(program, Azurite::hub(), with)
    }

    /// The same, in a hub that others may use too.
    pub fn beside(program: &Path, hub: String, with: impl FnOnce(Options) -> Options) -> Self {
        Self::made(program, hub, |options| with(options.cloud().function_key(KEY)))
    }

    /// The app as `func start` runs it: no keys.
    pub fn on_ones_own_machine(program: &Path) -> Self {
        Self::made(program, Azurite::hub(), |options| options)
    }

    fn made(program: &Path, hub: String, with: impl FnOnce(Options) -> Options) -> Self {
        let (webhook, folder) = (Webhook::new(), tempfile::tempdir().expect("a temporary folder"));
        stage(program, folder.path());
        let options = options(folder.path(), &hub).setting("WEBHOOK_SERVICE_URL", &webhook.url);
        let functions = Functions::start(with(options)).unwrap_or_else(|e| panic!("the Functions host does not start: {e}"));
        Self { functions, webhook, hub, folder }
    }
}

/// The app in this folder, in this hub, with a short delay of the safety net.
pub fn options(folder: &Path, hub: &str) -> Options {
    Options::new(folder)
        .setting("AzureWebJobsStorage", &Azurite::get().connection_string(None))
        .setting("DURABLE_TASK_HUB", hub)
        .setting("DURABLE_URL_SECRET", KEY)
        .setting("DURABLE_SAFETY_SECONDS", "4")
}

impl Drop for Azure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the Functions host and the app said:\n{}", self.functions.log());
        }
    }
}

impl Host for Azure {
    fn http(&self) -> Http {
        Http::new(self.functions.address()).with_key(KEY).management_below("/api")
    }

    fn webhook(&self) -> &Webhook {
        &self.webhook
    }
}

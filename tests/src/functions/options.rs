//! How a host is run.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::settings::Settings;

/// What a host runs, and with which limits. The limits are Azure's unless a test makes them shorter.
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) folder: PathBuf,
    pub(super) settings: Settings,
    pub(super) handler: Vec<(String, String)>,
    pub(super) cloud: bool,
    pub(super) platform: bool,
    pub(super) function_key: String,
    pub(super) master_key: String,
    pub(super) lease: Duration,
    pub(super) caller_cap: Duration,
    pub(super) body_limit: usize,
}

impl Options {
    /// Runs the app that is staged in this folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            settings: Settings::default(),
            handler: Vec::new(),
            cloud: false,
            platform: false,
            function_key: "function-key-of-this-app".to_owned(),
            master_key: "master-key-of-this-app".to_owned(),
            lease: Duration::from_secs(600),
            caller_cap: Duration::from_secs(230),
            body_limit: 104_857_600,
        }
    }

    /// An app setting: resolved in bindings, and in the handler's environment. `AzureFunctionsJobHost__…` goes before what host.json says.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.set(name, value);
        self
    }

    /// What the handler alone finds in its environment, in place of a setting of this name: a proxy before a service, say.
    #[must_use]
    pub fn for_the_handler(mut self, name: &str, value: &str) -> Self {
        self.handler.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Keys are asked for, and the platform says which scheme it was called by.
    #[must_use]
    pub fn cloud(mut self) -> Self {
        self.cloud = true;
        self
    }

    /// A host that shuts itself down is started again.
    #[must_use]
    pub fn restarted_by_platform(mut self) -> Self {
        self.platform = true;
        self
    }

    /// The key of functions with `authLevel: function`.
    #[must_use]
    pub fn function_key(mut self, key: &str) -> Self {
        key.clone_into(&mut self.function_key);
        self
    }

    /// The host's master key.
    #[must_use]
    pub fn master_key(mut self, key: &str) -> Self {
        key.clone_into(&mut self.master_key);
        self
    }

    /// How long a message is invisible while it is worked on; it is renewed at half of that. Whole seconds.
    #[must_use]
    pub fn lease(mut self, time: Duration) -> Self {
        self.lease = time;
        self
    }

    /// How long a caller waits for an answer at most.
    #[must_use]
    pub fn caller_cap(mut self, time: Duration) -> Self {
        self.caller_cap = time;
        self
    }

    /// How large a request may be, in bytes.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Adds what the platform, or `func start`, puts into every environment.
    pub(super) fn settle(&mut self, address: SocketAddr) {
        self.settings.set("FUNCTIONS_WORKER_RUNTIME", "custom");
        self.settings.set("WEBSITE_HOSTNAME", &address.to_string());
        self.settings.set("AZURE_FUNCTIONS_ENVIRONMENT", if self.cloud { "Production" } else { "Development" });
    }
}

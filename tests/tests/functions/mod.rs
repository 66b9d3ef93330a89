//! What the tests of the host share: apps that are written for one test, around the handler that does as it is told.

mod http;
mod loading;
mod process;
mod queues;
mod staged;
mod timers;

use std::path::Path;
use std::time::Duration;

use durable_tests::functions::{Functions, Options, State};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Http, custom_handler};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// An app in a folder of its own.
pub struct Staged {
    folder: TempDir,
    host: Value,
}

impl Staged {
    /// An app without functions.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(custom_handler(), folder.path().join("handler")).unwrap();
        let host = json!({
            "version": "2.0",
            "extensions": {"queues": {"maxPollingInterval": "00:00:00.1", "batchSize": 4, "newBatchThreshold": 2}},
            "customHandler": {"description": {"defaultExecutablePath": "handler"}, "enableForwardingHttpRequest": true},
        });
        Self { folder, host }.written()
    }

    fn written(self) -> Self {
        std::fs::write(self.folder.path().join("host.json"), self.host.to_string()).unwrap();
        self
    }

    /// The same app with another host.json.
    pub fn host(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.host);
        self.written()
    }

    /// One function more, of these bindings.
    pub fn function(self, name: &str, bindings: Value) -> Self {
        std::fs::create_dir(self.path().join(name)).unwrap();
        std::fs::write(self.path().join(name).join("function.json"), json!({"bindings": bindings}).to_string()).unwrap();
        self
    }

    /// A function for HTTP; `more` goes into its trigger.
    pub fn http(self, name: &str, more: Value) -> Self {
        let mut trigger = json!({"type": "httpTrigger", "direction": "in", "name": "req"});
        trigger.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.function(name, json!([trigger, {"type": "http", "direction": "out", "name": "res"}]))
    }

    /// A function that takes everything.
    pub fn catch_all() -> Self {
        Self::new().http("zz", json!({"route": "{*path}"}))
    }

    pub fn timer(self, schedule: &str) -> Self {
        self.function("tick", json!([{"type": "timerTrigger", "direction": "in", "name": "timer", "schedule": schedule}]))
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn options(&self) -> Options {
        Options::new(self.path())
    }

    pub fn start(self) -> Running {
        self.start_with(|options| options)
    }

    pub fn start_with(self, with: impl FnOnce(Options) -> Options) -> Running {
        let host = Functions::start(with(self.options())).unwrap_or_else(|e| panic!("the host does not start: {e}"));
        Running { host, _app: self }
    }

    /// What the host says of an app that it does not start with.
    pub fn refused(&self) -> String {
        Functions::start(self.options()).map(drop).unwrap_err().to_string()
    }
}

/// A host with its app.
pub struct Running {
    pub host: Functions,
    _app: Staged,
}

impl Running {
    pub fn client(&self) -> Http {
        Http::new(self.host.address())
    }

    /// What the handler was sent with this request.
    #[track_caller]
    pub fn sent(&self, method: &str, path: &str) -> Value {
        self.client().request(method, path, None).unwrap().expect(200).json()
    }

    #[track_caller]
    pub fn code(&self, method: &str, path: &str) -> u16 {
        self.client().request(method, path, None).unwrap().code
    }

    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn(&Functions) -> bool) {
        self.host.wait(what, PATIENCE, holds);
    }

    #[track_caller]
    pub fn until_running(&self) {
        self.until("the host runs", |host| host.state() == State::Running);
    }

    #[track_caller]
    pub fn until_said(&self, text: &str) {
        self.until(&format!("it is said: {text}"), |host| host.log().contains(text));
    }

    pub fn is_down(&self) -> bool {
        matches!(self.host.state(), State::Down(_))
    }
}

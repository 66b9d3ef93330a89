//! What stands around host instances: it starts them, and again after they shut themselves down, and keeps what outlives them.
//!
//! Must never: run two instances at a time, or hold the lock while an instance ends.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::app::App;
use super::handler::{Handler, Program};
use super::instance::{Instance, Monitor};
use super::journal::Journal;
use super::{HostError, Options};

/// How soon a host is started again that shut itself down.
const AGAIN: Duration = Duration::from_millis(100);

/// For so long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(2);

/// What is there as long as the app is, whether a host instance runs or not.
pub(super) struct Platform {
    pub(super) options: Options,
    pub(super) address: SocketAddr,
    pub(super) journal: Arc<Journal>,
    pub(super) monitor: Monitor,
    /// The instance, or why there is none.
    pub(super) current: Mutex<Result<Arc<Instance>, String>>,
}

impl Platform {
    pub(super) fn current(&self) -> MutexGuard<'_, Result<Arc<Instance>, String>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn instance(&self) -> Option<Arc<Instance>> {
        self.current().as_ref().ok().cloned()
    }

    /// Starts a host instance, which reads the folder again.
    pub(super) fn begin(self: &Arc<Self>) -> Result<(), HostError> {
        let machine = |e: &dyn std::error::Error| HostError::Machine(e.to_string());
        let mut options = self.options.clone();
        options.settle(self.address);
        let app = Arc::new(App::read(&options.folder, &options.settings)?);
        for (function, why) in &app.failed {
            self.journal.say(format!("the function {function} is in error: {why}"));
        }
        let client = client(app.function_timeout).map_err(|e| machine(&e))?;
        let (handler, orders) = Handler::new(program(&app, &options), client.clone(), self.journal.clone()).map_err(|e| machine(&e))?;
        let (instance, mut ended) = Instance::start((app, handler, orders), client, (self.journal.clone(), self.monitor.clone()), options.lease);
        *self.current() = Ok(instance.clone());
        let platform = self.clone();
        tokio::spawn(async move {
            // None: it was stopped from outside.
            let Some(why) = ended.recv().await else { return };
            platform.journal.say(format!("the host shuts down: {why}"));
            platform.end(&instance, why).await;
            drop(instance);
            if platform.options.platform {
                tokio::time::sleep(AGAIN).await;
                if platform.instance().is_none()
                    && let Err(e) = platform.begin()
                {
                    platform.journal.say(format!("the host does not start: {e}"));
                }
            }
        });
        Ok(())
    }

    pub(super) async fn end(&self, instance: &Arc<Instance>, why: String) {
        {
            let mut current = self.current();
            if current.as_ref().is_ok_and(|running| Arc::ptr_eq(running, instance)) {
                *current = Err(why);
            }
        }
        instance.stop().await;
    }
}

/// A client for plain HTTP on this machine.
pub(super) fn client(function_timeout: Option<Duration>) -> Result<reqwest::Client, reqwest::Error> {
    // The client wants a provider of TLS, though all of this is plain HTTP. Another part of the program may have chosen one before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Emulators close a connection that has been idle for five seconds; one that is used again just then breaks off.
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).pool_idle_timeout(IDLE);
    match function_timeout {
        Some(limit) => builder.timeout(limit + Duration::from_secs(60)).build(),
        None => builder.build(),
    }
}

fn program(app: &App, options: &Options) -> Program {
    let mut environment: Vec<_> = options.settings.environment().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let worker = super::guid();
    for (name, value) in [("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", &worker), ("FUNCTIONS_HTTPWORKER_ID", &worker)] {
        environment.push((name.to_owned(), value.clone()));
    }
    // Behind the settings: the later one of two counts.
    environment.extend(options.handler.iter().cloned());
    environment.push(("FUNCTIONS_APP_ROOT_PATH".to_owned(), app.folder.display().to_string()));
    Program {
        executable: app.executable.clone(),
        arguments: app.arguments.clone(),
        folder: app.working_directory.clone(),
        environment,
        initialization_timeout: app.initialization_timeout,
    }
}

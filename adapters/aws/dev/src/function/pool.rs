//! The processes of a `bootstrap`: warm ones are used again, more are started up to the function's concurrency, and beyond that it throttles.
//!
//! Must never: queue. An invocation finds a process, starts one, or is refused, as on Lambda.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::sandbox::{Job, Sandbox, SandboxInfo};
use super::spawn::{Spawner, tied};
use super::{BoxFuture, Event, Function, Outcome, Refused, runtime_api};
use crate::pulse::Pulse;

/// How the processes of a function run.
#[derive(Debug, Clone)]
pub(crate) struct SandboxOptions {
    /// The executable.
    pub(crate) bootstrap: PathBuf,
    /// How many run at most; an event beyond that is throttled.
    pub(crate) concurrency: usize,
    /// How long an invocation may take, work after the answer included.
    pub(crate) timeout: Duration,
    /// Stops a process while it waits for an event, as Lambda does.
    pub(crate) freeze: bool,
    /// The environment of a process, beside `PATH`, `AWS_LAMBDA_RUNTIME_API` and `LAMBDA_TASK_ROOT`. Nothing else is handed down.
    pub(crate) env: BTreeMap<String, String>,
    /// Where the processes' output goes; our own standard error if not said.
    pub(crate) log: Option<PathBuf>,
}

/// The processes of one function.
pub(crate) struct Pool {
    options: SandboxOptions,
    function_arn: Arc<str>,
    log: Option<File>,
    spawner: Spawner,
    pulse: Pulse,
    numbers: AtomicU64,
    /// None: the pool is closed.
    sandboxes: Mutex<Option<Vec<Arc<Sandbox>>>>,
    this: Weak<Self>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("bootstrap", &self.options.bootstrap).finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool without processes: the first event starts one.
    pub(crate) fn new(options: SandboxOptions, function_arn: &str, pulse: Pulse) -> std::io::Result<Arc<Self>> {
        let log = options.log.as_ref().map(|path| File::options().create(true).append(true).open(path)).transpose()?;
        let spawner = Spawner::new()?;
        Ok(Arc::new_cyclic(|this| Self {
            options,
            function_arn: function_arn.into(),
            log,
            spawner,
            pulse,
            numbers: AtomicU64::new(1),
            sandboxes: Mutex::new(Some(Vec::new())),
            this: this.clone(),
        }))
    }

    fn sandboxes(&self) -> MutexGuard<'_, Option<Vec<Arc<Sandbox>>>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds a place for an event. The most recently used process takes it, so that the others can be seen to be idle.
    fn place(&self, mut job: Job) {
        let mut sandboxes = self.sandboxes();
        let Some(all) = sandboxes.as_mut() else {
            let _ = job.reply.send(Err(Refused::Unavailable("the driver is stopping".to_owned())));
            return;
        };
        loop {
            let warm = all.iter().filter_map(|sandbox| Some((sandbox.idle_since()?, sandbox))).max_by_key(|(since, _)| *since);
            let Some((_, sandbox)) = warm else { break };
            match sandbox.give(job) {
                Ok(()) => return,
                Err(back) => job = back,
            }
        }
        if all.iter().filter(|sandbox| !sandbox.is_over()).count() >= self.options.concurrency {
            let _ = job.reply.send(Err(Refused::Throttled));
            return;
        }
        let id = self.numbers.fetch_add(1, Ordering::Relaxed);
        let sandbox = Arc::new(Sandbox::new(id, job, self.options.timeout, self.options.freeze, self.pulse.clone()));
        all.push(sandbox.clone());
        drop(sandboxes);
        self.pulse.beat();
        if let Some(pool) = self.this.upgrade() {
            tokio::spawn(pool.run(sandbox));
        }
    }

    /// Runs one process from its start to its end.
    async fn run(self: Arc<Self>, sandbox: Arc<Sandbox>) {
        let back = match self.start(&sandbox).await {
            Ok((child, server)) => {
                sandbox.started(child.id());
                let back = sandbox.supervise(child).await;
                server.abort();
                back
            }
            Err(e) => {
                let why = format!("{} cannot be started: {e}", self.options.bootstrap.display());
                sandbox.init_failed(Outcome::failed("Runtime.InvalidEntrypoint", &why).into_payload());
                None
            }
        };
        if let Some(all) = self.sandboxes().as_mut() {
            all.retain(|other| other.id != sandbox.id);
        }
        self.pulse.beat();
        if let Some(job) = back {
            self.place(job);
        }
    }

    async fn start(&self, sandbox: &Arc<Sandbox>) -> std::io::Result<(Child, tokio::task::JoinHandle<()>)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let router = runtime_api::router(sandbox.clone(), self.function_arn.clone());
        let server = tokio::spawn(async move {
            if let Err(e) = axum::serve(listener, router).await {
                tracing::warn!("the runtime API at {address} broke off: {e}");
            }
        });
        let started = async { self.spawner.spawn(self.command(&address.to_string())?).await };
        match started.await {
            Ok(child) => Ok((child, server)),
            Err(e) => {
                server.abort();
                Err(e)
            }
        }
    }

    fn command(&self, runtime_api: &str) -> std::io::Result<Command> {
        let bootstrap = std::path::absolute(&self.options.bootstrap)?;
        let mut command = tied(&bootstrap)?;
        command.env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        if let Some(folder) = bootstrap.parent() {
            command.env("LAMBDA_TASK_ROOT", folder);
        }
        command.envs(&self.options.env).env("AWS_LAMBDA_RUNTIME_API", runtime_api);
        command.stdin(Stdio::null()).stdout(self.output()?).stderr(self.output()?);
        Ok(command)
    }

    fn output(&self) -> std::io::Result<Stdio> {
        match &self.log {
            Some(file) => Ok(file.try_clone()?.into()),
            None => Ok(std::io::stderr().as_fd().try_clone_to_owned()?.into()),
        }
    }
}

impl Function for Pool {
    fn invoke(&self, event: Event) -> BoxFuture<'_, Result<Outcome, Refused>> {
        Box::pin(async move {
            let (reply, outcome) = oneshot::channel();
            self.place(Job { event, reply });
            outcome.await.unwrap_or_else(|_| Err(Refused::Unavailable("the driver is stopping".to_owned())))
        })
    }

    fn busy(&self) -> usize {
        self.sandboxes().iter().flatten().filter(|sandbox| sandbox.busy()).count()
    }

    fn sandboxes(&self) -> Vec<SandboxInfo> {
        self.sandboxes().iter().flatten().filter(|sandbox| !sandbox.is_over()).map(|sandbox| sandbox.info()).collect()
    }

    fn kill(&self, id: u64) -> bool {
        let sandboxes = self.sandboxes();
        let found = sandboxes.iter().flatten().find(|sandbox| sandbox.id == id && !sandbox.is_over());
        found.inspect(|sandbox| sandbox.kill_now()).is_some()
    }

    fn stop(&self) {
        for sandbox in self.sandboxes().take().unwrap_or_default() {
            sandbox.kill_now();
        }
    }
}

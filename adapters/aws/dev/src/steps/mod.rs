//! Step Functions: one state machine, and its executions. `StartExecution`, `StopExecution` and `DescribeExecution` over JSON 1.0.
//!
//! Must never: run two executions of one name, or give a name that has been used to another one.

mod api;
mod choice;
mod definition;
mod path;
mod run;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use api::call;
pub use definition::DefinitionError;
use definition::Machine;
use jiff::Timestamp;
use run::{End, Error, Progress, Run};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::journal::Journal;
use crate::lambda::Lambda;
use crate::pulse::Pulse;

/// How long a used name stays taken.
const NAMES_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

/// The journal's words.
const OPEN: &str = "execution";
const CLOSED: &str = "closed-execution";

/// The state machine that timers run on.
#[derive(Debug, Clone)]
pub(crate) struct StepsOptions {
    /// Its definition, a file in the Amazon States Language.
    pub(crate) definition: PathBuf,
    /// Values for the definition's `${…}`. Names without one mean the function's ARN.
    pub(crate) substitutions: BTreeMap<String, String>,
    /// Multiplies the intervals of retries, for tests.
    pub(crate) retry_scale: f64,
}

/// A state machine that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum StepsError {
    /// The definition cannot be read.
    #[error("the state machine's definition {file} cannot be read: {why}")]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// The definition cannot be run.
    #[error("{file}: {why}")]
    Definition {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: DefinitionError,
    },
}

/// Where an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ExecutionStatus {
    /// It waits or works.
    Running,
    /// It reached its end.
    Succeeded,
    /// It failed.
    Failed,
    /// It lasted too long.
    TimedOut,
    /// It was stopped.
    Aborted,
}

/// An execution, for those who look.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Execution {
    /// Its ARN.
    pub execution_arn: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// Its input, as it was sent.
    pub input: String,
    /// The state it is in, or ended in.
    pub state: String,
    /// When it was started.
    pub started: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Timestamp>,
    /// Its output, if it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Its error, if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The error's cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// What the journal keeps of an open execution.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    input: String,
    started: Timestamp,
    progress: Progress,
}

#[derive(Default)]
struct Executions {
    all: BTreeMap<String, Execution>,
    runs: BTreeMap<String, AbortHandle>,
    /// Names used in an earlier run of the driver.
    names: BTreeMap<String, Timestamp>,
}

/// Step Functions with one state machine.
pub(crate) struct Steps {
    pub(crate) arn: String,
    machine: Arc<Machine>,
    lambda: Arc<Lambda>,
    journal: Arc<Journal>,
    pulse: Pulse,
    retry_scale: f64,
    executions: Mutex<Executions>,
}

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steps").field("arn", &self.arn).finish_non_exhaustive()
    }
}

impl Steps {
    /// Reads the definition, and goes on with the executions of the last run.
    pub(crate) fn open(options: StepsOptions, arn: String, lambda: Arc<Lambda>, journal: Arc<Journal>, pulse: Pulse) -> Result<Arc<Self>, StepsError> {
        let file = options.definition;
        let text = std::fs::read_to_string(&file).map_err(|why| StepsError::Read { file: file.clone(), why })?;
        let mut values = options.substitutions;
        for name in text.split("${").skip(1).filter_map(|part| part.split('}').next()) {
            values.entry(name.to_owned()).or_insert_with(|| lambda.arn.clone());
        }
        let machine = definition::substitute(&text, &values).and_then(|text| Machine::read(&text));
        let machine = Arc::new(machine.map_err(|why| StepsError::Definition { file, why })?);
        let retry_scale = options.retry_scale.max(0.0);
        let steps = Arc::new(Self { arn, machine, lambda, journal, pulse, retry_scale, executions: Mutex::default() });
        steps.resume();
        Ok(steps)
    }

    fn executions(&self) -> MutexGuard<'_, Executions> {
        self.executions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn execution_arn(&self, name: &str) -> String {
        format!("{}:{name}", self.arn.replacen(":stateMachine:", ":execution:", 1))
    }

    fn resume(self: &Arc<Self>) {
        for (name, closed) in self.journal.all::<Timestamp>(CLOSED) {
            if crate::pulse::later(closed, NAMES_KEPT) < Timestamp::now() {
                self.journal.remove(CLOSED, &name);
            } else {
                self.executions().names.insert(name, closed);
            }
        }
        for (name, kept) in self.journal.all::<Kept>(OPEN) {
            self.begin(&mut self.executions(), &name, kept);
        }
    }

    /// Starts an execution, or gives the one that runs under this name with the same input.
    fn start(self: &Arc<Self>, name: &str, input: String, data: Value) -> Result<Execution, Taken> {
        let mut executions = self.executions();
        match executions.all.get(name) {
            Some(execution) if execution.status == ExecutionStatus::Running && execution.input == input => return Ok(execution.clone()),
            Some(_) => return Err(Taken),
            None if executions.names.contains_key(name) => return Err(Taken),
            None => {}
        }
        let now = Timestamp::now();
        let progress = Progress { state: self.machine.start_at.clone(), data, entered: now };
        let kept = Kept { input, started: now, progress };
        self.journal.put(OPEN, name, &kept);
        Ok(self.begin(&mut executions, name, kept))
    }

    fn begin(self: &Arc<Self>, executions: &mut Executions, name: &str, kept: Kept) -> Execution {
        let Kept { input, started, progress } = kept;
        let execution = Execution {
            execution_arn: self.execution_arn(name),
            name: name.to_owned(),
            status: ExecutionStatus::Running,
            input,
            state: progress.state.clone(),
            started,
            stopped: None,
            output: None,
            error: None,
            cause: None,
        };
        executions.all.insert(name.to_owned(), execution.clone());
        let run = tokio::spawn(self.clone().follow(execution.clone(), progress));
        executions.runs.insert(name.to_owned(), run.abort_handle());
        self.pulse.beat();
        execution
    }

    async fn follow(self: Arc<Self>, execution: Execution, progress: Progress) {
        let Execution { execution_arn, name, input, started, .. } = execution;
        let machine = self.arn.rsplit(':').next().unwrap_or_default();
        let data: Value = serde_json::from_str(&input).unwrap_or_default();
        let context = json!({
            "Execution": {"Id": execution_arn, "Name": name, "StartTime": started, "Input": data},
            "StateMachine": {"Id": self.arn, "Name": machine},
        });
        let run = Run { machine: self.machine.clone(), lambda: self.lambda.clone(), context, started, retry_scale: self.retry_scale };
        let entering = |progress: &Progress| {
            let mut executions = self.executions();
            // One that was stopped meanwhile is not kept again.
            if let Some(execution) = executions.all.get_mut(&name).filter(|execution| execution.status == ExecutionStatus::Running) {
                execution.state.clone_from(&progress.state);
                self.journal.put(OPEN, &name, &Kept { input: input.clone(), started, progress: progress.clone() });
            }
        };
        let end = run.run(progress, entering).await;
        self.close(&name, |execution| match end {
            End::Succeeded(output) => {
                execution.status = ExecutionStatus::Succeeded;
                execution.output = Some(output.to_string());
            }
            End::Failed(Error { name: error, cause }) => {
                tracing::warn!("execution {} failed: {error}: {cause}", execution.name);
                execution.status = ExecutionStatus::Failed;
                (execution.error, execution.cause) = (Some(error), Some(cause));
            }
            End::TimedOut => execution.status = ExecutionStatus::TimedOut,
        });
    }

    /// Closes an execution that runs; gives it as it stands then.
    fn close(&self, name: &str, change: impl FnOnce(&mut Execution)) -> Option<Execution> {
        let mut executions = self.executions();
        let execution = executions.all.get_mut(name)?;
        if execution.status == ExecutionStatus::Running {
            let now = Timestamp::now();
            change(execution);
            execution.stopped = Some(now);
            self.journal.put(CLOSED, name, &now);
            self.journal.remove(OPEN, name);
            self.pulse.beat();
        }
        let execution = execution.clone();
        executions.runs.remove(name);
        Some(execution)
    }

    /// Stops an execution. A task that is under way goes on in the function, but nothing comes of it.
    fn stop_execution(&self, name: &str, error: Option<String>, cause: Option<String>) -> Option<Execution> {
        let run = self.executions().runs.remove(name);
        if let Some(run) = run {
            run.abort();
        }
        self.close(name, |execution| {
            execution.status = ExecutionStatus::Aborted;
            (execution.error, execution.cause) = (error, cause);
        })
    }

    /// All executions since the start, and those left open by the last run.
    pub(crate) fn all(&self) -> Vec<Execution> {
        self.executions().all.values().cloned().collect()
    }

    /// Executions that are not waiting: a task of theirs is to run, or runs.
    pub(crate) fn working(&self) -> usize {
        let waits = |state: &str| matches!(self.machine.states.get(state), Some(definition::State::Wait(_)));
        let executions = self.executions();
        executions.all.values().filter(|execution| execution.status == ExecutionStatus::Running && !waits(&execution.state)).count()
    }

    /// Ends all runs. What is open stays in the journal.
    pub(crate) fn stop(&self) {
        for (_, run) in std::mem::take(&mut self.executions().runs) {
            run.abort();
        }
    }
}

/// The name is taken.
struct Taken;

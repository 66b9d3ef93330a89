//! All parts together: what can be seen of them, and whether anything is still going on.
//!
//! Must never: take for quiet what only waits for a retry. A timer that waits for its time is quiet.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::lambda::Lambda;
use crate::pulse::Pulse;
use crate::schedule::Scheduler;
use crate::steps::{ExecutionStatus, Steps};
use crate::stream::Shared;

/// It did not become quiet in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("after {within:?} there is still work: {busy} sandboxes busy, {queued} asynchronous events, {working} executions at work, {backlog} records of the stream{}", if *.behind { ", and the stream has not been read to its end" } else { "" })]
pub struct NotQuiet {
    /// How long it was waited for.
    pub within: Duration,
    /// Invocations under way.
    pub busy: usize,
    /// Asynchronous events that wait or run.
    pub queued: usize,
    /// Executions outside of a `Wait`.
    pub working: usize,
    /// Records read and not delivered.
    pub backlog: usize,
    /// There may be records that have not been read.
    pub behind: bool,
}

/// The parts.
pub(crate) struct Parts {
    pub(crate) lambda: Arc<Lambda>,
    pub(crate) steps: Option<Arc<Steps>>,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) stream: Option<Arc<Shared>>,
    pub(crate) pulse: Pulse,
}

impl Parts {
    fn left(&self, within: Duration, behind: bool) -> NotQuiet {
        NotQuiet {
            within,
            busy: self.lambda.busy(),
            queued: self.lambda.queued(),
            working: self.steps.as_ref().map_or(0, |steps| steps.working()),
            backlog: self.stream.as_ref().map_or(0, |stream| if stream.troubles().paused { 0 } else { stream.backlog() }),
            behind,
        }
    }

    fn is_still(&self) -> bool {
        let left = self.left(Duration::ZERO, false);
        left.busy + left.queued + left.working + left.backlog == 0
    }

    fn is_drained(&self, since: Instant) -> bool {
        self.stream.as_ref().is_none_or(|stream| stream.is_drained(since))
    }

    /// Waits until no sandbox is busy, all queues are empty and the stream has been read to its end.
    pub(crate) async fn quiesce(&self, within: Duration) -> Result<(), NotQuiet> {
        let quiet = async {
            let mut changes = self.pulse.listen();
            loop {
                while !self.is_still() {
                    changes.change().await;
                }
                // What was written until now is in the stream. If reading it to its end brings no invocation, nothing is left.
                let (total, since) = (self.lambda.counts().total(), Instant::now());
                while self.is_still() && !self.is_drained(since) {
                    changes.change().await;
                }
                if self.is_still() && self.is_drained(since) && self.lambda.counts().total() == total {
                    return;
                }
            }
        };
        let begun = Instant::now();
        tokio::time::timeout(within, quiet).await.map_err(|_| self.left(within, !self.is_drained(begun)))
    }

    /// Everything that can be seen, as JSON.
    pub(crate) fn seen(&self) -> Value {
        let executions = self.steps.as_ref().map(|steps| steps.all()).unwrap_or_default();
        let open: Vec<_> = executions.into_iter().filter(|execution| execution.status == ExecutionStatus::Running).collect();
        let stream = self.stream.as_ref();
        json!({
            "counts": self.lambda.counts(),
            "sandboxes": self.lambda.function().sandboxes(),
            "busy": self.lambda.busy(),
            "queued": self.lambda.queued(),
            "failedEvents": self.lambda.failed(),
            "openExecutions": open,
            "schedules": self.scheduler.all().into_iter().map(|schedule| json!({"name": schedule.name, "at": schedule.at})).collect::<Vec<_>>(),
            "stream": stream.map(|stream| json!({"trouble": stream.troubles(), "backlog": stream.backlog(), "failedBatches": stream.failed()})),
        })
    }

    /// Ends what runs.
    pub(crate) fn stop(&self) {
        self.scheduler.stop();
        if let Some(steps) = &self.steps {
            steps.stop();
        }
        self.lambda.stop();
    }
}

//! One process of the function, as Lambda runs it: one invocation at a time, frozen while it waits for the next, killed when it takes too long.
//!
//! The process counts as busy from the moment an event is handed over until it asks for the next one. Its answer goes to the caller at once; what it
//! does between the answer and the next request is still part of the invocation. Must never: let an idle process run (unless freezing is
//! switched off), or leave a caller without an answer when the process ends.

use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use tokio::process::Child;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::{Event, Outcome, Refused};
use crate::pulse::Pulse;

/// How long a process may take before it first asks for an event. What it needs beyond that is taken from the function's timeout.
const INIT: Duration = Duration::from_secs(10);

/// An event, and where its outcome goes.
pub(super) struct Job {
    pub(super) event: Event,
    pub(super) reply: oneshot::Sender<Result<Outcome, Refused>>,
}

/// What a process is doing.
#[derive(Debug, Clone, Serialize)]
pub struct SandboxInfo {
    /// Its number, never used again.
    pub id: u64,
    /// The process, once it has been started.
    pub process: Option<i32>,
    /// It starts, or an invocation is under way.
    pub busy: bool,
    /// It is stopped, waiting for an event.
    pub frozen: bool,
    /// Events it has taken.
    pub invocations: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Idle,
    Busy,
    Ended,
}

struct Current {
    request_id: String,
    reply: Option<oneshot::Sender<Result<Outcome, Refused>>>,
}

struct State {
    phase: Phase,
    /// Handed over, and not fetched yet.
    job: Option<Job>,
    current: Option<Current>,
    deadline: Option<Instant>,
    process: Option<Pid>,
    frozen: bool,
    invocations: u64,
    idle_since: Instant,
}

impl State {
    fn signal(&self, signal: Signal) {
        if let Some(process) = self.process
            && let Err(e) = kill_process_group(process, signal)
        {
            tracing::debug!("signal {signal:?} does not reach process group {process}: {e}");
        }
    }
}

/// How a process came to its end.
enum End {
    Exited(std::io::Result<ExitStatus>),
    TimedOut,
    Killed,
}

/// One process.
pub(super) struct Sandbox {
    pub(super) id: u64,
    timeout: Duration,
    freeze: bool,
    pulse: Pulse,
    state: Mutex<State>,
    given: Notify,
    rescheduled: Notify,
    killed: Notify,
}

impl Sandbox {
    /// A process that will be started for its first event.
    pub(super) fn new(id: u64, job: Job, timeout: Duration, freeze: bool, pulse: Pulse) -> Self {
        let now = Instant::now();
        let state = State {
            phase: Phase::Starting,
            job: Some(job),
            current: None,
            deadline: Some(now + INIT + timeout),
            process: None,
            frozen: false,
            invocations: 0,
            idle_since: now,
        };
        let (given, rescheduled, killed) = (Notify::new(), Notify::new(), Notify::new());
        Self { id, timeout, freeze, pulse, state: Mutex::new(state), given, rescheduled, killed }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its process runs. It may have come so far as to be idle before this was said.
    pub(super) fn started(&self, process: Option<u32>) {
        let mut state = self.state();
        state.process = process.and_then(|process| Pid::from_raw(i32::try_from(process).ok()?));
        if state.frozen {
            state.signal(Signal::STOP);
        }
    }

    /// Its process has ended.
    pub(super) fn is_over(&self) -> bool {
        self.state().phase == Phase::Ended
    }

    pub(super) fn busy(&self) -> bool {
        matches!(self.state().phase, Phase::Starting | Phase::Busy)
    }

    /// Since when it waits for an event, if it does.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.phase == Phase::Idle).then_some(state.idle_since)
    }

    pub(super) fn info(&self) -> SandboxInfo {
        let state = self.state();
        let process = state.process.map(|process| process.as_raw_nonzero().get());
        let busy = matches!(state.phase, Phase::Starting | Phase::Busy);
        SandboxInfo { id: self.id, process, busy, frozen: state.frozen, invocations: state.invocations }
    }

    /// Hands over an event, if it waits for one: it runs on from here.
    pub(super) fn give(&self, job: Job) -> Result<(), Job> {
        let mut state = self.state();
        if state.phase != Phase::Idle {
            return Err(job);
        }
        state.phase = Phase::Busy;
        state.job = Some(job);
        state.deadline = Some(Instant::now() + self.timeout);
        if state.frozen {
            state.frozen = false;
            state.signal(Signal::CONT);
        }
        drop(state);
        self.given.notify_one();
        self.rescheduled.notify_one();
        self.pulse.beat();
        Ok(())
    }

    /// The process asks for its next event: the last invocation is over. Gives the event, and until when it may take.
    pub(super) async fn next(&self) -> (Event, Timestamp) {
        let mut asked = false;
        loop {
            if let Some(event) = self.fetch(!asked) {
                return event;
            }
            asked = true;
            self.given.notified().await;
        }
    }

    fn fetch(&self, first: bool) -> Option<(Event, Timestamp)> {
        let mut state = self.state();
        if let Some(Current { request_id, reply: Some(reply) }) = state.current.take() {
            let message = format!("RequestId: {request_id} Error: the runtime asked for the next event without having answered this one");
            let _ = reply.send(Ok(Outcome::failed("Runtime.NoResponse", &message)));
        }
        let Some(Job { event, reply }) = state.job.take() else {
            if first && state.phase != Phase::Ended {
                state.phase = Phase::Idle;
                state.deadline = None;
                state.idle_since = Instant::now();
                if self.freeze {
                    state.frozen = true;
                    state.signal(Signal::STOP);
                }
                drop(state);
                self.rescheduled.notify_one();
                self.pulse.beat();
            }
            return None;
        };
        state.phase = Phase::Busy;
        state.invocations += 1;
        state.deadline = Some(Instant::now() + self.timeout);
        state.current = Some(Current { request_id: event.request_id.clone(), reply: Some(reply) });
        drop(state);
        self.rescheduled.notify_one();
        Some((event, crate::pulse::later(Timestamp::now(), self.timeout)))
    }

    /// The process has answered. False if that invocation is not under way, or has been answered.
    pub(super) fn answer(&self, request_id: &str, outcome: Outcome) -> bool {
        let mut state = self.state();
        let current = state.current.as_mut().filter(|current| current.request_id == request_id);
        let Some(reply) = current.and_then(|current| current.reply.take()) else { return false };
        // A caller that has gone away does not matter to the function.
        let _ = reply.send(Ok(outcome));
        true
    }

    /// The process says that it cannot start.
    pub(super) fn init_failed(&self, error: Bytes) {
        if let Some(job) = self.state().job.take() {
            let _ = job.reply.send(Ok(Outcome::Failed(error)));
        }
        self.kill();
    }

    /// Kills the process with SIGKILL.
    pub(super) fn kill(&self) {
        self.killed.notify_one();
    }

    /// Kills the process from a place that cannot wait.
    pub(super) fn kill_now(&self) {
        let mut state = self.state();
        state.signal(Signal::KILL);
        // An idle one gets no more events.
        if state.phase == Phase::Idle {
            state.phase = Phase::Ended;
        }
        drop(state);
        self.kill();
    }

    /// Follows the process to its end. An event that it was given while idle and has not fetched comes back, for another one.
    pub(super) async fn supervise(&self, mut child: Child) -> Option<Job> {
        let end = loop {
            let deadline = self.state().deadline;
            let too_long = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                status = child.wait() => break End::Exited(status),
                () = too_long => break End::TimedOut,
                () = self.killed.notified() => break End::Killed,
                () = self.rescheduled.notified() => {}
            }
        };
        if !matches!(end, End::Exited(_)) {
            self.state().signal(Signal::KILL);
            if let Err(e) = child.wait().await {
                tracing::warn!("sandbox {}: the end of its process cannot be seen: {e}", self.id);
            }
        }
        self.ended(&end)
    }

    fn ended(&self, end: &End) -> Option<Job> {
        let mut state = self.state();
        let starting = state.phase == Phase::Starting;
        state.phase = Phase::Ended;
        state.process = None;
        let job = state.job.take();
        let current = state.current.take();
        drop(state);
        self.pulse.beat();
        match (current, job) {
            (Some(Current { request_id, reply }), _) => {
                let outcome = self.outcome(end, &request_id);
                match reply {
                    Some(reply) => drop(reply.send(Ok(outcome))),
                    None => tracing::warn!("sandbox {}: ended after the answer of {request_id}, before it asked for more: {}", self.id, reason(end)),
                }
                None
            }
            (None, Some(job)) if starting => {
                let outcome = self.outcome(end, &job.event.request_id);
                let _ = job.reply.send(Ok(outcome));
                None
            }
            (None, job) => job,
        }
    }

    fn outcome(&self, end: &End, request_id: &str) -> Outcome {
        match end {
            End::TimedOut => {
                let message = format!("RequestId: {request_id} Error: Task timed out after {:.2} seconds", self.timeout.as_secs_f64());
                Outcome::failed("Sandbox.Timedout", &message)
            }
            End::Exited(_) | End::Killed => Outcome::failed("Runtime.ExitError", &format!("RequestId: {request_id} Error: {}", reason(end))),
        }
    }
}

fn reason(end: &End) -> String {
    use std::os::unix::process::ExitStatusExt;
    match end {
        End::TimedOut => "Task timed out".to_owned(),
        End::Killed => "Runtime exited with error: signal: killed".to_owned(),
        End::Exited(Ok(status)) => match (status.code(), status.signal()) {
            (Some(0), _) => "Runtime exited without providing a reason".to_owned(),
            (Some(code), _) => format!("Runtime exited with error: exit status {code}"),
            (None, Some(9)) => "Runtime exited with error: signal: killed".to_owned(),
            (None, Some(signal)) => format!("Runtime exited with error: signal: {signal}"),
            (None, None) => "Runtime exited with error".to_owned(),
        },
        End::Exited(Err(e)) => format!("Runtime exited with error: {e}"),
    }
}

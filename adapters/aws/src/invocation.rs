//! One invocation's engine: made for it, stopped with it. Turns run on a thread of their own, which can be abandoned.
//!
//! It drives until nothing is left to do, waiting in place for short timers, and is done before the platform's limit: what is unfinished then is
//! handed on by whoever runs it. Must never: leave a future, a task or a timer behind.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use durable::ports::{Clock, StoreError};
use durable::{Client, Engine, EngineConfig, InstanceId, Ports, Timestamp};
use durable_host::turns::{self, STACK};
use durable_host::{NoWake, Running, SystemClock, SystemEntropy};
use tokio::sync::oneshot;

use crate::alarms::InvocationAlarms;
use crate::dispatch::InvocationDispatch;
use crate::host::Host;
use crate::store::DynamoStore;

/// What is kept of an invocation's time for its end: writes under way, handing on, the answer.
const KEPT: Duration = Duration::from_secs(3);

/// How often turns are looked at that may never come back.
const LOOK: Duration = Duration::from_millis(500);

/// What is told as an invocation's end and is earlier than this is its length.
const LONGEST_LENGTH: Timestamp = Timestamp(86_400 * 1_000_000);

/// When the platform ends an invocation. `cargo lambda watch` says how long it may take where Lambda says until when: that would be in 1970.
#[must_use]
pub fn limit_of(told: Timestamp, now: Timestamp) -> Timestamp {
    if told < LONGEST_LENGTH { now.after(Timestamp(0).until(told)) } else { told }
}

/// An engine for as long as one invocation.
pub struct Invocation {
    host: Arc<Host>,
    engine: Engine,
    alarms: Arc<InvocationAlarms>,
    store: DynamoStore,
    /// By then everything of it has to be done.
    deadline: Timestamp,
    turns: Option<oneshot::Receiver<()>>,
    /// A turn did not come back: its thread goes on, and the process has to end.
    stuck: bool,
}

impl std::fmt::Debug for Invocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Invocation(until {})", self.deadline)
    }
}

/// How an invocation's driving ended.
#[derive(Debug)]
pub struct Done {
    /// Instances that are not where they could be.
    pub unfinished: Vec<InstanceId>,
    /// A thread of the process is lost: end it once the answer is out.
    pub stuck: bool,
}

impl Invocation {
    /// Begins one that the platform ends at `limit`; an invocation has `whole` from its beginning on.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if no thread can be started.
    pub fn begin(host: &Arc<Host>, limit: Timestamp, whole: Duration) -> Result<Self, StoreError> {
        let now = SystemClock.now();
        let left = now.until(limit);
        let deadline = now.after(left.saturating_sub(KEPT.min(whole / 4)));
        let until = deadline.after(host.settings.grace);
        let store = host.store.with_deadline(Instant::now() + now.until(deadline));
        let alarms = Arc::new(InvocationAlarms::new(host.alarms.clone(), host.settings.hub.clone(), deadline, until));
        let ports = Ports {
            store: Arc::new(store.clone()),
            alarms: alarms.clone(),
            wake: Arc::new(NoWake),
            dispatch: Arc::new(InvocationDispatch {
                app: host.app.clone(),
                invoker: host.invoker.clone(),
                deadline,
                whole,
                attempt: host.settings.attempt,
                queued: host.settings.queued,
                grace: host.settings.grace,
                in_place: host.settings.in_place,
                here: Arc::default(),
                elsewhere: AtomicUsize::new(0),
            }),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            guard: host.watchdog.clone(),
        };
        let config = EngineConfig { exclusive: false, deadline: Some(deadline), claim: host.settings.grace, ..EngineConfig::default() };
        let (engine, shards) = Engine::new(host.app.clone(), ports, config);
        host.died.iter().for_each(|first| engine.store_first(*first));
        let (ended, turns) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let run = move || {
            for shard in shards {
                runtime.block_on(shard.run());
            }
            let _ = ended.send(());
        };
        let thread = std::thread::Builder::new().name("turns".to_owned()).stack_size(STACK).spawn(run);
        thread.map_err(|e| StoreError::Unavailable(format!("a thread cannot be started: {e}")))?;
        Ok(Self { host: host.clone(), engine, alarms, store, deadline, turns: Some(turns), stuck: false })
    }

    /// A client of its engine.
    #[must_use]
    pub fn client(&self) -> Client {
        self.engine.client()
    }

    /// Its engine.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Its store.
    #[must_use]
    pub const fn store(&self) -> &DynamoStore {
        &self.store
    }

    /// By when it has to be done.
    #[must_use]
    pub const fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// Drives until nothing is left to do or the time is over, and ends.
    pub async fn finish(mut self) -> Done {
        let in_time = tokio::select! {
            biased;
            () = self.until_idle() => true,
            turn = self.stuck_turn() => {
                self.give_up(turn).await;
                true
            }
            () = SystemClock.sleep_until(self.deadline) => false,
        };
        let unfinished = if in_time && !self.stuck { self.unfinished().await } else { self.left_over().await };
        self.end().await;
        Done { unfinished, stuck: self.stuck }
    }

    /// Ends when nothing is under way, and nothing is due within the time that is waited for in place.
    async fn until_idle(&self) {
        loop {
            self.engine.idle().await;
            let Some(at) = self.alarms.next_in_place() else { return };
            SystemClock.sleep_until(at).await;
            for instance in self.alarms.take_due(SystemClock.now()) {
                self.engine.look(&instance, false);
            }
        }
    }

    /// Ends when a turn has taken longer than any may.
    async fn stuck_turn(&self) -> Running {
        loop {
            if let Some((_, turn)) = self.host.watchdog.take_overdue() {
                return turn;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Records the turn that does not come back, and lets its shard go.
    async fn give_up(&mut self, turn: Running) {
        self.stuck = true;
        let fault = turns::too_long();
        tracing::error!(instance = %turn.instance, "{fault}");
        if let Err(trouble) = self.engine.record_fault(&turn.instance, turn.incarnation, &fault).await {
            tracing::error!(instance = %turn.instance, "the fault cannot be recorded: {trouble}");
        }
    }

    async fn unfinished(&self) -> Vec<InstanceId> {
        self.engine.unfinished().await
    }

    /// As [`Self::unfinished`], where the shard may not answer.
    async fn left_over(&self) -> Vec<InstanceId> {
        tokio::time::timeout(Duration::from_millis(200), self.engine.unfinished()).await.unwrap_or_default()
    }

    /// Ends the shard: what is being written is finished, as far as that takes no more than a moment.
    async fn end(&mut self) {
        self.engine.stop();
        let Some(turns) = self.turns.as_mut() else { return };
        let within = if self.stuck { Duration::ZERO } else { Duration::from_secs(1) };
        if tokio::time::timeout(within, turns).await.is_err() {
            // Whatever it was about is dropped at its next await.
            drop(self.engine.replace_shard(0));
        }
        self.turns = None;
    }
}

impl Drop for Invocation {
    fn drop(&mut self) {
        if self.turns.is_some() {
            drop(self.engine.replace_shard(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invocation_ends_when_the_platform_says_or_after_the_time_that_it_says() {
        let now = Timestamp(1_800_000_000_000_000);
        let soon = now.after(Duration::from_secs(60));
        assert_eq!(limit_of(soon, now), soon);
        assert_eq!(limit_of(Timestamp(600_000_000), now), now.after(Duration::from_secs(600)));
    }
}

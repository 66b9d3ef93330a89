//! One call's engine: made for it, stopped with it. Turns run beside it, where they can be given up.
//!
//! It drives until nothing is left to do, waiting in place for short timers, and is done before the platform's limit: what is unfinished then is
//! handed on by whoever runs it. Must never: leave a future, a task or a timer behind.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use durable::ports::{PortFuture, StoreError};
use durable::{Client, Engine, EngineConfig, InstanceId, Ports, Timestamp};
use futures_util::future::{Either, select};

use super::{Function, InvocationAlarms, InvocationDispatch};
use crate::machine::{Machine, within};
use crate::stores::CloudStore;
use crate::turns;
use crate::{NoWake, Running};

/// What is kept of a call's time for its end: writes under way, handing on, the answer.
const KEPT: Duration = Duration::from_secs(3);

/// For so long an engine is asked what is left whose shard may not answer.
const ASKED: Duration = Duration::from_millis(200);

/// For so long a shard may take to end.
const ENDED: Duration = Duration::from_secs(1);

/// An engine for as long as one call.
pub struct Invocation<F> {
    function: F,
    engine: Engine,
    alarms: Arc<InvocationAlarms>,
    store: Arc<dyn CloudStore>,
    /// By then everything of it has to be done.
    deadline: Timestamp,
    turns: Option<PortFuture<()>>,
    /// A turn did not come back: its thread goes on, and the process has to end.
    stuck: bool,
}

impl<F> std::fmt::Debug for Invocation<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Invocation(until {})", self.deadline)
    }
}

/// Why driving ends.
enum Ended {
    /// Nothing is left to do.
    Idle,
    /// This turn does not come back.
    Stuck(Running),
    /// The time is over.
    Late,
}

/// How a call's driving ended.
#[derive(Debug)]
pub struct Done {
    /// Instances that are not where they could be.
    pub unfinished: Vec<InstanceId>,
    /// A thread of the process is lost: end it once the answer is out.
    pub stuck: bool,
}

impl<F: Function> Invocation<F> {
    /// Begins one that the platform ends at `limit`; a call has `whole` from its beginning on.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if its shards cannot be run.
    pub fn begin(function: &F, limit: Timestamp, whole: Duration) -> Result<Self, StoreError> {
        let shared = function.shared();
        let (now, setup) = (shared.machine.now(), &shared.setup);
        let left = now.until(limit);
        let deadline = now.after(left.saturating_sub(KEPT.min(whole / 4)));
        let until = deadline.after(setup.grace);
        let store = function.store(deadline);
        let alarms = Arc::new(InvocationAlarms::new(shared.alarms.clone(), setup.hub.clone(), deadline, until, shared.machine.clone()));
        let ports = Ports {
            store: store.clone(),
            alarms: alarms.clone(),
            wake: Arc::new(NoWake),
            dispatch: Arc::new(InvocationDispatch::new(shared.machine.clone(), shared.invoker.clone(), setup.clone(), deadline, whole)),
            clock: shared.machine.clone(),
            entropy: shared.entropy.clone(),
            guard: shared.guard.clone(),
        };
        let config = EngineConfig { exclusive: false, deadline: Some(deadline), claim: setup.grace, ..EngineConfig::default() };
        let (engine, shards) = Engine::new(shared.app.clone(), ports, config);
        shared.died.iter().for_each(|first| engine.store_first(*first));
        let turns = function.run(shards)?;
        Ok(Self { function: function.clone(), engine, alarms, store, deadline, turns: Some(turns), stuck: false })
    }

    fn machine(&self) -> &dyn Machine {
        &*self.function.shared().machine
    }

    /// Drives until nothing is left to do or the time is over, and ends.
    pub async fn finish(mut self) -> Done {
        let ended = self.until_end().await;
        let mut unfinished = if let Ended::Idle = ended {
            self.engine.unfinished().await
        } else {
            if let Ended::Stuck(turn) = ended {
                self.stuck = true;
                self.give_up(turn).await;
            }
            // The shard may not answer.
            within(self.machine(), ASKED, self.engine.unfinished()).await.unwrap_or_default()
        };
        // The engine names them in no order.
        unfinished.sort();
        self.end().await;
        Done { unfinished, stuck: self.stuck }
    }

    async fn until_end(&self) -> Ended {
        let idle = pin!(self.until_idle());
        let (stuck, late) = (self.function.stuck_turn(), self.machine().sleep_until(self.deadline));
        match select(idle, select(stuck, late)).await {
            Either::Left(_) => Ended::Idle,
            Either::Right((Either::Left((turn, _)), _)) => Ended::Stuck(turn),
            Either::Right((Either::Right(_), _)) => Ended::Late,
        }
    }

    /// Ends when nothing is under way, and nothing is due within the time that is waited for in place.
    async fn until_idle(&self) {
        loop {
            self.engine.idle().await;
            let Some(at) = self.alarms.next_in_place() else { return };
            self.machine().sleep_until(at).await;
            for instance in self.alarms.take_due(self.machine().now()) {
                self.engine.look(&instance, false);
            }
        }
    }

    /// Records the turn that does not come back.
    async fn give_up(&self, turn: Running) {
        let fault = turns::too_long();
        tracing::error!(instance = %turn.instance, "{fault}");
        if let Err(trouble) = self.engine.record_fault(&turn.instance, turn.incarnation, &fault).await {
            tracing::error!(instance = %turn.instance, "the fault cannot be recorded: {trouble}");
        }
    }

    /// Ends the shard: what is being written is finished, as far as that takes no more than a moment.
    async fn end(&mut self) {
        self.engine.stop();
        let moment = if self.stuck { Duration::ZERO } else { ENDED };
        let machine = self.function.shared().machine.clone();
        let Some(turns) = self.turns.as_mut() else { return };
        if within(&*machine, moment, turns).await.is_none() {
            // Whatever it was about is dropped at its next await.
            drop(self.engine.replace_shard(0));
        }
        self.turns = None;
    }
}

impl<F> Invocation<F> {
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
    pub fn store(&self) -> &dyn CloudStore {
        &*self.store
    }

    /// By when it has to be done.
    #[must_use]
    pub const fn deadline(&self) -> Timestamp {
        self.deadline
    }
}

impl<F> Drop for Invocation<F> {
    fn drop(&mut self) {
        if self.turns.is_some() {
            drop(self.engine.replace_shard(0));
        }
    }
}

//! Activities of one invocation: run here if the time suffices, otherwise each by an invocation of its own.
//!
//! Must never: let an attempt run on behind its invocation, or begin one that the invocation's end would cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use durable::Timestamp;
use durable::header::ActivityTask;
use durable::message::Outcome;
use durable::ports::{Dispatch, Place, PortFuture, StoreError};

use super::work::Work;
use super::{Invoker, Setup};
use crate::machine::Machine;
use crate::work::Attempt;

/// What an attempt has to leave of the invocation that runs it, to store its end.
const LEAVES: Duration = Duration::from_secs(5);

/// However short invocations are, an attempt gets so much: less would never be enough.
const LEAST: Duration = Duration::from_secs(1);

/// How many attempts handed on by one invocation count as a few, whose ends each may drive the instance.
const A_FEW: usize = 8;

/// Runs and hands on the activities of one invocation.
pub struct InvocationDispatch {
    machine: Arc<dyn Machine>,
    /// Takes what is handed on.
    invoker: Arc<dyn Invoker>,
    setup: Setup,
    /// When this call has to be done.
    deadline: Timestamp,
    /// How long a call of this function may take as a whole.
    whole: Duration,
    /// How many have been given a place here and have not ended. (One whose commit was lost counts until the end: then more is handed on.)
    here: Arc<AtomicUsize>,
    /// How many have been given a place elsewhere.
    elsewhere: AtomicUsize,
}

impl std::fmt::Debug for InvocationDispatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InvocationDispatch(until {})", self.deadline)
    }
}

impl InvocationDispatch {
    /// For a call that has to be done by `deadline`, of a function whose calls may take `whole`.
    #[must_use]
    pub fn new(machine: Arc<dyn Machine>, invoker: Arc<dyn Invoker>, setup: Setup, deadline: Timestamp, whole: Duration) -> Self {
        Self { machine, invoker, setup, deadline, whole, here: Arc::default(), elsewhere: AtomicUsize::new(0) }
    }

    /// The longest that an attempt may take: what its activity says, as far as an invocation of its own could give it.
    fn limit(&self, task: &ActivityTask) -> Duration {
        task.timeout.unwrap_or(self.setup.attempt).min(self.whole.saturating_sub(LEAVES + LEAVES).max(LEAST))
    }

    fn place_at(&self, task: &ActivityTask, now: Timestamp) -> Place {
        let limit = self.limit(task);
        let fits = now.after(limit + LEAVES) <= self.deadline;
        if fits && self.here.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |here| (here < self.setup.in_place).then_some(here + 1)).is_ok() {
            return Place::Here;
        }
        self.elsewhere.fetch_add(1, Ordering::SeqCst);
        Place::Elsewhere(now.after(self.setup.queued + limit + self.setup.grace))
    }
}

impl Dispatch for InvocationDispatch {
    fn place(&self, task: &ActivityTask) -> Place {
        self.place_at(task, self.machine.now())
    }

    fn run(&self, mut task: ActivityTask) -> PortFuture<Outcome> {
        task.timeout = Some(self.limit(&task));
        let (attempt, here) = (self.machine.attempt(task), self.here.clone());
        Box::pin(async move {
            let outcome = attempt.await;
            // One that was taken over from a dead driver was never counted.
            let _ = here.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |here| here.checked_sub(1));
            outcome
        })
    }

    fn hand_on(&self, task: ActivityTask) -> PortFuture<Result<(), StoreError>> {
        let limit = u64::try_from(self.limit(&task).as_millis()).unwrap_or(u64::MAX);
        let work = Work::Activity(Attempt::of(&task, limit, self.elsewhere.load(Ordering::SeqCst) > A_FEW, self.setup.input_bytes));
        self.invoker.send(work)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use super::*;
    use durable::ids::{EffectId, Incarnation};
    use durable::{App, InstanceId, Payload};

    use crate::machine::ThisMachine;

    const S: Duration = Duration::from_secs(1);
    const NOW: Timestamp = Timestamp(0);

    struct Nobody;

    impl Invoker for Nobody {
        fn send(&self, _: Work) -> PortFuture<Result<(), StoreError>> {
            Box::pin(std::future::ready(Ok(())))
        }
    }

    fn dispatch(left: Duration) -> InvocationDispatch {
        let machine = Arc::new(ThisMachine::new(Arc::new(App::builder().build().unwrap())));
        let setup = Setup { hub: "h".into(), attempt: S * 30, queued: S * 60, grace: S * 15, in_place: 2, input_bytes: 0 };
        InvocationDispatch::new(machine, Arc::new(Nobody), setup, NOW.after(left), S * 300)
    }

    fn task(timeout: Option<Duration>) -> ActivityTask {
        let effect = EffectId { instance: InstanceId::new("a").unwrap(), incarnation: Incarnation([1; 8]), execution: 0, epoch: 0, sequence: 1 };
        ActivityTask { effect, name: "a".into(), input: Payload::default(), attempt: 1, timeout }
    }

    #[test]
    fn an_attempt_runs_here_if_its_limit_and_its_end_fit_into_the_time_left() {
        assert_eq!(dispatch(S * 35).place_at(&task(None), NOW), Place::Here);
        assert_eq!(dispatch(S * 34).place_at(&task(None), NOW), Place::Elsewhere(NOW.after(S * 105)));
        assert_eq!(dispatch(S * 34).place_at(&task(Some(S)), NOW), Place::Here);
        assert_eq!(dispatch(S * 290).place_at(&task(Some(S * 3600)), NOW), Place::Elsewhere(NOW.after(S * 365)), "no longer than an invocation can");
    }

    #[test]
    fn only_so_many_run_here_at_a_time() {
        let dispatch = dispatch(S * 60);
        let places: Vec<_> = (0..3).map(|_| dispatch.place_at(&task(None), NOW) == Place::Here).collect();
        assert_eq!(places, [true, true, false]);
        dispatch.here.fetch_sub(1, Ordering::SeqCst);
        assert_eq!(dispatch.place_at(&task(None), NOW), Place::Here);
    }
}

//! Activities of one invocation: run here if the time suffices, otherwise each by an invocation of its own.
//!
//! Must never: let an attempt run on behind its invocation, or begin one that the invocation's end would cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use durable::header::ActivityTask;
use durable::message::Outcome;
use durable::ports::{Clock, Dispatch, Place, PortFuture, StoreError};
use durable::{App, Timestamp};
use durable_host::work::Attempt;
use durable_host::{SystemClock, in_background};

use crate::invoker::Invoker;
use crate::work::{INPUT_BYTES, Work};

/// What an attempt has to leave of the invocation that runs it, to store its end.
const LEAVES: Duration = Duration::from_secs(5);

/// However short invocations are, an attempt gets so much: less would never be enough.
const LEAST: Duration = Duration::from_secs(1);

/// How many attempts handed on by one invocation count as a few, whose ends each may drive the instance.
const A_FEW: usize = 8;

/// Runs and hands on the activities of one invocation.
pub struct InvocationDispatch {
    /// Knows the activities.
    pub app: Arc<App>,
    /// Takes what is handed on.
    pub invoker: Invoker,
    /// When this invocation has to be done.
    pub deadline: Timestamp,
    /// How long an invocation of this function may take as a whole.
    pub whole: Duration,
    /// The limit of an attempt whose activity names none.
    pub attempt: Duration,
    /// How long an event may wait until its invocation begins.
    pub queued: Duration,
    /// For how long behind its deadline a worker's word counts.
    pub grace: Duration,
    /// How many attempts run here at a time at most.
    pub in_place: usize,
    /// How many have been given a place here and have not ended. (One whose commit was lost counts until the end: then more is handed on.)
    pub here: Arc<AtomicUsize>,
    /// How many have been given a place elsewhere.
    pub elsewhere: AtomicUsize,
}

impl std::fmt::Debug for InvocationDispatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InvocationDispatch(until {})", self.deadline)
    }
}

impl InvocationDispatch {
    /// The longest that an attempt may take: what its activity says, as far as an invocation of its own could give it.
    fn limit(&self, task: &ActivityTask) -> Duration {
        task.timeout.unwrap_or(self.attempt).min(self.whole.saturating_sub(LEAVES + LEAVES).max(LEAST))
    }

    fn place_at(&self, task: &ActivityTask, now: Timestamp) -> Place {
        let limit = self.limit(task);
        let fits = now.after(limit + LEAVES) <= self.deadline;
        if fits && self.here.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |here| (here < self.in_place).then_some(here + 1)).is_ok() {
            return Place::Here;
        }
        self.elsewhere.fetch_add(1, Ordering::SeqCst);
        Place::Elsewhere(now.after(self.queued + limit + self.grace))
    }
}

impl Dispatch for InvocationDispatch {
    fn place(&self, task: &ActivityTask) -> Place {
        self.place_at(task, SystemClock.now())
    }

    fn run(&self, mut task: ActivityTask) -> PortFuture<Outcome> {
        task.timeout = Some(self.limit(&task));
        let (app, here) = (self.app.clone(), self.here.clone());
        in_background(async move {
            let outcome = durable_host::attempt(&app, task).await;
            // One that was taken over from a dead driver was never counted.
            let _ = here.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |here| here.checked_sub(1));
            outcome
        })
    }

    fn hand_on(&self, task: ActivityTask) -> PortFuture<Result<(), StoreError>> {
        let limit = u64::try_from(self.limit(&task).as_millis()).unwrap_or(u64::MAX);
        let work = Work::Activity(Attempt::of(&task, limit, self.elsewhere.load(Ordering::SeqCst) > A_FEW, INPUT_BYTES));
        let invoker = self.invoker.clone();
        Box::pin(async move { invoker.send(&work).await })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use super::*;
    use durable::ids::{EffectId, Incarnation};
    use durable::{InstanceId, Payload};

    const S: Duration = Duration::from_secs(1);
    const NOW: Timestamp = Timestamp(0);

    fn dispatch(left: Duration) -> InvocationDispatch {
        let config = aws_sdk_lambda::Config::builder().behavior_version(aws_sdk_lambda::config::BehaviorVersion::latest()).build();
        InvocationDispatch {
            app: Arc::new(App::builder().build().unwrap()),
            invoker: Invoker::new(aws_sdk_lambda::Client::from_conf(config), "f".to_owned()),
            deadline: NOW.after(left),
            whole: S * 300,
            attempt: S * 30,
            queued: S * 60,
            grace: S * 15,
            in_place: 2,
            here: Arc::default(),
            elsewhere: AtomicUsize::new(0),
        }
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

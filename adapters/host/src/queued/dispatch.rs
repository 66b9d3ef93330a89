//! Activities: in place if their attempts are short, otherwise by whoever is given the message that asks for one.
//!
//! An attempt in place runs beside every invocation of this process, under a claim that lasts as long as the longest such attempt may. One that
//! is handed on runs within an invocation of its own, and is cut off before the Functions host would end the whole process for it.
//! Must never: let an attempt run into the function's limit.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use durable::Timestamp;
use durable::header::ActivityTask;
use durable::ids::EffectId;
use durable::message::Outcome;
use durable::ports::{Dispatch, Place, PortFuture, StoreError};

use super::letter::Work;
use super::post::Post;
use crate::machine::Machine;
use crate::work::Attempt;

/// A commit that has not landed so long after it was prepared never will.
const PROMISED: Duration = Duration::from_secs(30);

/// How long attempts may take, and where.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The limit of an attempt whose activity names none.
    pub attempt: Duration,
    /// An attempt whose limit is longer is handed on.
    pub in_place: Duration,
    /// No attempt is longer than this: what an invocation has, less what it needs for its end.
    pub longest: Duration,
    /// So many run in place at a time.
    pub at_a_time: usize,
    /// How long a message may wait until somebody is given it.
    pub queued: Duration,
    /// For how long behind its limit a worker's word counts.
    pub grace: Duration,
    /// Input of an activity that travels with its message at most.
    pub input_bytes: usize,
}

/// An attempt.
type Key = (EffectId, u32);

/// The attempts that have a place here.
#[derive(Debug, Default)]
struct Places {
    running: HashSet<Key>,
    /// Those whose commit is awaited, and until when.
    promised: HashMap<Key, Timestamp>,
}

/// One that runs, until this is dropped.
struct Running {
    key: Key,
    places: Arc<Mutex<Places>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.places).running.remove(&self.key);
    }
}

fn lock(places: &Mutex<Places>) -> MutexGuard<'_, Places> {
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(task: &ActivityTask) -> Key {
    (task.effect.clone(), task.attempt)
}

/// Runs and hands on the activities of one process.
pub struct HostDispatch {
    machine: Arc<dyn Machine>,
    queue: Arc<dyn Post>,
    limits: Limits,
    places: Arc<Mutex<Places>>,
}

impl std::fmt::Debug for HostDispatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostDispatch({} here)", lock(&self.places).running.len())
    }
}

impl HostDispatch {
    /// Attempts on this machine; those that are handed on stand in this queue.
    #[must_use]
    pub fn new(machine: Arc<dyn Machine>, queue: Arc<dyn Post>, limits: Limits) -> Self {
        Self { machine, queue, limits, places: Arc::default() }
    }

    fn limit(&self, task: &ActivityTask) -> Duration {
        task.timeout.unwrap_or(self.limits.attempt).min(self.limits.longest)
    }

    /// Gives an attempt a place here, if there is one. It is kept for a while: the commit that schedules the attempt may get lost.
    fn promise(&self, task: &ActivityTask, at_a_time: usize, now: Timestamp) -> bool {
        let (key, mut places) = (key(task), lock(&self.places));
        places.promised.retain(|_, until| *until > now);
        let has_one = places.running.contains(&key) || places.promised.contains_key(&key);
        let room = has_one || places.running.len() + places.promised.len() < at_a_time;
        if room {
            places.promised.insert(key, now.after(PROMISED));
        }
        room
    }

    /// It takes its place. One that was taken over from a dead driver may have none.
    fn begin(&self, task: &ActivityTask) -> Running {
        let key = key(task);
        let mut places = lock(&self.places);
        places.promised.remove(&key);
        places.running.insert(key.clone());
        drop(places);
        Running { key, places: self.places.clone() }
    }

    fn place_at(&self, task: &ActivityTask, now: Timestamp) -> Place {
        let Limits { in_place, at_a_time, queued, grace, .. } = self.limits;
        let limit = self.limit(task);
        if limit > in_place || !self.promise(task, at_a_time, now) {
            return Place::Elsewhere(now.after(queued + limit + grace));
        }
        Place::Here
    }
}

impl Dispatch for HostDispatch {
    fn place(&self, task: &ActivityTask) -> Place {
        self.place_at(task, self.machine.now())
    }

    fn run(&self, mut task: ActivityTask) -> PortFuture<Outcome> {
        task.timeout = Some(self.limit(&task));
        let (running, attempt) = (self.begin(&task), self.machine.attempt(task));
        Box::pin(async move {
            let _running = running;
            attempt.await
        })
    }

    fn hand_on(&self, task: ActivityTask) -> PortFuture<Result<(), StoreError>> {
        let limit = u64::try_from(self.limit(&task).as_millis()).unwrap_or(u64::MAX);
        let put = self.queue.put(Work::Activity(Attempt::of(&task, limit, false, self.limits.input_bytes)).into(), Duration::ZERO);
        Box::pin(async move { put.await.map(drop) })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use durable::ids::Incarnation;
    use durable::{App, InstanceId, Payload};

    use super::super::testing::Noted;
    use super::*;
    use crate::machine::ThisMachine;

    const S: Duration = Duration::from_secs(1);
    const NOW: Timestamp = Timestamp(0);

    fn dispatch() -> (Arc<Noted>, HostDispatch) {
        let queue = Arc::new(Noted::default());
        let limits = Limits { attempt: S * 30, in_place: S * 60, longest: S * 570, at_a_time: 2, queued: S * 600, grace: S * 15, input_bytes: 1_000 };
        (queue.clone(), HostDispatch::new(Arc::new(ThisMachine::new(Arc::new(App::builder().build().unwrap()))), queue, limits))
    }

    fn task(timeout: Option<Duration>) -> ActivityTask {
        numbered(1, timeout)
    }

    fn numbered(sequence: u32, timeout: Option<Duration>) -> ActivityTask {
        let effect = EffectId { instance: InstanceId::new("a").unwrap(), incarnation: Incarnation([1; 8]), execution: 0, epoch: 0, sequence };
        ActivityTask { effect, name: "unknown".into(), input: Payload::default(), attempt: 1, timeout }
    }

    #[test]
    fn short_attempts_run_here_and_long_ones_elsewhere_within_what_an_invocation_has() {
        let (_, dispatch) = dispatch();
        assert_eq!(dispatch.place_at(&task(None), NOW), Place::Here);
        assert_eq!(dispatch.place_at(&task(Some(S * 60)), NOW), Place::Here);
        assert_eq!(dispatch.place_at(&task(Some(S * 61)), NOW), Place::Elsewhere(NOW.after(S * 676)));
        assert_eq!(dispatch.place_at(&task(Some(S * 9_999)), NOW), Place::Elsewhere(NOW.after(S * 1_185)));
    }

    #[tokio::test]
    async fn only_so_many_run_here_at_a_time_and_one_that_has_ended_makes_room() {
        let (queue, dispatch) = dispatch();
        let here = |n| dispatch.place(&numbered(n, None)) == Place::Here;
        assert_eq!([1, 2, 3, 1].map(here), [true, true, false, true], "the same attempt has the same place");
        dispatch.run(numbered(1, None)).await;
        assert!(here(3));
        dispatch.hand_on(task(Some(S * 9_999))).await.unwrap();
        assert!(matches!(&queue.letters()[0].work, Work::Activity(attempt) if attempt.limit_ms == 570_000));
    }

    #[test]
    fn a_place_whose_attempt_never_came_is_given_away() {
        let (_, dispatch) = dispatch();
        let here = |n, now| dispatch.place_at(&numbered(n, None), now) == Place::Here;
        assert_eq!([here(1, NOW), here(2, NOW), here(3, NOW.after(PROMISED - S)), here(4, NOW.after(PROMISED))], [true, true, false, true]);
    }
}

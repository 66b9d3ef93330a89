//! In-process alarms. The store's index of due times is the durable record; in memory stand only the nearest ones, within a bound.
//!
//! Everything due up to the *horizon* is in memory. What is due later is read from the index when the horizon is reached. Must never: wake
//! up when nothing is due, or hold more than twice [`WINDOW`] entries.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use durable::ports::{AlarmKey, Alarms, Handle, PortFuture, StoreError};
use durable::{Engine, InstanceId, Timestamp};
use tokio::sync::Notify;

use crate::pace::Pace;
use crate::store::SqliteStore;

/// How many due times are read at a time.
const WINDOW: usize = 10_000;

/// Pause before the index is read again after store trouble.
const AFTER_TROUBLE: Duration = Duration::from_secs(1);

/// The nearest due times.
#[derive(Default)]
pub(crate) struct Near {
    entries: BTreeSet<(Timestamp, InstanceId)>,
    /// Everything that the index holds up to this place (a due time and a row) is in `entries`; none means everything there is.
    horizon: Option<Place>,
    /// While the index is being read: what moved meanwhile, which that reading may not have seen.
    moved: Option<Vec<Move>>,
}

/// A place in the index of due times.
type Place = (Timestamp, i64);

/// Before all places.
const BEGINNING: Place = (Timestamp(i64::MIN), i64::MIN);

type Move = (InstanceId, Option<Timestamp>, Option<Timestamp>);

impl Near {
    /// Nothing is known yet: the first reading begins at the index's beginning.
    fn unknown() -> Self {
        Self { entries: BTreeSet::new(), horizon: Some(BEGINNING), moved: None }
    }

    /// A due time has moved. True if the first entry is another one now.
    fn apply(&mut self, (instance, from, to): Move) -> bool {
        let first = self.entries.first().map(|(at, _)| *at);
        if let Some(moved) = &mut self.moved {
            moved.push((instance.clone(), from, to));
        }
        if let Some(from) = from {
            self.entries.remove(&(from, instance.clone()));
        }
        if let Some(to) = to
            && self.horizon.is_none_or(|(horizon, _)| to <= horizon)
        {
            self.entries.insert((to, instance));
            self.shrink();
        }
        self.entries.first().map(|(at, _)| *at) != first
    }

    /// Keeps the nearest, and draws the horizon in.
    fn shrink(&mut self) {
        if self.entries.len() <= 2 * WINDOW {
            return;
        }
        let Some(last) = self.entries.iter().nth(WINDOW).map(|(at, _)| *at) else { return };
        self.entries.retain(|(at, _)| *at <= last);
        // Rows of that very time may lie on either side: they are read again, and are a set.
        self.horizon = Some((last, i64::MIN));
    }

    /// What the index held beyond the horizon; `whole` if that was all of it.
    fn read(&mut self, page: Vec<(Timestamp, i64, InstanceId)>, whole: bool) {
        self.horizon = if whole { None } else { page.last().map(|(at, row, _)| (*at, *row)) };
        self.entries.extend(page.into_iter().map(|(at, _, instance)| (at, instance)));
        for change in self.moved.take().unwrap_or_default() {
            self.apply(change);
        }
    }

    /// Takes out what is due.
    fn take_due(&mut self, now: Timestamp) -> Vec<InstanceId> {
        let mut due = Vec::new();
        while let Some((at, _)) = self.entries.first()
            && *at <= now
            && let Some((_, instance)) = self.entries.pop_first()
        {
            due.push(instance);
        }
        due
    }
}

/// The alarms of the local host.
#[derive(Clone)]
pub(crate) struct LocalAlarms {
    near: Arc<Mutex<Near>>,
    changed: Arc<Notify>,
}

impl LocalAlarms {
    pub fn new() -> Self {
        Self { near: Arc::new(Mutex::new(Near::unknown())), changed: Arc::new(Notify::new()) }
    }

    fn near(&self) -> MutexGuard<'_, Near> {
        self.near.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings for ever: has every instance looked at when it is due, so many at a time.
    pub async fn ring(self, store: SqliteStore, engine: Engine, pace: Pace) {
        loop {
            let now = SystemTime::now().into();
            let (due, next, exhausted) = {
                let mut near = self.near();
                let due = near.take_due(now);
                (due, near.entries.first().map(|(at, _)| *at), near.entries.is_empty() && near.horizon.is_some())
            };
            for instance in due {
                pace.ring(&engine, instance);
            }
            if exhausted {
                self.read_on(&store).await;
                continue;
            }
            let changed = self.changed.notified();
            match next {
                Some(at) => {
                    let wait = Timestamp::from(SystemTime::now()).until(at);
                    // Either the time has come, or another entry is the first now.
                    let _ = tokio::time::timeout(wait, changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// Reads the next due times beyond the horizon.
    async fn read_on(&self, store: &SqliteStore) {
        let horizon = {
            let mut near = self.near();
            near.moved = Some(Vec::new());
            near.horizon.unwrap_or(BEGINNING)
        };
        match store.due(Some(horizon), WINDOW).await {
            Ok(page) => {
                let whole = page.len() < WINDOW;
                self.near().read(page, whole);
            }
            Err(trouble) => {
                tracing::error!("the due times cannot be read: {trouble}");
                self.near().moved = None;
                tokio::time::sleep(AFTER_TROUBLE).await;
            }
        }
    }
}

impl Alarms for LocalAlarms {
    fn arm(&self, _: AlarmKey, _: Timestamp) -> PortFuture<Result<Handle, StoreError>> {
        Box::pin(std::future::ready(Ok(Handle::new())))
    }

    fn disarm(&self, _: Handle) -> PortFuture<()> {
        Box::pin(std::future::ready(()))
    }

    fn kept_by_store(&self) -> bool {
        true
    }

    fn moved(&self, instance: &InstanceId, from: Option<Timestamp>, to: Option<Timestamp>) {
        if self.near().apply((instance.clone(), from, to)) {
            self.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: i64) -> InstanceId {
        InstanceId::new(format!("i{n}")).unwrap()
    }

    #[test]
    fn what_is_due_comes_out_in_order_of_time_and_a_moved_time_only_once() {
        let mut near = Near::default();
        for n in [3, 1, 2] {
            near.apply((id(n), None, Some(Timestamp(n))));
        }
        assert!(near.apply((id(1), Some(Timestamp(1)), Some(Timestamp(9)))));
        assert_eq!(near.take_due(Timestamp(5)), [id(2), id(3)]);
        assert_eq!(near.take_due(Timestamp(9)), [id(1)]);
    }

    #[test]
    fn memory_is_bounded_and_what_was_left_out_lies_beyond_the_horizon() {
        let mut near = Near::default();
        for n in 0..=2 * i64::try_from(WINDOW).unwrap() {
            near.apply((id(n), None, Some(Timestamp(n))));
        }
        assert_eq!(near.entries.len(), WINDOW + 1);
        let (horizon, _) = near.horizon.unwrap();
        assert!(near.entries.iter().all(|(at, _)| *at <= horizon));
        near.apply((id(-1), None, Some(horizon.after(Duration::from_secs(1)))));
        assert_eq!(near.entries.len(), WINDOW + 1, "later ones are left to the index");
    }

    #[test]
    fn what_moves_while_the_index_is_read_is_not_lost() {
        let mut near = Near::unknown();
        near.moved = Some(Vec::new());
        near.apply((id(1), None, Some(Timestamp(7))));
        near.apply((id(2), Some(Timestamp(5)), None));
        near.read(vec![(Timestamp(5), 1, id(2)), (Timestamp(6), 2, id(3))], true);
        assert_eq!(near.take_due(Timestamp(10)), [id(3), id(1)]);
    }
}

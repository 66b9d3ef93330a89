//! What a live process rings by itself: near alarms that it has armed, in order, within a bound. A wait without a poll.
//!
//! It is all in memory, and all for speed: whatever is lost here rings by its message. Must never: hold more than the bound.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use durable::ports::Clock;
use durable::{Engine, InstanceId, Timestamp};
use futures_util::future::select;
use tokio::sync::Notify;

/// So many are kept; the furthest go first.
const KEPT: usize = 10_000;

/// Alarms of this process, shared by all who hold a clone.
#[derive(Clone, Default)]
pub struct Bells(Arc<Inner>);

#[derive(Default)]
struct Inner {
    set: Mutex<BTreeMap<(Timestamp, u128), InstanceId>>,
    /// The first one is another one now.
    changed: Notify,
}

impl std::fmt::Debug for Bells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bells({})", self.set_now().len())
    }
}

impl Bells {
    fn set_now(&self) -> MutexGuard<'_, BTreeMap<(Timestamp, u128), InstanceId>> {
        self.0.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has an instance looked at then.
    pub fn set(&self, at: Timestamp, digest: u128, instance: InstanceId) {
        let mut set = self.set_now();
        set.insert((at, digest), instance);
        if set.len() > KEPT {
            set.pop_last();
        }
        if set.first_key_value().is_some_and(|(first, _)| *first == (at, digest)) {
            self.0.changed.notify_one();
        }
    }

    /// Nobody needs this one any more.
    pub fn take_down(&self, at: Timestamp, digest: u128) {
        self.set_now().remove(&(at, digest));
    }

    /// When the next one rings.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.set_now().first_key_value().map(|((at, _), _)| *at)
    }

    fn take_due(&self, now: Timestamp) -> Vec<InstanceId> {
        let mut set = self.set_now();
        let later = set.split_off(&(Timestamp(now.0.saturating_add(1)), 0));
        std::mem::replace(&mut *set, later).into_values().collect()
    }

    /// Rings for ever.
    pub async fn ring(self, engine: Engine, clock: Arc<dyn Clock>) {
        loop {
            let changed = self.0.changed.notified();
            match self.next() {
                None => changed.await,
                Some(at) => drop(select(clock.sleep_until(at), pin!(changed)).await),
            }
            for instance in self.take_due(clock.now()) {
                engine.look(&instance, false);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use super::*;

    fn id(n: usize) -> InstanceId {
        InstanceId::new(n.to_string()).unwrap()
    }

    #[test]
    fn they_ring_in_order_and_not_before_their_time() {
        let bells = Bells::default();
        for n in [3, 1, 2] {
            bells.set(Timestamp(i64::try_from(n).unwrap()), 0, id(n));
        }
        assert!(bells.take_due(Timestamp(0)).is_empty());
        assert_eq!(bells.take_due(Timestamp(2)), [id(1), id(2)]);
        assert_eq!(bells.next(), Some(Timestamp(3)));
    }

    #[test]
    fn the_furthest_goes_when_there_are_too_many() {
        let bells = Bells::default();
        for n in 0..=KEPT {
            bells.set(Timestamp(i64::try_from(n).unwrap()), 0, id(n));
        }
        let set = bells.set_now();
        assert_eq!((set.len(), set.contains_key(&(Timestamp(i64::try_from(KEPT).unwrap()), 0))), (KEPT, false));
    }
}

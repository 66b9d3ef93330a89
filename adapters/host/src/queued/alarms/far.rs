//! Far alarms, as this host needs them.

use durable::Timestamp;
use durable::ports::{PortFuture, StoreResult};

use crate::work::Timer;

/// An alarm that is due later than within the hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarAlarm {
    /// Tells it from all others.
    pub digest: u128,
    /// What it says.
    pub timer: Timer,
}

/// Where far alarms stand.
pub trait FarAlarms: Send + Sync + 'static {
    /// Writes one. Once this is done, it is durable. Writing it again changes nothing.
    fn put(&self, alarm: FarAlarm) -> PortFuture<StoreResult<()>>;
    /// Removes one, if it is there.
    fn remove(&self, due: Timestamp, digest: u128) -> PortFuture<StoreResult<()>>;
    /// Some of those that are due before this time, or within its hour; none only if there are none.
    fn earliest(&self, before: Timestamp) -> PortFuture<StoreResult<Vec<FarAlarm>>>;
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;

    /// Rows in memory.
    #[derive(Default)]
    pub struct Rows(Mutex<BTreeMap<(Timestamp, u128), FarAlarm>>);

    impl Rows {
        /// All of them.
        pub fn all(&self) -> Vec<FarAlarm> {
            self.0.lock().unwrap().values().cloned().collect()
        }
    }

    impl FarAlarms for Rows {
        fn put(&self, alarm: FarAlarm) -> PortFuture<StoreResult<()>> {
            self.0.lock().unwrap().insert((alarm.timer.due, alarm.digest), alarm);
            Box::pin(std::future::ready(Ok(())))
        }

        fn remove(&self, due: Timestamp, digest: u128) -> PortFuture<StoreResult<()>> {
            self.0.lock().unwrap().remove(&(due, digest));
            Box::pin(std::future::ready(Ok(())))
        }

        fn earliest(&self, before: Timestamp) -> PortFuture<StoreResult<Vec<FarAlarm>>> {
            let rows = self.0.lock().unwrap();
            let found = rows.values().filter(|alarm| alarm.timer.due <= before).take(2).cloned().collect();
            Box::pin(std::future::ready(Ok(found)))
        }
    }
}

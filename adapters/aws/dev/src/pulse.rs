//! Says that something has changed, to those who wait for a condition.
//!
//! Must never: carry state. Whoever is woken looks for itself.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

/// The longest sleep without a look at the clock: a laptop that was closed wakes with its timers due.
const LOOK: Duration = Duration::from_secs(20);

/// Wakes those who wait, at every change.
#[derive(Debug, Clone)]
pub(crate) struct Pulse(watch::Sender<()>);

impl Pulse {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    /// Something has changed.
    pub(crate) fn beat(&self) {
        self.0.send_replace(());
    }

    /// Sees every change from now on.
    pub(crate) fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }
}

/// One who waits.
#[derive(Debug)]
pub(crate) struct Listener(watch::Receiver<()>);

impl Listener {
    /// Waits for the next change, or for one that came since the last look.
    pub(crate) async fn change(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Sleeps until a time of the wall clock.
pub(crate) async fn sleep_until(at: Timestamp) {
    loop {
        let left = at.duration_since(Timestamp::now());
        let Ok(left) = Duration::try_from(left) else { return };
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

/// A time this much later, or the end of time.
pub(crate) fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

//! What the hourly function does about far alarms: rows that are due within the next hour and a bit become messages.
//!
//! A row goes only after its message stands: dying in between rings twice, which is ringing once. There is no cursor that could be lost or
//! run ahead: what is moved is gone, so each run begins at the earliest row there is, and catches up with whatever was missed.
//! Must never: drop a row without its message, or run into the function's limit.

use std::sync::Arc;
use std::time::Duration;

use durable::Timestamp;
use durable::ports::{Clock, StoreResult};
use futures_util::StreamExt;
use futures_util::stream::iter;

use super::super::letter::Work;
use super::super::post::Queues;
use super::NEAR;
use super::far::{FarAlarm, FarAlarms};

/// A run may be late by this, and no alarm is.
const MARGIN: Duration = Duration::from_secs(15 * 60);

/// So many rows are moved at a time.
const AT_A_TIME: usize = 32;

/// Moves far alarms.
#[derive(Clone)]
pub struct Hourly {
    far: Arc<dyn FarAlarms>,
    queues: Queues,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Hourly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hourly")
    }
}

impl Hourly {
    /// From this table into these queues.
    #[must_use]
    pub fn new(far: Arc<dyn FarAlarms>, queues: Queues, clock: Arc<dyn Clock>) -> Self {
        Self { far, queues, clock }
    }

    /// Moves what is due soon, until `deadline`; if there is more, a message asks for the rest. Says how many were moved.
    ///
    /// # Errors
    /// Store trouble. What was not moved is moved by the next run.
    pub async fn run(&self, deadline: Timestamp) -> StoreResult<usize> {
        let mut moved = 0;
        loop {
            let now = self.clock.now();
            if now >= deadline {
                self.queues.work.put(Work::Hour.into(), Duration::ZERO).await?;
                return Ok(moved);
            }
            let rows = self.far.earliest(now.after(NEAR + MARGIN)).await?;
            if rows.is_empty() {
                return Ok(moved);
            }
            let count = rows.len();
            let mut moving = iter(rows.into_iter().map(|row| self.turn_into_message(row))).buffer_unordered(AT_A_TIME);
            while let Some(done) = moving.next().await {
                done?;
            }
            moved += count;
        }
    }

    async fn turn_into_message(&self, row: FarAlarm) -> StoreResult<()> {
        let (due, digest) = (row.timer.due, row.digest);
        self.queues.alarms.put(Work::Timer(row.timer).into(), self.clock.now().until(due)).await?;
        self.far.remove(due, digest).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use super::super::super::testing::Noted;
    use super::super::far::tests::Rows;
    use super::*;
    use crate::SystemClock;
    use crate::work::Timer;

    fn row(due: Timestamp, digest: u128) -> FarAlarm {
        FarAlarm { digest, timer: Timer { instance: "a".into(), life: "00000000000000ff".into(), revision: 3, due, armed: Timestamp(0) } }
    }

    fn hourly() -> (Arc<Noted>, Arc<Noted>, Arc<Rows>, Hourly) {
        let (alarms, work, rows) = (Arc::new(Noted::default()), Arc::new(Noted::default()), Arc::new(Rows::default()));
        let queues = Queues { work: work.clone(), activities: work.clone(), alarms: alarms.clone() };
        (alarms, work, rows.clone(), Hourly::new(rows, queues, Arc::new(SystemClock)))
    }

    #[tokio::test]
    async fn what_is_due_within_the_hour_or_was_missed_becomes_messages_and_the_rest_stays() {
        let (alarms, work, rows, hourly) = hourly();
        let now = SystemClock.now();
        for (n, minutes) in [-3_000_i64, -1, 0, 59, 70, 200].into_iter().enumerate() {
            rows.put(row(Timestamp(now.0 + minutes * 60_000_000), n as u128)).await.unwrap();
        }
        assert_eq!(hourly.run(Timestamp::MAX).await.unwrap(), 5);
        assert_eq!(rows.all().len(), 1);
        let delays = alarms.put_after();
        assert_eq!(delays.len(), 5);
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(70 * 60)) && delays.iter().filter(|delay| delay.is_zero()).count() == 3, "{delays:?}");
        assert!(work.letters().is_empty());
    }

    #[tokio::test]
    async fn what_there_is_no_time_for_is_asked_for_again() {
        let (alarms, work, rows, hourly) = hourly();
        rows.put(row(Timestamp(0), 1)).await.unwrap();
        assert_eq!(hourly.run(Timestamp(0)).await.unwrap(), 0);
        assert_eq!((alarms.letters().len(), rows.all().len(), work.letters()[0].work.clone()), (0, 1, Work::Hour));
    }

    #[tokio::test]
    async fn a_row_without_its_message_stays() {
        let rows = Arc::new(Rows::default());
        rows.put(row(Timestamp(0), 1)).await.unwrap();
        let failing: Arc<Noted> = Arc::new(Noted::failing());
        let queues = Queues { work: failing.clone(), activities: failing.clone(), alarms: failing };
        assert!(Hourly::new(rows.clone(), queues, Arc::new(SystemClock)).run(Timestamp::MAX).await.is_err());
        assert_eq!(rows.all().len(), 1);
    }
}

//! The mapping from the table's stream to the function: reads, filters, gathers and delivers records, as Lambda's event source mapping does.
//!
//! It starts at the oldest record each time the driver starts (`TRIM_HORIZON`), so a restart delivers again what is left in the stream. Must never: lose a record,
//! or deliver those of one item out of order.

mod deliver;
mod filter;
mod reader;
mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use deliver::FailedBatch;
pub use filter::{Filter, FilterError};
pub use reader::StreamError;
pub(crate) use reader::start;
use record::Record;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::pulse::Pulse;

/// How many failed batches are remembered.
const FAILED_KEPT: usize = 1000;

/// Where the stream is, and how it is mapped to the function.
#[derive(Debug, Clone)]
pub(crate) struct StreamOptions {
    /// DynamoDB's endpoint.
    pub(crate) dynamodb: String,
    /// The table.
    pub(crate) table: String,
    /// How records become invocations.
    pub(crate) mapping: Mapping,
}

/// How records become invocations: the settings of an event source mapping.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// Which records are delivered.
    pub filter: Filter,
    /// `BatchSize`.
    pub batch_size: usize,
    /// `MaximumBatchingWindowInSeconds`.
    pub window: Duration,
    /// `ParallelizationFactor`: lanes of a shard. The records of one item stay in one lane.
    pub parallelization: usize,
    /// `BisectBatchOnFunctionError`.
    pub bisect: bool,
    /// `ReportBatchItemFailures`.
    pub report_item_failures: bool,
    /// `MaximumRetryAttempts`; without end if none.
    pub max_retries: Option<u32>,
    /// `MaximumRecordAgeInSeconds`; without end if none.
    pub max_record_age: Option<Duration>,
    /// The first wait before a retry. It doubles up to a minute.
    pub retry_delay: Duration,
    /// How often an idle shard is asked. Lambda asks four times a second.
    pub poll: Duration,
}

impl Default for Mapping {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            batch_size: 10,
            window: Duration::ZERO,
            parallelization: 10,
            bisect: true,
            report_item_failures: true,
            max_retries: None,
            max_record_age: None,
            retry_delay: Duration::from_millis(500),
            poll: Duration::from_millis(250),
        }
    }
}

/// What a test may do to the stream while it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// Nothing is read or delivered.
    pub paused: bool,
    /// Records are delivered this much later.
    pub delay: Duration,
    /// Each batch is delivered twice.
    pub twice: bool,
}

/// What all parts of the mapping share, and what can be seen of it.
#[derive(Debug)]
pub(crate) struct Shared {
    trouble: watch::Sender<Trouble>,
    /// Records that were read and are not done with.
    backlog: AtomicUsize,
    /// Shards that are read: when the last look began that found nothing more. None: it has found no end yet.
    shards: Mutex<Option<BTreeMap<String, Option<Instant>>>>,
    failed: Mutex<Vec<FailedBatch>>,
    pulse: Pulse,
}

impl Shared {
    pub(crate) fn new(pulse: Pulse) -> Self {
        let (shards, failed) = (Mutex::default(), Mutex::default());
        Self { trouble: watch::Sender::new(Trouble::default()), backlog: AtomicUsize::new(0), shards, failed, pulse }
    }

    /// Changes what the stream suffers.
    pub(crate) fn trouble(&self, change: impl FnOnce(&mut Trouble)) {
        self.trouble.send_modify(change);
        self.pulse.beat();
    }

    pub(crate) fn troubles(&self) -> Trouble {
        *self.trouble.borrow()
    }

    fn twice(&self) -> bool {
        self.trouble.borrow().twice
    }

    /// Waits until the stream is not paused.
    async fn running(&self) {
        let mut trouble = self.trouble.subscribe();
        if trouble.wait_for(|trouble| !trouble.paused).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until a batch may be delivered.
    async fn may_deliver(&self, records: &[Record]) {
        let mut trouble = self.trouble.subscribe();
        let Some(seen) = records.iter().map(|record| record.seen).max() else { return };
        loop {
            let Trouble { paused, delay, .. } = *trouble.borrow_and_update();
            let due = seen + delay;
            if !paused && due <= Instant::now() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(due), if !paused => {}
                changed = trouble.changed() => if changed.is_err() { std::future::pending::<()>().await },
            }
        }
    }

    fn shards(&self) -> MutexGuard<'_, Option<BTreeMap<String, Option<Instant>>>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records read and not done with.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog.load(Ordering::SeqCst)
    }

    /// Whether every shard has been read to its end by a look that began after a moment, and nothing of it is left. A paused stream is not waited for.
    pub(crate) fn is_drained(&self, since: Instant) -> bool {
        if self.trouble.borrow().paused {
            return true;
        }
        let read = self.shards().as_ref().is_some_and(|shards| shards.values().all(|looked| looked.is_some_and(|looked| looked >= since)));
        read && self.backlog() == 0
    }

    fn give_up(&self, condition: &'static str, records: &[Record], error: Option<String>) {
        let sequence_numbers: Vec<_> = records.iter().map(|record| record.sequence.clone()).collect();
        tracing::warn!("records {sequence_numbers:?} of the stream are given up: {condition}");
        let keys = records.iter().map(|record| record.json.pointer("/dynamodb/Keys").cloned().unwrap_or(Value::Null)).collect();
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() == FAILED_KEPT {
            failed.remove(0);
        }
        failed.push(FailedBatch { condition, sequence_numbers, keys, error });
    }

    /// Batches that were given up, oldest first.
    pub(crate) fn failed(&self) -> Vec<FailedBatch> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

//! One lane of the mapping: gathers records to batches and hands them to the function, until each is taken, or given up.
//!
//! Must never: hand over a record before an earlier one of the same item is done with, or drop one without saying so.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::record::Record;
use super::{Mapping, Shared};
use crate::function::{Event, Kind, Outcome, SYNC_LIMIT};
use crate::lambda::{InvokeError, Lambda};

/// The longest wait between two tries.
const BACKOFF_MOST: Duration = Duration::from_secs(60);

/// Records that were given up. AWS would send their place in the stream to a queue.
#[derive(Debug, Clone, Serialize)]
pub struct FailedBatch {
    /// `RetryAttemptsExhausted` or `RecordAgeExceeded`.
    pub condition: &'static str,
    /// Their sequence numbers, in order.
    pub sequence_numbers: Vec<String>,
    /// Their keys, in order.
    pub keys: Vec<Value>,
    /// The last error of the function, if it had one.
    pub error: Option<String>,
}

/// What is known after a try.
enum Verdict {
    Taken,
    /// From this record on.
    Failed(usize, String),
    /// The function has not run.
    NotTaken(String),
}

/// Records that are to be delivered together.
struct Batch {
    records: Vec<Record>,
    attempts: u32,
    refusals: u32,
}

/// A lane.
pub(super) struct Lane {
    pub(super) mapping: Arc<Mapping>,
    pub(super) shared: Arc<Shared>,
    pub(super) lambda: Arc<Lambda>,
}

impl Lane {
    /// Delivers what comes, until no more can come.
    pub(super) async fn run(self, mut records: mpsc::Receiver<Record>) {
        while let Some(first) = records.recv().await {
            let batch = self.gather(first, &mut records).await;
            let size = batch.len();
            self.deliver(batch).await;
            self.shared.backlog.fetch_sub(size, Ordering::SeqCst);
            self.shared.pulse.beat();
        }
    }

    async fn gather(&self, first: Record, more: &mut mpsc::Receiver<Record>) -> Vec<Record> {
        let until = Instant::now() + self.mapping.window;
        let mut batch = vec![first];
        while batch.len() < self.mapping.batch_size {
            let next = if self.mapping.window.is_zero() { more.try_recv().ok() } else { timeout_at(until, more.recv()).await.ok().flatten() };
            match next {
                Some(record) => batch.push(record),
                None => break,
            }
        }
        batch
    }

    async fn deliver(&self, records: Vec<Record>) {
        let mut pending = VecDeque::from([Batch { records, attempts: 0, refusals: 0 }]);
        while let Some(mut batch) = pending.pop_front() {
            self.shared.may_deliver(&batch.records).await;
            self.give_up_old(&mut batch);
            if batch.records.is_empty() {
                continue;
            }
            match self.attempt(&batch.records).await {
                Verdict::Taken => {}
                Verdict::NotTaken(why) => {
                    tracing::debug!("a batch of the stream was not taken: {why}");
                    tokio::time::sleep(self.backoff(batch.refusals)).await;
                    batch.refusals += 1;
                    pending.push_front(batch);
                }
                Verdict::Failed(from, error) => self.failed(batch, from, error, &mut pending).await,
            }
        }
    }

    async fn failed(&self, mut batch: Batch, from: usize, error: String, pending: &mut VecDeque<Batch>) {
        tracing::debug!("a batch of {} records failed: {error}", batch.records.len());
        let whole = from == 0;
        batch.records.drain(..from);
        // Splitting is no further attempt. A failure that names its record is split there already.
        if whole && self.mapping.bisect && batch.records.len() > 1 {
            let second = batch.records.split_off(batch.records.len() / 2);
            pending.push_front(Batch { records: second, attempts: batch.attempts, refusals: 0 });
            pending.push_front(batch);
            return;
        }
        if self.mapping.max_retries.is_some_and(|most| batch.attempts >= most) {
            self.shared.give_up("RetryAttemptsExhausted", &batch.records, Some(error));
            return;
        }
        tokio::time::sleep(self.backoff(batch.attempts)).await;
        batch.attempts += 1;
        pending.push_front(batch);
    }

    fn backoff(&self, tries: u32) -> Duration {
        self.mapping.retry_delay.saturating_mul(2_u32.saturating_pow(tries)).min(BACKOFF_MOST)
    }

    fn give_up_old(&self, batch: &mut Batch) {
        let Some(most) = self.mapping.max_record_age else { return };
        let now = Timestamp::now().as_duration().as_secs_f64();
        let (old, young) = std::mem::take(&mut batch.records).into_iter().partition(|record| now - record.created > most.as_secs_f64());
        batch.records = young;
        let old: Vec<Record> = old;
        if !old.is_empty() {
            self.shared.give_up("RecordAgeExceeded", &old, None);
        }
    }

    async fn attempt(&self, records: &[Record]) -> Verdict {
        let payload = json!({"Records": records.iter().map(|record| &record.json).collect::<Vec<_>>()}).to_string();
        if payload.len() > SYNC_LIMIT && records.len() > 1 {
            // A smaller one follows: the records that fit are a batch that is reported to end there.
            return Box::pin(self.in_parts(records)).await;
        }
        if self.shared.twice() {
            // The outcome of the first one is as if it had been lost.
            let _ = self.lambda.invoke(Event::new(Kind::Stream, payload.clone())).await;
        }
        match self.lambda.invoke(Event::new(Kind::Stream, payload)).await {
            Ok(Outcome::Answered(answer)) if self.mapping.report_item_failures => partial(&answer, records),
            Ok(Outcome::Answered(_)) => Verdict::Taken,
            Ok(Outcome::Failed(error)) => Verdict::Failed(0, String::from_utf8_lossy(&error).into_owned()),
            Err(e @ (InvokeError::TooLarge { .. } | InvokeError::Loop)) => Verdict::Failed(0, e.to_string()),
            Err(InvokeError::Refused(e)) => Verdict::NotTaken(e.to_string()),
        }
    }

    async fn in_parts(&self, records: &[Record]) -> Verdict {
        let middle = records.len() / 2;
        let (first, second) = records.split_at(middle);
        match self.attempt(first).await {
            Verdict::Taken => match self.attempt(second).await {
                Verdict::Failed(from, error) => Verdict::Failed(middle + from, error),
                Verdict::NotTaken(why) => Verdict::Failed(middle, why),
                Verdict::Taken => Verdict::Taken,
            },
            other => other,
        }
    }
}

/// Reads `batchItemFailures`: the earliest that it names is where to go on. What cannot be read is a failure of the whole batch.
fn partial(answer: &[u8], records: &[Record]) -> Verdict {
    let whole = |why: &str| Verdict::Failed(0, format!("{why}: {}", String::from_utf8_lossy(answer)));
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else { return whole("the answer is not JSON") };
    let failures = match (&answer, answer.get("batchItemFailures")) {
        (Value::Null, _) | (Value::Object(_), None | Some(Value::Null)) => return Verdict::Taken,
        (Value::Object(_), Some(Value::Array(failures))) => failures,
        _ => return whole("the answer does not report failures as it should"),
    };
    let position = |failure: &Value| {
        let sequence = failure.get("itemIdentifier")?.as_str()?;
        records.iter().position(|record| record.sequence == sequence)
    };
    let positions: Option<Vec<usize>> = failures.iter().map(position).collect();
    match positions.map(|positions| positions.into_iter().min()) {
        Some(None) => Verdict::Taken,
        Some(Some(from)) => Verdict::Failed(from, format!("the function reports record {} as failed", from + 1)),
        None => whole("the answer names a record that is not in the batch"),
    }
}

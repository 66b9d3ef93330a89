//! The queue of asynchronous invocations: retries after function errors, back-off after throttles, and the record of what failed for good.
//!
//! The record goes to the function itself, as an asynchronous event like any other, so it is retried and can fail too. Must never: lose an event
//! without counting it as failed.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{InvokeError, Lambda};
use crate::function::{Event, Kind, Outcome};
use crate::ids::{Trace, hex};
use crate::pulse::{later, sleep_until};

/// The journal's word for queued events.
pub(super) const KIND: &str = "event";

/// How many failed events are remembered.
const FAILED_KEPT: usize = 1000;

/// An event in the queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Queued {
    request_id: String,
    payload: String,
    trace: Trace,
    kind: Kind,
    born: Timestamp,
    due: Timestamp,
    attempts: usize,
    throttles: u32,
}

impl Queued {
    pub(super) fn new(event: Event) -> Self {
        let now = Timestamp::now();
        let payload = String::from_utf8_lossy(&event.payload).into_owned();
        let Event { request_id, trace, kind, .. } = event;
        Self { request_id, payload, trace, kind, born: now, due: now, attempts: 0, throttles: 0 }
    }

    fn event(&self) -> Event {
        let payload = Bytes::from(self.payload.clone());
        Event { request_id: self.request_id.clone(), payload, trace: self.trace.clone(), kind: self.kind }
    }
}

/// An event that failed for good.
#[derive(Debug, Clone, Serialize)]
pub struct FailedEvent {
    /// Its request id.
    pub request_id: String,
    /// `RetriesExhausted`, `EventAgeExceeded` or `RecursiveLoop`.
    pub condition: &'static str,
    /// What it carried.
    pub payload: String,
    /// Nobody was told: there is no on-failure destination, or the record was too large for it.
    pub dropped: bool,
}

enum Verdict {
    Done,
    Again,
    Failed { condition: &'static str, response: Option<Bytes> },
}

impl Lambda {
    /// Takes a new event.
    pub(super) fn carry(self: &Arc<Self>, queued: Queued) {
        let key = format!("{}-{}", queued.request_id, hex(6));
        self.journal.put(KIND, &key, &queued);
        self.hold(key, queued);
    }

    /// Carries an event that the journal holds, to its end.
    pub(super) fn hold(self: &Arc<Self>, key: String, queued: Queued) {
        let lambda = self.clone();
        // The lock is held until the entry is there: the carrier's last step takes it out again.
        let mut queue = self.queue();
        let carrier = tokio::spawn({
            let key = key.clone();
            async move {
                lambda.carried(&key, queued).await;
                lambda.journal.remove(KIND, &key);
                lambda.queue().remove(&key);
                lambda.pulse.beat();
            }
        });
        queue.insert(key, carrier);
    }

    async fn carried(self: &Arc<Self>, key: &str, mut queued: Queued) {
        loop {
            sleep_until(queued.due).await;
            match self.attempt(&mut queued).await {
                Verdict::Done => return,
                Verdict::Again => self.journal.put(KIND, key, &queued),
                Verdict::Failed { condition, response } => return self.failed_for_good(&queued, condition, response),
            }
        }
    }

    async fn attempt(&self, queued: &mut Queued) -> Verdict {
        let options = &self.options;
        let event = queued.event();
        if self.check_loop(&event).is_err() {
            return Verdict::Failed { condition: "RecursiveLoop", response: None };
        }
        let expires = later(queued.born, options.max_age);
        match self.run(event).await {
            Ok(Outcome::Answered(_)) => Verdict::Done,
            Ok(Outcome::Failed(response)) => {
                queued.attempts += 1;
                let Some(after) = options.retries.get(queued.attempts - 1) else {
                    return Verdict::Failed { condition: "RetriesExhausted", response: Some(response) };
                };
                queued.due = later(Timestamp::now(), *after);
                if queued.due > expires { Verdict::Failed { condition: "EventAgeExceeded", response: Some(response) } } else { Verdict::Again }
            }
            Err(refused) => {
                let backoff = options.backoff.saturating_mul(2_u32.saturating_pow(queued.throttles)).min(options.longest_backoff);
                queued.throttles += 1;
                queued.due = later(Timestamp::now(), backoff);
                tracing::debug!("event {} was not taken ({refused}); again in {backoff:?}", queued.request_id);
                if queued.due > expires { Verdict::Failed { condition: "EventAgeExceeded", response: None } } else { Verdict::Again }
            }
        }
    }

    fn failed_for_good(self: &Arc<Self>, queued: &Queued, condition: &'static str, response: Option<Bytes>) {
        let dropped = !self.options.on_failure || {
            let record = self.record(queued, condition, response);
            // A chain that was stopped would stop its own record too: that begins a new one.
            let trace = if condition == "RecursiveLoop" { Trace::fresh() } else { queued.trace.next() };
            let told = self.enqueue(Event { trace, ..Event::new(Kind::Async, record.to_string()) });
            matches!(told, Err(InvokeError::TooLarge { .. }))
        };
        tracing::warn!("event {} failed for good: {condition}{}", queued.request_id, if dropped { ", dropped" } else { "" });
        let failed = FailedEvent { request_id: queued.request_id.clone(), condition, payload: queued.payload.clone(), dropped };
        let mut all = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == FAILED_KEPT {
            all.remove(0);
        }
        all.push(failed);
    }

    /// What an on-failure destination is told.
    fn record(&self, queued: &Queued, condition: &str, response: Option<Bytes>) -> Value {
        let json_or_text = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        let mut record = json!({
            "version": "1.0",
            "timestamp": format!("{:.3}", Timestamp::now()),
            "requestContext": {
                "requestId": queued.request_id,
                "functionArn": format!("{}:$LATEST", self.arn),
                "condition": condition,
                "approximateInvokeCount": queued.attempts,
            },
            "requestPayload": json_or_text(&queued.payload),
        });
        if let (Some(response), Some(fields)) = (response, record.as_object_mut()) {
            let context = json!({"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"});
            fields.insert("responseContext".to_owned(), context);
            fields.insert("responsePayload".to_owned(), json_or_text(&String::from_utf8_lossy(&response)));
        }
        record
    }
}

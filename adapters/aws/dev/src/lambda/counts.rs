//! What has happened, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::function::{Kind, Outcome, Refused};

/// Invocations since the start, by who sent them, and what became of them. Attempts count one by one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// From the function's URL.
    pub url: u64,
    /// Batches of the stream.
    pub stream: u64,
    /// From Step Functions and Scheduler.
    pub timer: u64,
    /// From the asynchronous queue.
    pub asynchronous: u64,
    /// Synchronous `Invoke` calls.
    pub direct: u64,
    /// Of all these, how many failed.
    pub errors: u64,
    /// Events refused because every process was busy. They are in no other number.
    pub throttled: u64,
    /// Events that were not delivered because their chain was too long.
    pub stopped_loops: u64,
}

impl Counts {
    /// All invocations.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.url + self.stream + self.timer + self.asynchronous + self.direct
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    kinds: [AtomicU64; 5],
    errors: AtomicU64,
    throttled: AtomicU64,
    stopped_loops: AtomicU64,
}

impl Counters {
    pub(super) fn invoked(&self, kind: Kind, outcome: &Result<Outcome, Refused>) {
        let [url, stream, timer, asynchronous, direct] = &self.kinds;
        let counter = match (outcome, kind) {
            (Err(Refused::Throttled), _) => &self.throttled,
            (Err(Refused::Unavailable(_)), _) => return,
            (Ok(_), Kind::Url) => url,
            (Ok(_), Kind::Stream) => stream,
            (Ok(_), Kind::Timer) => timer,
            (Ok(_), Kind::Async) => asynchronous,
            (Ok(_), Kind::Direct) => direct,
        };
        counter.fetch_add(1, Ordering::SeqCst);
        if matches!(outcome, Ok(Outcome::Failed(_))) {
            self.errors.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(super) fn stopped_loop(&self) {
        self.stopped_loops.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn read(&self) -> Counts {
        let [url, stream, timer, asynchronous, direct] = self.kinds.each_ref().map(|kind| kind.load(Ordering::SeqCst));
        let (errors, throttled) = (self.errors.load(Ordering::SeqCst), self.throttled.load(Ordering::SeqCst));
        Counts { url, stream, timer, asynchronous, direct, errors, throttled, stopped_loops: self.stopped_loops.load(Ordering::SeqCst) }
    }
}

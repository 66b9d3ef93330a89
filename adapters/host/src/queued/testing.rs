//! A queue for unit tests: notes what it was asked.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use durable::ports::{PortFuture, StoreError, StoreResult};

use super::letter::Letter;
use super::post::{Post, Receipt};

/// What was put, and how often something was taken back.
#[derive(Default)]
pub struct Noted {
    put: Mutex<Vec<(Letter, Duration)>>,
    taken_back: AtomicUsize,
    fails: AtomicBool,
    answers_after: Duration,
}

impl Noted {
    /// One that takes nothing.
    pub fn failing() -> Self {
        Self { fails: AtomicBool::new(true), ..Self::default() }
    }

    /// One whose answers come so long after it has taken something.
    pub fn slow(answers_after: Duration) -> Self {
        Self { answers_after, ..Self::default() }
    }

    /// What was put.
    pub fn letters(&self) -> Vec<Letter> {
        self.put.lock().unwrap().iter().map(|(letter, _)| letter.clone()).collect()
    }

    /// With which delays.
    pub fn put_after(&self) -> Vec<Duration> {
        self.put.lock().unwrap().iter().map(|(_, after)| *after).collect()
    }

    /// How many were taken back.
    pub fn taken_back(&self) -> usize {
        self.taken_back.load(Ordering::SeqCst)
    }
}

impl Post for Noted {
    fn put(&self, letter: Letter, after: Duration) -> PortFuture<StoreResult<Receipt>> {
        let put = if self.fails.load(Ordering::SeqCst) {
            Err(StoreError::Unavailable("told to fail".to_owned()))
        } else {
            let mut all = self.put.lock().unwrap();
            all.push((letter, after));
            Ok(Receipt { id: all.len().to_string(), pop: "p".to_owned() })
        };
        let wait = self.answers_after;
        Box::pin(async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            put
        })
    }

    fn take_back(&self, _: Receipt) -> PortFuture<()> {
        self.taken_back.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(()))
    }
}

//! The DynamoDB store keeps every promise of the Store port, on Amazon's own DynamoDB Local, and gives the same results as the store in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on says so")]

mod dynamodb;
mod stores;

use std::sync::Arc;
use std::time::{Duration, Instant};

use durable_tests::MemoryStore;
use durable_tests::differential::differential;
use durable_tests::dynamodb::Local;

durable_tests::conformance_suite!(Local::open);

#[test]
fn random_operations_give_the_same_results_as_in_memory() {
    let (local, begun) = (Local::get(), Instant::now());
    for seed in 1..=6 {
        // One story is told to the end in any case; on a slow machine the others are left out.
        if seed == 1 || begun.elapsed() < Duration::from_secs(20) {
            let store = Arc::new(local.fresh());
            local.run(differential(Arc::new(MemoryStore::new(false)), store, seed, 150));
        }
    }
}

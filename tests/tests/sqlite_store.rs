//! The embedded store keeps every promise of the Store port, and gives the same results as the store in memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

use std::sync::Arc;

use durable_local::store::{Options, SqliteStore};
use durable_tests::MemoryStore;
use durable_tests::conformance::Opened;
use durable_tests::differential::differential;

fn open() -> (SqliteStore, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (SqliteStore::open(Options::new(folder.path())).unwrap(), folder)
}

durable_tests::conformance_suite!(|| {
    let (store, folder) = open();
    Opened::new(store).keeping(folder)
});

#[test]
fn random_operations_give_the_same_results_as_in_memory() {
    for seed in 1..=8 {
        let (store, _folder) = open();
        futures_executor::block_on(differential(Arc::new(MemoryStore::new(true)), Arc::new(store), seed, 500));
    }
}

//! The store in memory passes the conformance suite, with and without deliveries in the commit, and equals itself.

mod delivering_in_the_commit {
    use durable_tests::MemoryStore;
    use durable_tests::conformance::Opened;

    durable_tests::conformance_suite!(|| Opened::new(MemoryStore::new(true)));
}

mod with_an_outbox {
    use durable_tests::MemoryStore;
    use durable_tests::conformance::Opened;

    durable_tests::conformance_suite!(|| Opened::new(MemoryStore::new(false)));
}

mod compared_with_another {
    use std::sync::Arc;

    use durable_tests::MemoryStore;
    use durable_tests::differential::differential;

    #[test]
    fn a_random_story_shows_the_same_on_two_stores_that_deliver_in_the_commit() {
        for seed in 0..20 {
            futures_executor::block_on(differential(Arc::new(MemoryStore::new(true)), Arc::new(MemoryStore::new(true)), seed, 1000));
        }
    }

    #[test]
    fn a_random_story_shows_the_same_with_and_without_deliveries_in_the_commit() {
        for seed in 0..20 {
            futures_executor::block_on(differential(Arc::new(MemoryStore::new(true)), Arc::new(MemoryStore::new(false)), seed, 1000));
        }
    }
}

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

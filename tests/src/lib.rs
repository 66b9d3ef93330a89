//! durable-tests

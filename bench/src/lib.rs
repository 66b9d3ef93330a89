//! durable-bench

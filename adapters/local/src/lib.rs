//! durable-local

//! durable-http

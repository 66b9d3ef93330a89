//! durable-orchestrator

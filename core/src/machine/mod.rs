//! The pure state machine.

/// The rules of replay that this build writes into new executions.
pub const REPLAY_POLICY: u32 = 1;
